"""The values that a search may choose, and the order in which it tries them.

A point gives every parameter one of its levels. Parameters are keys of the track's sections `extract` and `refine`;
percentile 100 is MaS. The search is a function of space, seed and scores alone: with the same scores it proposes the
same points, so that a stopped search can continue from its journal.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.errors import SettingsError
from pipeline.core.tracks import Track

Point = Mapping[str, Any]

LEVELS: dict[str, tuple[Any, ...]] = {  # in the order in which they are tried one by one
    "extract.negative_weights": (),  # (): the recipe's level, unless given; others need other maps
    "extract.sizes": (),
    "extract.flip": (),
    "extract.percentile": (75.0, 80.0, 85.0, 90.0, 93.0, 95.0, 97.0, 98.0, 99.0, 99.5, 100.0),
    "refine.exponent": (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0),
    "refine.background": (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8),
    "refine.min_probability": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "refine.output": (),
    "refine.shape": (),
    "refine.crf.bilateral.compat": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0),
    "refine.crf.bilateral.color_std": (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 18.0, 25.0),
    "refine.crf.bilateral.spatial_std": (10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0),
    "refine.crf.iterations": (0, 1, 2, 3, 5, 7, 10, 15, 20),
    "refine.crf.gaussian.compat": (0.0, 1.0, 2.0, 3.0, 5.0, 8.0),
    "refine.crf.gaussian.spatial_std": (1.0, 2.0, 3.0, 5.0, 8.0),
}
ONLY_SEGMENTATION = ("refine.background", "refine.min_probability", "refine.output")
ONLY_LOCALIZATION = ("refine.shape",)
EXTRACTION = ("extract.negative_weights", "extract.sizes", "extract.flip")  # maps that have to be made
PROMOTED = 4  # points of the first pass that are scored on all images


def lookup(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key.

    >>> lookup({"a": {"b": 1}}, "a.b")
    1
    """
    here: Any = values
    for step in key.split("."):
        here = here[step]
    return here


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key that exists."""
    *steps, last = key.split(".")
    here: Any = values
    for step in steps:
        here = here[step]
    here[last] = value


@dataclass(frozen=True, slots=True)
class Space:
    """Parameters with their levels in order, and the point of the recipe.

    Attributes:
        levels: of each parameter that has a choice
        start: a level for each parameter
    """

    levels: Mapping[str, tuple[Any, ...]]
    start: Point

    def draw(self, chance: np.random.Generator) -> Point:
        """A random point: about half of the parameters are as in the recipe, the others anywhere."""
        return {
            key: self.levels[key][int(chance.integers(len(self.levels[key])))]
            if chance.random() < 0.5
            else self.start[key]
            for key in self.levels
        }

    def step(self, point: Point, chance: np.random.Generator, most: int = 3) -> Point:
        """A random neighbor: up to `most` parameters move by one level."""
        moved = dict(point)
        for position in chance.choice(len(self.levels), size=min(most, len(self.levels)), replace=False):
            key = list(self.levels)[int(position)]
            levels = self.levels[key]
            place = levels.index(point[key]) + int(chance.choice((-1, 1)))
            moved[key] = levels[min(max(place, 0), len(levels) - 1)]
        return moved

    def along(self, point: Point, key: str, reach: int) -> list[Point]:
        """The points that differ in one parameter by at most `reach` levels.

        >>> [p["a"] for p in Space({"a": (1, 2, 3, 4)}, {"a": 1}).along({"a": 1}, "a", reach=2)]
        [2, 3]
        """
        levels = self.levels[key]
        place = levels.index(point[key])
        near = range(max(0, place - reach), min(len(levels), place + reach + 1))
        return [{**point, key: levels[n]} for n in near if n != place]


def make_space(sections: Mapping[str, Any], track: Track, given: Mapping[str, Sequence[Any]]) -> Space:
    """The parameters of a track around the settings of a recipe.

    Args:
        sections: `extract` and `refine` as in the recipe
        given: levels that replace those of `LEVELS`; one level fixes a parameter

    Raises:
        SettingsError: if a parameter is unknown, or there is nothing to choose
    """
    if unknown := sorted(given.keys() - LEVELS.keys()):
        raise SettingsError(f"parameter {unknown[0]}: expected one of {list(LEVELS)}, got {unknown[0]!r}")
    levels, start = {}, {}
    for key, usual in LEVELS.items():
        if key in (ONLY_LOCALIZATION if track.task == "segmentation" else ONLY_SEGMENTATION):
            if key in given:
                raise SettingsError(
                    f"parameter {key}: expected a parameter of {track.name}, got one of the other track"
                )
            continue
        here = _of_recipe(sections, key)
        wanted = [float(level) if isinstance(here, float) else level for level in given.get(key, usual)]
        if key == "refine.min_probability":  # maps of less probable classes were not kept
            wanted = [level for level in wanted if level >= sections["extract"]["min_probability"]]
        known = wanted if key in given and len(wanted) == 1 else [*wanted, *([] if here in wanted else [here])]
        start[key] = here if here in known else known[0]
        levels[key] = tuple(sorted(known) if all(isinstance(level, (int, float)) for level in known) else known)
    if all(len(known) == 1 for known in levels.values()):
        raise SettingsError("expected at least one parameter with two levels, got only fixed ones: nothing to search")
    return Space(levels, start)


def _of_recipe(sections: Mapping[str, Any], key: str) -> Any:
    """The level that a recipe has; MaS is percentile 100, and no CRF is one without iterations."""
    if key == "extract.percentile" and sections["extract"]["scale"] == "max":
        return 100.0
    if key == "refine.crf.iterations" and not sections["refine"]["crf"]["enabled"]:
        return 0
    return lookup(sections, key)


def changes(point: Point) -> dict[str, Any]:
    """The point as keys of a recipe, with `extract.scale` and `refine.crf.enabled`.

    >>> changes({"extract.percentile": 100.0, "refine.crf.iterations": 0})
    {'extract.scale': 'max', 'refine.crf.enabled': False}
    """
    values = dict(point)
    values["extract.scale"] = "max" if point["extract.percentile"] == 100 else "percentile"
    values["refine.crf.enabled"] = point["refine.crf.iterations"] > 0
    if values["extract.scale"] == "max":
        del values["extract.percentile"]
    if not values["refine.crf.enabled"]:
        values = {
            key: value for key, value in values.items() if not key.startswith("refine.crf.") or key.endswith("enabled")
        }
    return values


def canonical(point: Point, start: Point) -> Point:
    """The point with every parameter that has no effect put back to the recipe's level, so that equal points are the
    same.

    Without iterations no kernel acts; a kernel with compat 0 has no width; one class an image needs no probability.
    """
    idle = []
    if point["refine.crf.iterations"] == 0:
        idle += [key for key in point if key.startswith(("refine.crf.gaussian.", "refine.crf.bilateral."))]
    for kernel in ("gaussian", "bilateral"):
        if point[f"refine.crf.{kernel}.compat"] == 0:
            idle += [key for key in point if key.startswith(f"refine.crf.{kernel}.") and not key.endswith("compat")]
    if point.get("refine.output") == "label_map_one_class":
        idle.append("refine.min_probability")
    return {**point, **{key: start[key] for key in idle}}


def identity(point: Point) -> str:
    """The point as text; equal points give equal texts."""
    return json.dumps(dict(point), sort_keys=True)


# --- the search ------------------------------------------------------------------------------------------------------

# points, phase, and whether a part of the images is enough, to scores: higher is better
Measure = Callable[[Sequence[Point], str, bool], Sequence[float]]


class BudgetSpent(Exception):  # noqa: N818 (no error: the search ends)
    """Raised by a `Measure` when the budget is spent."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried.

    Attributes:
        draws: random points of the first pass
        batch: points that are scored together
        seed: of the random points
        small: whether the first pass uses only a part of the images
        steps: random neighbors that are tried when no single parameter helps any more
    """

    draws: int
    batch: int
    seed: int
    small: bool
    steps: int = 1000


@dataclass(frozen=True, slots=True)
class Best:
    """The best point that was scored on all images."""

    point: Point
    score: float


def search(space: Space, measure: Measure, effort: Effort) -> Best:
    """Search for the best point: random ones first, then parameter by parameter, then random neighbors, until the
    budget is spent.

    A point replaces the best one only if it is better on all images of the split; ties stay with the earlier one, so
    the recipe's own settings are kept if another point has the same score.

    Args:
        measure: scores of points, called with the name of the phase and whether a part of the images is enough; raises
            `BudgetSpent` when there is no budget left
    """
    best = Best(space.start, measure([space.start], "start", False)[0])
    chance = np.random.default_rng(effort.seed)
    try:
        best = _better(best, _first_pass(space, measure, effort, chance), measure, "promoted")
        improved = True
        while improved:
            before = best
            for key in space.levels:
                best = _better(best, space.along(best.point, key, reach=2), measure, key)
            improved = best != before
        for _ in range(effort.steps):
            best = _better(best, [space.step(best.point, chance) for _ in range(effort.batch)], measure, "steps")
    except BudgetSpent:
        pass  # the best so far is the result
    return best


def _first_pass(space: Space, measure: Measure, effort: Effort, chance: np.random.Generator) -> list[Point]:
    """The best of the random points, on a part of the images where that is enough."""
    points = list({identity(point): point for point in (space.draw(chance) for _ in range(effort.draws))}.values())
    scores: list[float] = []
    for start in range(0, len(points), effort.batch):
        scores += measure(points[start : start + effort.batch], "random", effort.small)
    order = sorted(range(len(points)), key=lambda n: (-scores[n], n))
    return [points[n] for n in order[:PROMOTED]]


def _better(best: Best, points: Sequence[Point], measure: Measure, phase: str) -> Best:
    if not points:
        return best
    for point, score in zip(points, measure(points, phase, False), strict=True):
        if score > best.score:
            best = replace(best, point=point, score=score)
    return best
