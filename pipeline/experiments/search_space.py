"""The values that a search may choose: parameters of `extract` and `refine` with their levels.

A point gives every parameter one of its levels. Parameters are keys of the track's sections `extract` and `refine`;
percentile 100 is MaS. Optuna sees a level as its position in the list, so that uneven steps such as 0, 1, 2, 4, 10 lie
side by side for the sampler.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from pipeline.core.errors import SettingsError
from pipeline.core.settings import flatten
from pipeline.core.tracks import Track

Point = Mapping[str, Any]

LEVELS: dict[str, tuple[Any, ...]] = {  # a parameter that switches others off stands before them
    "extract.negative_weights": (),  # (): the recipe's level, unless given; others need other maps
    "extract.sizes": (),
    "extract.flip": (),
    "extract.percentile": (75.0, 80.0, 85.0, 90.0, 93.0, 95.0, 97.0, 98.0, 99.0, 99.5, 100.0),
    "refine.exponent": (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0),
    "refine.background": (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8),
    "refine.output": (),
    "refine.min_probability": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "refine.shape": (),
    "refine.crf.iterations": (0, 1, 2, 3, 5, 7, 10, 15, 20),
    "refine.crf.bilateral.compat": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0),
    "refine.crf.bilateral.color_std": (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 18.0, 25.0),
    "refine.crf.bilateral.spatial_std": (10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0),
    "refine.crf.gaussian.compat": (0.0, 1.0, 2.0, 3.0, 5.0, 8.0),
    "refine.crf.gaussian.spatial_std": (1.0, 2.0, 3.0, 5.0, 8.0),
}
ONLY_SEGMENTATION = ("refine.background", "refine.min_probability", "refine.output")
ONLY_LOCALIZATION = ("refine.shape",)
EXTRACTION = ("extract.negative_weights", "extract.sizes", "extract.flip")  # maps that have to be made


@dataclass(frozen=True, slots=True)
class Space:
    """Parameters with their levels."""

    levels: Mapping[str, tuple[Any, ...]]  # of each parameter, numbers in order
    start: Point  # the recipe's, but for parameters that are fixed at other levels
    recipe: Point

    def suggest(self, trial: optuna.Trial) -> Point:
        """The point of a trial. A parameter without effect is not suggested and keeps its level of the start, so that
        equal settings are equal points."""
        point = dict(self.start)
        for key, levels in self.levels.items():
            if len(levels) > 1 and has_effect(key, point):
                point[key] = levels[_suggest_position(trial, key, levels)]
        return point

    def point(self, positions: Mapping[str, int]) -> Point:
        """The point of what was suggested."""
        return {**self.start, **{key: self.levels[key][position] for key, position in positions.items()}}

    def positions(self, point: Point) -> dict[str, int]:
        """The point as Optuna has it.

        >>> Space({"a": (1, 2, 4)}, {"a": 4}, {"a": 4}).positions({"a": 2})
        {'a': 1}
        """
        return {key: levels.index(point[key]) for key, levels in self.levels.items()}


def _suggest_position(trial: optuna.Trial, key: str, levels: Sequence[Any]) -> int:
    if _are_numbers(levels):
        return trial.suggest_int(key, 0, len(levels) - 1)
    return trial.suggest_categorical(key, range(len(levels)))


def _are_numbers(levels: Sequence[Any]) -> bool:
    return all(isinstance(level, int | float) for level in levels)


def has_effect(key: str, point: Point) -> bool:
    """Whether a parameter changes the prediction, given those that stand before it in `LEVELS`.

    Without iterations no kernel acts; a kernel with compat 0 has no width; one class an image needs no probability.

    >>> has_effect("refine.crf.gaussian.compat", {"refine.crf.iterations": 0})
    False
    """
    if key == "refine.min_probability":
        return bool(point["refine.output"] != "label_map_one_class")
    kernel, _, name = key.rpartition(".")
    if kernel not in ("refine.crf.gaussian", "refine.crf.bilateral"):
        return True
    return bool(point["refine.crf.iterations"] > 0 and (name == "compat" or point[f"{kernel}.compat"] > 0))


def make_space(sections: Mapping[str, Any], track: Track, given: Mapping[str, Any]) -> Space:
    """The parameters of a track around the settings of a recipe.

    Args:
        sections: `extract` and `refine` as in the recipe
        given: lists of levels that replace those of `LEVELS`; one level fixes a parameter

    Raises:
        SettingsError: if a parameter is unknown, or there is nothing to choose
    """
    others = ONLY_LOCALIZATION if track.task == "segmentation" else ONLY_SEGMENTATION
    known_keys = [key for key in LEVELS if key not in others]
    if unknown := [key for key in given if key not in known_keys]:
        raise SettingsError(f"parameter {unknown[0]}: expected one of {track.name}, {known_keys}, got {unknown[0]!r}")
    if wrong := [key for key, known in given.items() if not isinstance(known, list) or not known]:
        raise SettingsError(
            f"parameter {wrong[0]}: expected a list of levels such as [80, 90], got {given[wrong[0]]!r}"
        )
    levels, start, recipe = {}, {}, _of_recipe(sections, known_keys)
    for key, here in recipe.items():
        wanted = [float(level) if isinstance(here, float) else level for level in given.get(key, LEVELS[key])]
        if key == "refine.min_probability":  # maps of less probable classes were not kept
            wanted = [level for level in wanted if level >= sections["extract"]["min_probability"]]
            if sections["extract"]["class_thresholds"] != "fixed":  # it is not read
                wanted = []
        known = wanted if key in given and len(wanted) == 1 else [*wanted, *([] if here in wanted else [here])]
        start[key] = here if here in known else known[0]
        levels[key] = tuple(sorted(known) if _are_numbers(known) else known)
    if all(len(known) == 1 for known in levels.values()):
        raise SettingsError("expected at least one parameter with two levels, got only fixed ones: nothing to search")
    return Space(levels, start, recipe)


def _of_recipe(sections: Mapping[str, Any], keys: Sequence[str]) -> Point:
    """The levels that a recipe has; MaS is percentile 100, and no CRF is one without iterations."""
    values = dict(flatten(sections))
    if values["extract.scale"] == "max":
        values["extract.percentile"] = 100.0
    if not values["refine.crf.enabled"]:
        values["refine.crf.iterations"] = 0
    return {key: values[key] for key in keys}


def recipe_keys(point: Point) -> dict[str, Any]:
    """The point as keys of a recipe, with `extract.scale` and `refine.crf.enabled`.

    >>> recipe_keys({"extract.percentile": 100.0, "refine.crf.iterations": 0})
    {'extract.scale': 'max', 'refine.crf.enabled': False}
    """
    is_refined, percentile = point["refine.crf.iterations"] > 0, point["extract.percentile"]
    values = {key: value for key, value in point.items() if is_refined or not key.startswith("refine.crf.")}
    values |= {"extract.scale": "max" if percentile == 100 else "percentile", "refine.crf.enabled": is_refined}
    if percentile == 100:
        del values["extract.percentile"]
    return values
