"""The results of a search: the table of its trials, a page, a recipe."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.files import write_text
from pipeline.evaluate.run import to_csv
from pipeline.experiments.search_space import Point, Space, assign, lookup
from pipeline.params.check import check


@dataclass(frozen=True, slots=True)
class Result:
    """A finished trial.

    Attributes:
        number: of the trial; 0 is the recipe's own point
        point: a level for each parameter
        score: the ranking score
        threshold: of its peak (Track 3)
        value: what the search maximizes: the score, less 1 where the threshold is not allowed
        seconds: how long it took
    """

    number: int
    point: Point
    score: float
    threshold: int | None
    value: float
    seconds: float


def best_of(results: Sequence[Result]) -> Result:
    """The result with the highest value, the earliest of equal ones: the recipe's own point stays on a tie."""
    return max(results, key=lambda result: (result.value, -result.number))


def table(results: Sequence[Result], space: Space, images: int) -> str:
    """All trials as CSV, the best first; those whose peak lies outside the window of thresholds come last."""
    header = ["trial", "images", "score", "threshold", "seconds", *space.levels]
    rows = [
        [
            one.number,
            images,
            one.score,
            one.threshold,
            f"{one.seconds:.1f}",
            *(_cell(one.point[k]) for k in space.levels),
        ]
        for one in sorted(results, key=lambda one: (-one.value, one.number))
    ]
    return to_csv([header, *rows])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def page(results: Sequence[Result], space: Space, title: str, label: str) -> str:
    """The results in Markdown: scores, changed keys, and the effect of every parameter.

    Args:
        title: what was searched on
        label: of the ranking score
    """
    best = best_of(results)
    start = min(results, key=lambda result: result.number)
    minutes = sum(result.seconds for result in results) / 60
    lines = [f"# Search: {title}", ""]
    lines += [f"{label} {start.score:.4f} → **{best.score:.4f}**: {len(results)} trials, {minutes:.1f} minutes.", ""]
    lines += ["| key | recipe | best |", "|---|---|---|"]
    changed = [key for key in space.start if space.start[key] != best.point[key]]
    lines += [f"| {key} | {_cell(space.start[key])} | {_cell(best.point[key])} |" for key in changed]
    lines += ["", f"## {label} along each parameter: the best of the trials at each level", ""]
    for key in space.levels:
        if len(known := along(results, space, key)) > 1:
            lines.append(f"- {key}: " + ", ".join(f"{_cell(level)}: {score:.4f}" for level, score in known))
    return "\n".join(lines) + "\n"


def along(results: Sequence[Result], space: Space, key: str) -> list[tuple[Any, float]]:
    """The levels of a parameter that were tried, each with the score of its best trial."""
    tried = [(level, [one for one in results if one.point[key] == level]) for level in space.levels[key]]
    return [(level, best_of(found).score) for level, found in tried if found]


def changes(point: Point) -> dict[str, Any]:
    """The point as keys of a recipe, with `extract.scale` and `refine.crf.enabled`.

    >>> changes({"extract.percentile": 100.0, "refine.crf.iterations": 0})
    {'extract.scale': 'max', 'refine.crf.enabled': False}
    """
    scale = "max" if point["extract.percentile"] == 100 else "percentile"
    values = {**point, "extract.scale": scale, "refine.crf.enabled": point["refine.crf.iterations"] > 0}
    if scale == "max":
        del values["extract.percentile"]
    if values["refine.crf.enabled"]:
        return values
    return {key: value for key, value in values.items() if not key.startswith("refine.crf.") or key.endswith("enabled")}


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
