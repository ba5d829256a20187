"""The search, with a score that is a formula."""

import json

import numpy as np
import pytest
from support.helpers import recipe

from pipeline.core.errors import SettingsError
from pipeline.core.tracks import get_track
from pipeline.experiments.search_space import (
    LEVELS,
    ONLY_SEGMENTATION,
    BudgetSpent,
    Effort,
    Space,
    canonical,
    changes,
    identity,
    make_space,
    search,
)

SECTIONS = recipe()["tracks"]["track3"]
SPACE = Space({"a": (0, 1, 2, 3, 4, 5, 6), "b": (0, 1, 2, 3, 4, 5, 6), "c": (0, 1)}, {"a": 0, "b": 0, "c": 0})


def hill(point):
    """Highest at a = 5, b = 2, c = 1, with a ridge along a = b + 3."""
    return -((point["a"] - 5) ** 2) - (point["b"] - 2) ** 2 - (point["a"] - point["b"] - 3) ** 2 + point["c"]


class Counted:
    """A measure that counts, and ends after `most` points."""

    def __init__(self, score, most=10**9):
        self.score, self.most, self.asked = score, most, []

    def __call__(self, points, phase, few):
        if len(self.asked) >= self.most:
            raise BudgetSpent
        self.asked += [(phase, few, identity(point)) for point in points]
        return [self.score(point) for point in points]


def test_the_search_finds_the_top_of_a_hill():
    best = search(SPACE, Counted(hill), Effort(draws=10, batch=4, seed=0, small=False, steps=5))
    assert dict(best.point) == {"a": 5, "b": 2, "c": 1}
    assert best.score == 1


def test_equal_scores_stay_with_the_recipe():
    best = search(SPACE, Counted(lambda point: 0.5), Effort(10, 4, 0, False, 3))
    assert best.point == SPACE.start


def test_a_spent_budget_ends_with_the_best_so_far():
    measure = Counted(hill, most=1)
    assert search(SPACE, measure, Effort(10, 4, 0, False)).point == SPACE.start
    assert len(measure.asked) == 1


def test_the_first_pass_may_look_at_a_part_of_the_images_and_decides_nothing():
    def score(point):
        return hill(point)

    def misleading(points, phase, few):
        return [100 if few else score(point) for point in points]

    best = search(SPACE, misleading, Effort(10, 4, 0, True, 2))
    assert best.score <= 1  # the 100 of the first pass is not among what is compared


def test_the_same_seed_asks_the_same_questions():
    first, second, other = Counted(hill), Counted(hill), Counted(hill)
    for measure, seed in ((first, 0), (second, 0), (other, 1)):
        search(SPACE, measure, Effort(10, 4, seed, False, 3))
    assert first.asked == second.asked
    assert first.asked != other.asked


def test_more_budget_goes_on_from_less():
    short, long = Counted(hill, most=12), Counted(hill, most=30)
    for measure in (short, long):
        search(SPACE, measure, Effort(8, 4, 0, False, 3))
    assert long.asked[: len(short.asked)] == short.asked


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


def test_maps_of_classes_that_were_not_kept_are_not_asked_for():
    sections = json.loads(json.dumps(recipe()["tracks"]["track1"]))
    sections["extract"]["min_probability"], sections["refine"]["min_probability"] = 0.3, 0.4
    assert min(make_space(sections, get_track("track1"), {}).levels["refine.min_probability"]) == 0.3


@pytest.mark.parametrize(("given", "message"), [
    ({"refine.exponents": [1]}, "expected one of"),
    ({key: [1] for key in LEVELS if key not in ONLY_SEGMENTATION}, "nothing to search"),
    ({"refine.background": [0.2, 0.5]}, "expected a parameter of track3"),
])  # fmt: skip
def test_senseless_parameters_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        make_space(SECTIONS, get_track("track3"), given)


def test_parameters_without_effect_are_put_back():
    start = make_space(SECTIONS, get_track("track3"), {}).start
    off = {**start, "refine.crf.iterations": 0, "refine.crf.bilateral.compat": 14.0, "refine.crf.gaussian.compat": 8.0}
    assert canonical(off, start) == {**start, "refine.crf.iterations": 0}
    flat = {**start, "refine.crf.gaussian.compat": 0.0, "refine.crf.gaussian.spatial_std": 8.0}
    assert canonical(flat, start) == {**start, "refine.crf.gaussian.compat": 0.0}
    assert canonical(start, start) == start


def test_the_ends_of_two_parameters_are_switches_of_the_recipe():
    start = make_space(SECTIONS, get_track("track3"), {}).start
    written = changes({**start, "extract.percentile": 100.0, "refine.crf.iterations": 0})
    assert written["extract.scale"] == "max"
    assert written["refine.crf.enabled"] is False
    assert not {"extract.percentile", "refine.crf.iterations", "refine.crf.bilateral.compat"} & written.keys()


def test_steps_move_by_one_level_and_stay_inside():
    chance = np.random.default_rng(0)
    for _ in range(50):
        moved = SPACE.step({"a": 0, "b": 6, "c": 1}, chance)
        assert (moved["a"], moved["b"], moved["c"]) in {(a, b, c) for a in (0, 1) for b in (5, 6) for c in (0, 1)}
