"""From the scores of all runs to the tables and figures of the ablation.

    python -m pipeline.experiments.compare --folder F

reads `F/plan.json` and the files that it names, and writes `results.json` (everything), `table.csv` (a line a row and
seed), `table.md`, `figure.svg` and `strip.png`.
"""

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.core.errors import ScoreError
from pipeline.core.files import read_json, write_bytes, write_json, write_text
from pipeline.core.manifest import read_manifest
from pipeline.core.tracks import get_track
from pipeline.evaluate.metrics import BASELINES, Task, columns_of, ranking
from pipeline.evaluate.run import DIAGNOSTICS, METRICS, PER_IMAGE, TABLE, to_csv
from pipeline.experiments.ablation_results import Number, PartGain, Results, ScoredRow, Summary, summarize
from pipeline.experiments.ablation_rows import PARTS
from pipeline.experiments.ablation_tables import WHY, csv_rows, markdown
from pipeline.experiments.plots import Column, bars, curves, strip
from pipeline.experiments.typed_json import read_typed, to_json
from pipeline.report.formatting import read_rows

WITH_GAINS = ("additive", "without_crf")  # tables whose rows add one part to the row before


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """One row of `plan.json`: see `ScoredRow`; `scores` and `refined` are folders, one for each seed."""

    title: str
    crf: bool
    parts: tuple[bool, ...]
    output: str
    published: float | None
    scores: tuple[str, ...]
    refined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What `plan.json` says: the rows of every table, and what they were run on."""

    track: str
    recipe: str
    seeds: tuple[int, ...]
    groups: dict[str, tuple[PlannedRow, ...]]
    changes: dict[str, Any] = field(default_factory=dict)  # plans of earlier versions have none


def collect(folder: Path) -> Results:
    """Read the scores of every row of the plan.

    Raises:
        ScoreError: if nothing was scored
    """
    plan = read_typed(Plan, folder / "plan.json")
    task = get_track(plan.track).task
    score = ranking(task).key
    groups = {name: tuple(_scored(folder, row, task) for row in rows) for name, rows in plan.groups.items()}
    groups |= {name: add_gains(groups[name], score) for name in WITH_GAINS if name in groups}
    additive = groups["additive"]
    first = read_json(folder / additive[0].scores_in[0] / METRICS)
    return Results(
        track=plan.track,
        recipe=plan.recipe,
        seeds=plan.seeds,
        changes=plan.changes,
        images=first["images"],
        groups=groups,
        parts=part_gains(groups["grid"], score) if "grid" in groups else {},
        baselines={key: first[key] for key in BASELINES if first.get(key) is not None},
        classification_accuracy=_accuracies(folder, additive),
        why=_why(folder, additive),
    )


def _scored(folder: Path, row: PlannedRow, task: Task) -> ScoredRow:
    metrics = [read_json(folder / path / METRICS) for path in row.scores]
    known = [values if row.crf else values["before_crf"] for values in metrics]
    scores = _over_seeds(known, columns_of(task))
    if ranking(task).key not in scores:
        raise ScoreError(f"{folder / row.scores[0]}: expected scores, got none: {metrics[0].get('note')}")
    return ScoredRow(row.title, row.parts, row.output, row.published, scores, scores_in=row.scores, refined=row.refined)


def _over_seeds(every: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> dict[str, Summary]:
    """The numbers that are known of every seed, by key."""
    known = [key for key in keys if all(values.get(key) is not None for values in every)]
    return {key: summarize(values[key] for values in every) for key in known}


def add_gains(rows: Sequence[ScoredRow], score: str) -> tuple[ScoredRow, ...]:
    """The rows with the gain of each over the row before, seed by seed; the first has none."""
    gains = (
        summarize(_differences(row.scores[score].values, before.scores[score].values)) for before, row in pairwise(rows)
    )
    return (*rows[:1], *(replace(row, gain=gain) for row, gain in zip(rows[1:], gains, strict=True)))


def _differences(values: Sequence[Number], others: Sequence[Number]) -> list[Number]:
    return [value - other for value, other in zip(values, others, strict=True)]


def part_gains(rows: Sequence[ScoredRow], score: str) -> dict[str, PartGain]:
    """The gain of each part over the same combination without it, in all 8 combinations of the others.

    Returns:
        by part: mean over combinations and seeds, spread between seeds of the mean over combinations, and the smallest
        and the largest gain over combinations (mean over seeds)
    """
    by_parts = {row.parts: row.scores[score].values for row in rows}
    return {part: _part_gain(by_parts, position) for position, part in enumerate(PARTS)}


def _part_gain(by_parts: Mapping[tuple[bool, ...], Sequence[Number]], position: int) -> PartGain:
    gains = [
        _differences(values, by_parts[(*parts[:position], False, *parts[position + 1 :])])
        for parts, values in by_parts.items()
        if parts[position]
    ]  # by combination of the other parts, then by seed
    means = [_mean(gain) for gain in gains]
    over_seeds = summarize(_mean(column) for column in zip(*gains, strict=True))
    return PartGain(over_seeds.mean, over_seeds.spread, over_seeds.values, min(means), max(means))


def _mean(values: Sequence[Number]) -> float:
    return math.fsum(values) / len(values)


def _by_pooling(rows: Sequence[ScoredRow]) -> Iterator[tuple[str, ScoredRow]]:
    """A row that was trained with GAP, and one with TAP: the first and the last."""
    yield "GAP", rows[0]
    yield "TAP", rows[-1]


def _accuracies(folder: Path, rows: Sequence[ScoredRow]) -> dict[str, Summary]:
    """Classification accuracy by pooling; what is not known of every seed is left out."""
    key = "classification_accuracy"
    known = {name: _over_seeds(_read_all(folder, row, METRICS), [key]) for name, row in _by_pooling(rows)}
    return {name: scores[key] for name, scores in known.items() if key in scores}


def _why(folder: Path, rows: Sequence[ScoredRow]) -> dict[str, dict[str, Summary]]:
    """The diagnosis of the features by pooling; a number that is not defined with every seed is left out."""
    found = {}
    for name, row in _by_pooling(rows):
        every = _read_all(folder, row, DIAGNOSTICS)
        if not any("note" in values for values in every):
            found[name] = _over_seeds([{key: _number(values, key) for key in WHY} for values in every], WHY)
    return found


def _read_all(folder: Path, row: ScoredRow, name: str) -> list[Any]:
    return [read_json(folder / path / name) for path in row.scores_in]


def _number(values: Any, key: str) -> Any:
    """A number of the diagnosis, or the mean over its images."""
    for step in key.split("."):
        values = values[step]
    return values["mean"] if isinstance(values, Mapping) else values


# --- figures ---------------------------------------------------------------------------------------------------------


def draw_figure(folder: Path, results: Results) -> bytes:
    """Track 3: the IoU curves of the five rows in one frame.

    Track 1: the five scores, and those of the outputs, as bars.
    """
    rows = results.groups["additive"]
    if results.task == "segmentation":
        score = ranking(results.task)
        every = (*rows, *results.groups.get("outputs", ()))
        return bars([(row.title, row.scores[score.key].values) for row in every], score.label)
    return curves([(row.title, [_curve(folder / path / TABLE, row.crf) for path in row.scores_in]) for row in rows])


def _curve(table: Path, crf: bool) -> list[float]:
    return [float(line["after_crf" if crf else "before_crf"]) for line in read_rows(table)]


def draw_strip(folder: Path, results: Results, images: int) -> bytes:
    """Example images of the first seed, one column a row of the table."""
    columns = [_column(folder, row) for row in results.groups["additive"]]
    return strip(read_manifest(folder / "manifest"), get_track(results.track), columns, images)


def _column(folder: Path, row: ScoredRow) -> Column:
    stored = "after" if row.crf else "before"
    lines = read_rows(folder / row.scores_in[0] / PER_IMAGE)
    threshold = row.scores["peak_threshold"].values[0] if "peak_threshold" in row.scores else 0
    ious = {line["id"]: float(line[f"iou_{stored}"]) for line in lines if line[f"iou_{stored}"]}
    return Column(row.title, folder / row.refined[0], stored, int(threshold), ious)


def compare(folder: Path, images: int) -> Results:
    """Write all results of the ablation into its folder."""
    results = collect(folder)
    write_json(folder / "results.json", to_json(results))
    write_text(folder / "table.csv", to_csv(csv_rows(results)))
    write_text(folder / "table.md", markdown(results))
    write_bytes(folder / "figure.svg", draw_figure(folder, results))
    write_bytes(folder / "strip.png", draw_strip(folder, results, images))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--images", type=int, default=8, help="rows of the strip")
    args = parser.parse_args(arguments)
    compare(args.folder, args.images)


if __name__ == "__main__":
    main()
