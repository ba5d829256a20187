"""The comparison of methods: equal search, equal budget, and settings that are valid."""

from pathlib import Path

import pytest

from pipeline.core.settings import read_params
from pipeline.experiments.method_plan import (
    BUDGET,
    OURS,
    ROWS,
    SEARCHED,
    SETS,
    best_method,
    choose,
    combined,
    run_of,
    search_runs,
)  # fmt: skip
from pipeline.models.methods import make_method, method_names
from pipeline.params.changes import changed
from pipeline.params.check import check_values

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_every_row_has_as_many_trials_and_every_method_a_row() -> None:
    assert {len(row.trials) for row in ROWS} == {4}
    assert {row.method for row in ROWS} == set(method_names())
    assert all(len({str(trial) for trial in row.trials}) == 4 for row in ROWS)
    assert len({row.title for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("name", sorted(SETS))
def test_all_settings_are_valid_and_differ_in_nothing_but_method_and_trial(name: str) -> None:
    recipe = RECIPES / f"{name}.yaml"
    values = read_params(recipe)
    seen = []
    for row in (*ROWS, combined(ROWS[1])):
        for trial in row.trials:
            run = run_of(row, trial, name, 3, {})
            settings = check_values(changed(values, "track3", run.changes, recipe), recipe)["track3"]["train"]
            make_method(settings.method, settings.method_options)
            assert settings.seed == 3
            assert settings.backbone.trained
            assert settings.head_epochs > 0
            seen.append((settings.resize, settings.crop, settings.epochs, settings.batch_size, settings.head_epochs))
    assert len(set(seen)) == 1
    assert {"track3.train.crop": seen[0][1]} == {"track3.train.crop": SETS[name]["train.crop"]}


def test_the_search_uses_one_seed_of_one_set() -> None:
    runs = search_runs(ROWS, 5, {})
    assert [run.title for run in runs] == [row.title for row in ROWS for _ in row.trials]
    assert len(runs) == 4 * len(ROWS)
    assert {(run.name, run.seed) for run in runs} == {(SEARCHED, 5)}
    assert len({run.key for run in runs}) == len(runs)


def test_equal_settings_are_one_run_and_a_changed_budget_another() -> None:
    row, trial = ROWS[0], ROWS[0].trials[0]
    assert run_of(row, trial, SEARCHED, 0, {}).key == run_of(row, dict(trial), SEARCHED, 0, {}).key
    assert run_of(row, trial, SEARCHED, 0, {"train.epochs": 1}).changes["train.epochs"] == 1
    others = [run_of(row, trial, SEARCHED, 1, {}), run_of(row, trial, SEARCHED, 0, {"train.epochs": 1})]
    assert len({run.key for run in [*others, run_of(row, trial, SEARCHED, 0, {})]}) == 3


def test_the_best_trial_and_the_best_method() -> None:
    scores = {row.title: [0.1, 0.2, 0.2, 0.0] for row in ROWS}
    scores["ADL"] = [0.0, 0.0, 0.0, 0.9]
    scores["CAM"] = [1.0] * 4
    assert choose(scores)["ADL"] == 3
    assert choose(scores)["HaS"] == 1
    best = best_method(scores)
    assert best.title == "ADL", "the plain row and ours are no other method"
    both = combined(best)
    assert both.title == "ADL + TAP + NWC + PaS"
    assert both.parts == OURS
    assert run_of(both, both.trials[3], SEARCHED, 0, {}).changes["train.pooling"] == "tap"
    assert BUDGET["extract.splits"] == ["val"]
