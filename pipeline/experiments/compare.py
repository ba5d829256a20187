"""From the scores of all runs to the tables and figures of the ablation.

    python -m pipeline.experiments.compare --folder F

reads `F/plan.json` and the files that it names, and writes `results.json` (everything), `table.csv` (a line a row and
seed), `table.md`, `figure.svg` and `strip.png`.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.core.errors import ScoreError, run
from pipeline.core.files import read_json, write_bytes, write_json, write_text
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import flatten, load_section
from pipeline.core.summary import Number, Summary, summarize
from pipeline.core.tracks import get_track
from pipeline.core.typed_json import read_typed, to_json
from pipeline.evaluate.diagnostics_text import LABELS
from pipeline.evaluate.metrics import BASELINES, Task, columns_of, ranking
from pipeline.evaluate.run import DIAGNOSTICS, METRICS, PER_IMAGE, TABLE, to_csv
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiments.ablation_choice import RowScores, add_intervals, choose_row
from pipeline.experiments.ablation_rows import PARTS, PLAN, PREPROCESS, Plan, Row
from pipeline.experiments.ablation_tables import PartGain, Results, ScoredRow, csv_rows, markdown
from pipeline.report.figures import bars, curves
from pipeline.report.formatting import read_rows
from pipeline.report.predictions import scored_threshold
from pipeline.report.strip import Column, strip

ACCURACY = "classification_accuracy"
SHOWN_IMAGES = 8  # rows of the strip


def compare(folder: Path) -> None:
    """Write all results of the ablation into its folder."""
    plan = read_typed(Plan, folder / PLAN)
    results = collect(folder, plan)
    write_json(folder / "results.json", to_json(results))
    write_text(folder / "table.csv", to_csv(csv_rows(results)))
    write_text(folder / "table.md", markdown(results))
    write_bytes(folder / "figure.svg", draw_figure(folder, plan, results))
    columns = [_column(folder, row, plan.seeds[0]) for row in plan.groups["additive"]]
    shown = strip(read_manifest(folder / "manifest"), get_track(plan.track), columns, SHOWN_IMAGES)
    write_bytes(folder / "strip.png", shown)


def collect(folder: Path, plan: Plan) -> Results:
    """Read the scores of every row of the plan.

    Raises:
        ScoreError: if nothing was scored
    """
    task = get_track(plan.track).task
    score = ranking(task).key
    groups = {name: tuple(_scored(folder, plan, row, task) for row in rows) for name, rows in plan.groups.items()}
    groups |= {name: add_gains(groups[name], score) for name in ("additive", "without_crf")}  # a part more in each row
    ends = {"GAP": plan.groups["additive"][0], "TAP": plan.groups["additive"][-1]}  # what they were trained with
    metrics = {name: _read_all(folder, plan, row, METRICS) for name, row in ends.items()}
    diagnoses = {name: _read_all(folder, plan, row, DIAGNOSTICS) for name, row in ends.items()}
    accuracies = {name: _over_seeds(every, [ACCURACY]) for name, every in metrics.items()}
    first = metrics["GAP"][0]
    readings = load_section(EvaluateSettings, f"tracks.{plan.track}.evaluate", folder / PREPROCESS)
    resampled = RowScores(folder, plan.seeds, task, readings)
    for name, rows in plan.groups.items():
        groups[name] = add_intervals(groups[name], [resampled(row) for row in rows], first["images"])
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
        choice=choose_row(plan, resampled, first["images"]),
        why={name: _why(every) for name, every in diagnoses.items() if not any("note" in values for values in every)},
    )


def _read_all(folder: Path, plan: Plan, row: Row, name: str) -> list[Any]:
    """A file of the stage `evaluate` for every seed."""
    return [read_json(folder / row.folder("scores", seed) / name) for seed in plan.seeds]


def _scored(folder: Path, plan: Plan, row: Row, task: Task) -> ScoredRow:
    metrics = _read_all(folder, plan, row, METRICS)
    scores = _over_seeds([_of_row(values, row) for values in metrics], columns_of(task))
    if ranking(task).key not in scores:
        where = folder / row.folder("scores", plan.seeds[0])
        raise ScoreError(f"{where}: expected scores, got none: {metrics[0].get('note')}")
    return ScoredRow(row.title, row.parts, row.variant.output, row.published, scores)


def _of_row(metrics: Any, row: Row) -> Any:
    return metrics if row.crf else metrics["before_crf"]


def _over_seeds(every: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> dict[str, Summary]:
    """The numbers that are known of every seed, by key."""
    known = [key for key in keys if all(values.get(key) is not None for values in every)]
    return {key: summarize(values[key] for values in every) for key in known}


def add_gains(rows: Sequence[ScoredRow], score: str) -> tuple[ScoredRow, ...]:
    """The rows with the gain of each over the row before, seed by seed; the first has none."""
    values = [row.scores[score].values for row in rows]
    gains = [summarize(_differences(after, before)) for before, after in pairwise(values)]
    return (*rows[:1], *(replace(row, gain=gain) for row, gain in zip(rows[1:], gains, strict=True)))


def _differences(values: Sequence[Number], others: Sequence[Number]) -> list[Number]:
    return [value - other for value, other in zip(values, others, strict=True)]


def part_gains(rows: Sequence[ScoredRow], score: str) -> dict[str, PartGain]:
    """The gain of each part over the same combination without it, in all 8 combinations of the others.

    The spread is that between seeds, of the mean over combinations.
    """
    by_parts = {row.parts: row.scores[score].values for row in rows}
    return {part: _part_gain(by_parts, position) for position, part in enumerate(PARTS)}


def _part_gain(by_parts: Mapping[tuple[bool, ...], Sequence[Number]], position: int) -> PartGain:
    gains = [
        _differences(values, by_parts[(*parts[:position], False, *parts[position + 1 :])])
        for parts, values in by_parts.items()
        if parts[position]
    ]  # by combination of the other parts, then by seed
    means = [fmean(gain) for gain in gains]
    over_seeds = summarize(fmean(column) for column in zip(*gains, strict=True))
    return PartGain(over_seeds.mean, over_seeds.spread, over_seeds.values, min(means), max(means))


def _why(diagnoses: Sequence[Any]) -> dict[str, Summary]:
    """The diagnosis of the features; a number that is not defined with every seed is left out."""
    every = [dict(flatten(values)) for values in diagnoses]
    # some are of the whole set, others the mean over its images
    return _over_seeds([{key: one.get(f"{key}.mean", one.get(key)) for key in LABELS} for one in every], LABELS)


def draw_figure(folder: Path, plan: Plan, results: Results) -> bytes:
    """Track 3: the IoU curves of the five rows in one frame, pooled or the mean over the images, as they are ranked.

    Track 1: the five scores, and those of the outputs, as bars.
    """
    if results.task == "segmentation":
        score = ranking(results.task)
        rows = (*results.groups["additive"], *results.groups.get("outputs", ()))
        return bars([(row.title, row.scores[score.key].values) for row in rows], score.label)
    return curves([(row.title, _curves(folder, plan, row)) for row in plan.groups["additive"]])


def _curves(folder: Path, plan: Plan, row: Row) -> list[list[float]]:
    places = [folder / row.folder("scores", seed) for seed in plan.seeds]
    is_mean = read_json(places[0] / METRICS).get("average") == "mean"
    column = f"{'after' if row.crf else 'before'}_crf{'_mean' if is_mean else ''}"
    return [[float(line[column]) for line in read_rows(place / TABLE)] for place in places]


def _column(folder: Path, row: Row, seed: int) -> Column:
    """The predictions of a row for the strip, with the IoUs and the threshold of per_image.csv."""
    name, scores = "after" if row.crf else "before", folder / row.folder("scores", seed)
    metrics = read_json(scores / METRICS)
    peak, average = _of_row(metrics, row).get("peak_threshold"), metrics.get("average")
    threshold = scored_threshold(peak, average, read_rows(scores / TABLE), f"{name}_crf")
    ious = {line["id"]: float(found) for line in read_rows(scores / PER_IMAGE) if (found := line[f"iou_{name}"])}
    is_strict = metrics.get("comparison") == ">"  # of whole numbers: > t is >= t + 1
    return Column(row.title, folder / row.folder("refined", seed), name, threshold + is_strict, ious)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, type=Path)
    compare(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    run(main)
