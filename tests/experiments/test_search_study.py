"""A search on a hill instead of maps: its trials depend on the seed alone, however often it is stopped."""

from types import SimpleNamespace

import numpy as np
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from pipeline.experiments.search_space import Space
from pipeline.experiments.search_study import Search, along, best_of, choose, page, run_search, table


class Hill:
    """In place of `Scoring`: highest at a = 5, b = 2, c = 1."""

    key, images = "hill", 1

    def __init__(self, scratch, fails_at=None):
        self.scratch = scratch
        self.fails_at, self.asked = fails_at, []

    def score(self, point):
        self.asked.append(point)
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        return 1.0 - (point["a"] - 5) ** 2 / 50 - (point["b"] - 2) ** 2 / 50 - 0.1 * (1 - point["c"]), None


START = {"a": 0, "b": 8, "c": 0}
SPACE = Space({"a": tuple(range(9)), "b": tuple(range(9)), "c": (0, 1)}, START, START)


def _search(folder, sampler="tpe", seed=0, **more):
    folder.mkdir(exist_ok=True)
    return Search(Hill(folder, **more), SPACE, sampler, seed, (0, 255))


def _asked(trials):
    return [(SPACE.point(trial.params), trial.user_attrs["score"]) for trial in trials]


def test_the_first_trial_is_the_recipe_and_the_sampler_finds_the_top_of_a_hill(tmp_path):
    results = run_search(_search(tmp_path), budget=40, minutes=0, jobs=1)
    assert SPACE.point(results[0].params) == START
    assert best_of(results).value > 0.95
    random = run_search(_search(tmp_path, "random"), budget=40, minutes=0, jobs=1)
    late = [sum(trial.value for trial in some[20:]) for some in (results, random)]
    assert late[0] > late[1]  # what was learned from the first trials


def test_a_point_that_was_scored_is_not_scored_again(tmp_path):
    search = _search(tmp_path)
    results = run_search(search, budget=40, minutes=0, jobs=1)
    points = [tuple(trial.params.values()) for trial in results]
    assert len(search.scoring.asked) == len(set(points)) < len(points)


def test_the_seed_decides(tmp_path):
    first, same, other = (
        run_search(_search(tmp_path / name, seed=seed), budget=8, minutes=0, jobs=1)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert _asked(first) == _asked(same) != _asked(other)


def test_a_longer_budget_has_the_trials_of_a_shorter_one(tmp_path):
    whole = run_search(_search(tmp_path / "whole", "random"), budget=12, minutes=0, jobs=1)
    parts = [run_search(_search(tmp_path / "parts", "random"), budget, 0, jobs=1) for budget in (5, 12, 5)]
    assert [_asked(part) for part in parts] == [_asked(whole[:5]), _asked(whole), _asked(whole[:5])]


@pytest.mark.parametrize("at", [1, 7, 14])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path, at):
    whole = run_search(_search(tmp_path / "whole"), budget=16, minutes=0, jobs=1)
    with pytest.raises(KeyboardInterrupt):
        run_search(_search(tmp_path / "cut", fails_at=at), budget=16, minutes=0, jobs=1)
    assert _asked(run_search(_search(tmp_path / "cut"), budget=16, minutes=0, jobs=1)) == _asked(whole)


def test_several_processes_share_the_trials(tmp_path):
    results = run_search(_search(tmp_path), budget=9, minutes=0, jobs=2)
    assert len(results) == 9
    assert SPACE.point(results[0].params) == START


def test_when_the_time_is_over_no_trial_begins(tmp_path):
    assert len(run_search(_search(tmp_path), budget=9, minutes=1e-9, jobs=1)) == 1  # the recipe has a score


def test_half_a_line_of_the_journal_is_cut_off(tmp_path):
    whole = run_search(_search(tmp_path), budget=3, minutes=0, jobs=1)
    with (tmp_path / "journal.log").open("a") as stream:
        stream.write('{"op_code": 4, "wor')  # what a crash of the machine leaves
    for _ in range(2):  # the first call would append to it, the second could not read it
        assert _asked(run_search(_search(tmp_path), budget=4, minutes=0, jobs=1))[:3] == _asked(whole)


# --- what was found ---------------------------------------------------------------------------------------------------

