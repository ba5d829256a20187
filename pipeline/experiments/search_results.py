"""The results of a search: the table of its trials, a page, a recipe."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.files import write_text
from pipeline.evaluate.metrics import ranking
from pipeline.experiments.search_scorer import PointScorer
from pipeline.experiments.search_space import (
    Best,
    Point,
    assign,
    canonical,
    changes,
    identity,
    lookup,
)
from pipeline.params.check import check


def write_table(path: Path, scorer: PointScorer) -> None:
    """All trials of the search as CSV, those on all images first, the best first."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    parameters = list(scorer.space.levels)
    writer.writerow(["images", "score", "threshold", "phase", "seconds", *parameters])
    for record in ranked(scorer):
        numbers = [record["images"], f"{record['score']:.6f}", record["threshold"], record["phase"], record["seconds"]]
        writer.writerow([*numbers, *(_cell(record["point"][key]) for key in parameters)])
    write_text(path, stream.getvalue())


def ranked(scorer: PointScorer) -> list[dict[str, Any]]:
    """The trials by images and score."""
    return sorted(scorer.used.values(), key=lambda record: (-record["images"], -record["score"]))


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def report(scorer: PointScorer, best: Best) -> str:
    """The results in Markdown: scores, changed keys, and the effect of every parameter around the best point."""
    start = scorer.space.start
    first = next(iter(scorer.used.values()))
    score = ranking(scorer.scoring.track.task).label
    lines = [
        f"# Search: {scorer.run.track}, {len(scorer.records)} images of split val",
        "",
        f"{score} {first['score']:.4f} → **{scorer.score(best.point):.4f}**: {len(scorer.used)} trials, "
        f"{scorer.spent:.1f} times the whole split, {scorer.seconds / 60:.1f} minutes.",
        "",
        "| key | recipe | best |",
        "|---|---|---|",
    ]
    chosen = canonical(best.point, start)
    lines += [f"| {key} | {_cell(start[key])} | {_cell(chosen[key])} |" for key in start if start[key] != chosen[key]]
    lines += ["", f"## {score} along each parameter, from the best point", ""]
    for key in scorer.space.levels:
        if known := along(scorer, chosen, key):
            lines.append(f"- {key}: " + ", ".join(f"{_cell(level)}: {value:.4f}" for level, value in known))
    return "\n".join(lines) + "\n"


def along(scorer: PointScorer, best: Point, key: str) -> list[tuple[Any, float]]:
    """Levels of a parameter whose other parameters are as in the best point, with their scores on all images.

    None if only the best point has one.
    """
    images = len(scorer.records)
    scores = {
        identity(record["point"]): record["score"] for record in scorer.used.values() if record["images"] == images
    }
    points = [canonical({**best, key: level}, scorer.space.start) for level in scorer.space.levels[key]]
    unique = {identity(point): point for point in points}  # a parameter without effect has one point
    known = [(point[key], scores[name]) for name, point in unique.items() if name in scores]
    return known if len(known) > 1 else []


def write_recipe(base: Path, track: str, point: Point, out: Path, note: str) -> None:
    """A complete recipe: the file `base`, comments and all, with the keys of the point changed.

    Raises:
        SettingsError: if the result is no valid recipe
    """
    yaml = YAML()
    yaml.width = 10**6
    yaml.preserve_quotes = True
    yaml.representer.add_representer(
        type(None), lambda here, _: here.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    values = yaml.load(base.read_text(encoding="utf-8"))
    for key, value in changes(point).items():
        if lookup(values["tracks"][track], key) != value:  # what stays keeps its form
            assign(values["tracks"][track], key, value)
    stream = io.StringIO()
    yaml.dump(values, stream)
    write_text(out, f"# {note}\n{stream.getvalue()}")
    check(out)
