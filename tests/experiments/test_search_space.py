"""The parameters of a search, their levels, and which of them a trial is asked for."""

import json

import optuna
import pytest
from support.helpers import recipe

from pipeline.core.errors import SettingsError
from pipeline.core.tracks import get_track
from pipeline.experiments.search_space import LEVELS, ONLY_SEGMENTATION, Space, has_effect, make_space, recipe_keys

SECTIONS = recipe()["tracks"]["track3"]


def _suggested(space: Space, point) -> tuple[dict, set[str]]:
    """The point that a trial with the levels of `point` has, and the keys that it was asked for."""
    trial = optuna.trial.FixedTrial(space.positions(point))
    return space.suggest(trial), set(trial.distributions)


def test_parameters_of_track_3_leave_out_what_only_label_maps_have():
    space = make_space(SECTIONS, get_track("track3"), {})
    assert not {"refine.background", "refine.min_probability", "refine.output"} & space.levels.keys()
    assert {"refine.background", "refine.min_probability"} <= make_space(
        recipe()["tracks"]["track1"], get_track("track1"), {}
    ).levels.keys()
    assert all(space.start[key] in levels for key, levels in space.levels.items())


def test_the_recipes_own_value_is_a_level_even_between_the_usual_ones():
    sections = json.loads(json.dumps(SECTIONS))
    sections["refine"]["exponent"] = 0.77
    levels = make_space(sections, get_track("track3"), {}).levels["refine.exponent"]
    assert 0.77 in levels
    assert list(levels) == sorted(levels)


def test_given_levels_replace_the_usual_ones_and_one_level_fixes_a_parameter():
    space = make_space(SECTIONS, get_track("track3"), {"extract.percentile": [80, 85], "refine.exponent": [1]})
    assert set(space.levels["extract.percentile"]) == {80.0, 85.0, SECTIONS["extract"]["percentile"]}
    assert space.levels["refine.exponent"] == (1.0,)
    assert space.start["refine.exponent"] == 1.0
    assert space.recipe["refine.exponent"] == SECTIONS["refine"]["exponent"] != 1.0


def test_maps_of_classes_that_were_not_kept_are_not_asked_for():
    sections = json.loads(json.dumps(recipe()["tracks"]["track1"]))
    sections["extract"]["min_probability"], sections["refine"]["min_probability"] = 0.3, 0.4
    assert min(make_space(sections, get_track("track1"), {}).levels["refine.min_probability"]) == 0.3


def test_a_probability_that_thresholds_of_classes_replace_is_not_searched():
    sections = json.loads(json.dumps(recipe()["tracks"]["track1"]))
    sections["extract"]["class_thresholds"] = "val"
    space = make_space(sections, get_track("track1"), {})
    assert space.levels["refine.min_probability"] == (sections["refine"]["min_probability"],)


@pytest.mark.parametrize(("given", "message"), [
    ({"refine.exponents": [1]}, "expected one of"),
    ({key: [1] for key in LEVELS if key not in ONLY_SEGMENTATION}, "nothing to search"),
    ({"refine.background": [0.2, 0.5]}, "expected one of track3"),
    ({"refine.exponent": 0.5}, "expected a list of levels"),
    ({"refine.exponent": []}, "expected a list of levels"),
])  # fmt: skip
def test_senseless_parameters_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        make_space(SECTIONS, get_track("track3"), given)


def test_a_trial_is_asked_for_the_parameters_that_have_an_effect():
    space = make_space(SECTIONS, get_track("track3"), {})
    start, kernels = space.start, {key for key in space.levels if "gaussian" in key or "bilateral" in key}
    full, asked = _suggested(space, {**start, "refine.exponent": 3.0})
    assert full == {**start, "refine.exponent": 3.0}
    assert asked == {key for key, levels in space.levels.items() if len(levels) > 1}
    off = {**start, "refine.crf.iterations": 0, "refine.crf.bilateral.compat": 14.0, "refine.crf.gaussian.compat": 8.0}
    found, asked = _suggested(space, off)
    assert found == {**start, "refine.crf.iterations": 0}
    assert not asked & kernels
    flat = {**start, "refine.crf.gaussian.compat": 0.0, "refine.crf.gaussian.spatial_std": 8.0}
    found, asked = _suggested(space, flat)
    assert found == {**start, "refine.crf.gaussian.compat": 0.0}
    assert kernels - asked == {"refine.crf.gaussian.spatial_std"}


def test_one_class_an_image_needs_no_probability():
    assert has_effect("refine.min_probability", {"refine.output": "label_map"})
    assert not has_effect("refine.min_probability", {"refine.output": "label_map_one_class"})


def test_what_switches_a_parameter_off_stands_before_it():
    order = list(LEVELS)
    assert order.index("refine.output") < order.index("refine.min_probability")
    for kernel in ("gaussian", "bilateral"):
        of_kernel = [key for key in order if f".{kernel}." in key]
        assert of_kernel[0].endswith("compat")
        assert order.index("refine.crf.iterations") < order.index(of_kernel[0])


def test_the_ends_of_two_parameters_are_switches_of_the_recipe():
    start = make_space(SECTIONS, get_track("track3"), {}).start
    written = recipe_keys({**start, "extract.percentile": 100.0, "refine.crf.iterations": 0})
    assert written["extract.scale"] == "max"
    assert written["refine.crf.enabled"] is False
    assert not {"extract.percentile", "refine.crf.iterations", "refine.crf.bilateral.compat"} & written.keys()
    written = recipe_keys({**start, "extract.percentile": 90.0, "refine.crf.iterations": 3})
    assert (written["extract.scale"], written["refine.crf.enabled"]) == ("percentile", True)
    assert (written["extract.percentile"], written["refine.crf.iterations"]) == (90.0, 3)


def test_levels_that_are_no_numbers_have_no_order():
    space = Space({"a": ([320], [320, 448]), "b": (1, 2, 4)}, {"a": [320], "b": 1}, {})
    trial = optuna.trial.FixedTrial({"a": 1, "b": 2})
    assert space.suggest(trial) == {"a": [320, 448], "b": 4}
    assert isinstance(trial.distributions["a"], optuna.distributions.CategoricalDistribution)
    assert isinstance(trial.distributions["b"], optuna.distributions.IntDistribution)
