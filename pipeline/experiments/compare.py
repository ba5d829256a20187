"""From the scores of all runs to the tables and figures of the ablation.

    python -m pipeline.experiments.compare --folder F

reads `F/plan.json` and the files that it names, and writes `results.json` (everything), `table.csv` (a line a row and
seed), `table.md`, `figure.svg` and `strip.png`.
"""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.core.errors import ScoreError
from pipeline.core.files import read_json, write_bytes, write_json, write_text
from pipeline.core.manifest import read_manifest
from pipeline.core.tracks import get_track
from pipeline.core.typed_json import read_typed, to_json
from pipeline.evaluate.metrics import BASELINES, Task, columns_of, ranking
from pipeline.evaluate.run import DIAGNOSTICS, METRICS, PER_IMAGE, TABLE, to_csv
from pipeline.experiments.ablation_results import Number, PartGain, Results, ScoredRow, Summary, summarize
from pipeline.experiments.ablation_rows import PARTS, PLAN, Plan, Row
from pipeline.experiments.ablation_tables import WHY, csv_rows, markdown
from pipeline.experiments.plots import Column, bars, curves, strip
from pipeline.report.formatting import read_rows

ACCURACY = "classification_accuracy"
WITH_GAINS = ("additive", "without_crf")  # tables whose rows add one part to the row before


def collect(folder: Path, plan: Plan) -> Results:
    """Read the scores of every row of the plan.

    Raises:
        ScoreError: if nothing was scored
    """
    task = get_track(plan.track).task
    score = ranking(task).key
    groups = {name: tuple(_scored(folder, plan, row, task) for row in rows) for name, rows in plan.groups.items()}
    groups |= {name: add_gains(groups[name], score) for name in WITH_GAINS if name in groups}
    gap, tap = plan.groups["additive"][0], plan.groups["additive"][-1]  # trained with GAP, and with TAP
    metrics = {"GAP": _read_all(folder, plan, gap, METRICS), "TAP": _read_all(folder, plan, tap, METRICS)}
    accuracies = {name: _over_seeds(every, [ACCURACY]) for name, every in metrics.items()}
    diagnoses = {"GAP": _read_all(folder, plan, gap, DIAGNOSTICS), "TAP": _read_all(folder, plan, tap, DIAGNOSTICS)}
    first = metrics["GAP"][0]
    return Results(
        track=plan.track,
        recipe=plan.recipe,
        seeds=plan.seeds,
        changes=plan.changes,
        images=first["images"],
        groups=groups,
        parts=part_gains(groups["grid"], score) if "grid" in groups else {},
        baselines={key: first[key] for key in BASELINES if first.get(key) is not None},
        classification_accuracy={name: known[ACCURACY] for name, known in accuracies.items() if known},
        why={name: _why(every) for name, every in diagnoses.items() if not any("note" in values for values in every)},
    )


def _read_all(folder: Path, plan: Plan, row: Row, name: str) -> list[Any]:
    """A file of the stage `evaluate` for every seed."""
    return [read_json(folder / row.folder("scores", seed) / name) for seed in plan.seeds]


def _scored(folder: Path, plan: Plan, row: Row, task: Task) -> ScoredRow:
    metrics = _read_all(folder, plan, row, METRICS)
    known = [values if row.crf else values["before_crf"] for values in metrics]
    scores = _over_seeds(known, columns_of(task))
    if ranking(task).key not in scores:
        where = folder / row.folder("scores", plan.seeds[0])
        raise ScoreError(f"{where}: expected scores, got none: {metrics[0].get('note')}")
    return ScoredRow(row.title, row.parts, row.variant.output, row.published, scores)


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


def _why(diagnoses: Sequence[Any]) -> dict[str, Summary]:
    """The diagnosis of the features; a number that is not defined with every seed is left out."""
    return _over_seeds([{key: _number(values, key) for key in WHY} for values in diagnoses], WHY)


def _number(values: Any, key: str) -> Any:
    """A number of the diagnosis, or the mean over its images."""
    for step in key.split("."):
        values = values[step]
    return values["mean"] if isinstance(values, Mapping) else values


# --- figures ---------------------------------------------------------------------------------------------------------


def draw_figure(folder: Path, plan: Plan, results: Results) -> bytes:
    """Track 3: the IoU curves of the five rows in one frame.

    Track 1: the five scores, and those of the outputs, as bars.
    """
    if results.task == "segmentation":
        score = ranking(results.task)
        rows = (*results.groups["additive"], *results.groups.get("outputs", ()))
        return bars([(row.title, row.scores[score.key].values) for row in rows], score.label)
    return curves([(row.title, _curves(folder, plan, row)) for row in plan.groups["additive"]])


def _curves(folder: Path, plan: Plan, row: Row) -> list[list[float]]:
    tables = [read_rows(folder / row.folder("scores", seed) / TABLE) for seed in plan.seeds]
    return [[float(line["after_crf" if row.crf else "before_crf"]) for line in table] for table in tables]


def draw_strip(folder: Path, plan: Plan, results: Results, images: int) -> bytes:
    """Example images of the first seed, one column a row of the table."""
    rows = zip(plan.groups["additive"], results.groups["additive"], strict=True)
    columns = [_column(folder, row, scored, plan.seeds[0]) for row, scored in rows]
    return strip(read_manifest(folder / "manifest"), get_track(plan.track), columns, images)


def _column(folder: Path, row: Row, scored: ScoredRow, seed: int) -> Column:
    name = "after" if row.crf else "before"
    lines = read_rows(folder / row.folder("scores", seed) / PER_IMAGE)
    threshold = scored.scores["peak_threshold"].values[0] if "peak_threshold" in scored.scores else 0
    ious = {line["id"]: float(line[f"iou_{name}"]) for line in lines if line[f"iou_{name}"]}
    return Column(row.title, folder / row.folder("refined", seed), name, int(threshold), ious)


def compare(folder: Path, images: int) -> None:
    """Write all results of the ablation into its folder."""
    plan = read_typed(Plan, folder / PLAN)
    results = collect(folder, plan)
    write_json(folder / "results.json", to_json(results))
    write_text(folder / "table.csv", to_csv(csv_rows(results)))
    write_text(folder / "table.md", markdown(results))
    write_bytes(folder / "figure.svg", draw_figure(folder, plan, results))
    write_bytes(folder / "strip.png", draw_strip(folder, plan, results, images))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--images", type=int, default=8, help="rows of the strip")
    args = parser.parse_args(arguments)
    compare(args.folder, args.images)


if __name__ == "__main__":
    main()