LEVELS = Space({"a": (1, 2, 4)}, {"a": 1}, {"a": 1})


def _trial(position, score, value=None):
    facts = {"score": score, "threshold": None}
    where = {"params": {"a": position}, "distributions": {"a": IntDistribution(0, 2)}}
    return create_trial(value=score if value is None else value, user_attrs=facts, **where)


def test_on_a_tie_the_first_stays_and_what_is_not_allowed_does_not_win():
    recipe, refused, equal = _trial(0, 0.5), _trial(1, 0.9, value=-0.1), _trial(2, 0.5)
    assert best_of([recipe, refused, equal]) is recipe
    better, same = _trial(1, 0.6), _trial(2, 0.6)
    assert best_of([recipe, better, same]) is better


def test_the_table_has_the_best_first_and_refused_ones_last():
    text = table([_trial(0, 0.5), _trial(1, 0.9, value=-0.1), _trial(2, 0.6), _trial(1, 0.5)], LEVELS, images=6)
    lines = [line.split(",") for line in text.splitlines()]
    assert lines[0] == ["trial", "images", "score", "threshold", "seconds", "a"]
    assert [(line[0], line[2], line[5]) for line in lines[1:]] == [
        ("2", "0.600000", "4"), ("0", "0.500000", "1"), ("3", "0.500000", "2"), ("1", "0.900000", "2"),
    ]  # fmt: skip


def test_a_parameter_is_shown_with_the_best_score_of_each_level():
    trials = [_trial(0, 0.5), _trial(1, 0.4), _trial(1, 0.6), _trial(0, 0.1)]
    assert along(trials, LEVELS, "a") == [(1, 0.5), (2, 0.6)]
    text = page(trials, LEVELS, "a set", "peak IoU", None)
    assert "peak IoU 0.5000 → **0.6000**: 4 trials" in text
    assert "| a | 1 | 2 |" in text
    assert "- a: 1: 0.5000, 2: 0.6000" in text


def _counts_of(scores):
    """A scoring of eight images that has the mean of some of these scores at each level."""

    def resampled(point):
        values = np.array(scores[point["a"]])

        def score(weights):
            with np.errstate(invalid="ignore"):  # a resample may hold no image of a half
                return weights @ values / weights.sum(axis=1)

        return score

    return SimpleNamespace(resampled=resampled, images=8)


def test_a_gain_on_every_image_is_worth_a_change_and_one_by_chance_is_not():
    worse, even = [0.4] * 8, [0.5] * 8
    by_chance = [0.9, 0.9, 0.2, 0.2, 0.6, 0.6, 0.4, 0.4]  # 0.525 on average
    trials = [_trial(0, 0.5), _trial(1, 0.525), _trial(2, 0.4)]
    scoring = _counts_of({1: even, 2: by_chance, 4: worse})
    nested = choose(Search(scoring, LEVELS, "tpe", 0, (0, 255)), trials)
    assert (nested.chosen, nested.score) == (1, pytest.approx(0.525))
    assert "**Keep the recipe**" in page(trials, LEVELS, "a set", "peak IoU", nested)
    better = choose(Search(_counts_of({1: worse, 2: even, 4: worse}), LEVELS, "tpe", 0, (0, 255)), trials)
    assert better.gain == pytest.approx(0.1)
    told = page(trials, LEVELS, "a set", "peak IoU", better)
    assert "Keep the recipe" not in told
    assert "+0.1000 [+0.100, +0.100] over the recipe" in told


def test_a_trial_outside_the_window_is_not_chosen_on_any_half():
    scoring = _counts_of({1: [0.4] * 8, 2: [0.9] * 8, 4: [0.5] * 8})
    trials = [_trial(0, 0.4), _trial(1, 0.9, value=-0.1), _trial(2, 0.5)]
    assert choose(Search(scoring, LEVELS, "tpe", 0, (0, 255)), trials).nested == pytest.approx(0.5)


def test_what_was_fixed_is_compared_with_the_recipe():
    fixed = Space({"a": (4,)}, {"a": 4}, {"a": 1})
    only = create_trial(value=0.5, user_attrs={"score": 0.5, "threshold": None})
    assert "| a | 1 | 4 |" in page([only], fixed, "a set", "peak IoU", None)
