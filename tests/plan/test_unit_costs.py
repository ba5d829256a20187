"""Unit costs have sources, can be replaced, and become the seconds of a trial at the sizes of a recipe."""

from dataclasses import replace

import pytest
from support.preflight import recipe_settings

from pipeline.core.errors import SettingsError
from pipeline.plan.unit_costs import read_unit_costs, trial_of


def test_every_cost_has_a_value_a_unit_and_a_source() -> None:
    costs = read_unit_costs()
    assert all(cost.value > 0 and cost.unit and cost.source for cost in costs.values())
    # as measured on an H200: bare training 1,149 images/s, compiled 1,976; forward 3,322; 3,839 read by 16 processes
    assert (costs["learn"].value, costs["learn_compiled"].value, costs["forward"].value) == (1149, 1976, 3322)
    assert 16 / costs["read"].value == pytest.approx(3839, rel=1e-3)


def test_a_cost_is_replaced() -> None:
    costs = read_unit_costs({"learn": 500.0})
    assert (costs["learn"].value, costs["learn"].source) == (500.0, "given")
    assert costs["forward"] == read_unit_costs()["forward"]


def test_a_rate_of_training_counts_for_compiled_steps_too() -> None:
    assert read_unit_costs({"learn": 574.5})["learn_compiled"].value == pytest.approx(988)  # half of both
    both = read_unit_costs({"learn": 574.5, "learn_compiled": 600.0})
    assert (both["learn_compiled"].value, both["learn_compiled"].source) == (600.0, "given")


@pytest.mark.parametrize(("key", "value"), [("lern", 1.0), ("learn", 0.0), ("learn", float("nan")), ("scaling", 1.1)])
def test_a_cost_that_cannot_be_is_refused(key: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"--cost.*expected .*{key if key == 'lern' else value}"):
        read_unit_costs({key: value})


def test_the_trial_at_the_sizes_that_were_measured() -> None:
    sections = recipe_settings()["track3"]
    trial = trial_of(read_unit_costs(), sections, 1_281_167)
    assert trial.learn == pytest.approx(1 / 1976)  # compiled: 21 epochs see more than 300,000 images
    assert trial.validate == trial.extract == pytest.approx(1 / 3322)  # one square view of 384 pixels


def test_the_trial_at_other_sizes_counts_pixels() -> None:
    sections = recipe_settings()["track3"]
    sections["train"] = replace(sections["train"], crop=168, resize=192, epochs=1)
    sections["extract"] = replace(sections["extract"], sizes=(192, 384), flip=True)
    trial = trial_of(read_unit_costs(), sections, 299_999)
    assert trial.learn == pytest.approx(0.25 / 1149)  # short: not compiled
    assert trial.validate == pytest.approx(0.25 / 3322)
    assert trial.extract == pytest.approx(2 * 1.25 / 3322)


def test_crops_of_an_image_pass_the_network_once() -> None:
    """Of 375 x 500 pixels: two squares beside each other, as large as a view."""
    sections = recipe_settings()["track3"]
    sections["extract"] = replace(sections["extract"], sizes=(384,), flip=True, class_crops="mean")
    assert trial_of(read_unit_costs(), sections, 1000).extract == pytest.approx((2 + 2) / 3322)


def test_a_student_that_keeps_no_features_runs_its_backbone_in_every_step() -> None:
    sections = recipe_settings()["track3"]
    student = sections["student"]
    kept = trial_of(read_unit_costs(), sections, 1000).student_learn
    sections["student"] = replace(student, views=replace(student.views, count=0))
    assert kept == pytest.approx(256**2 / 384**2 / 3322)
    assert trial_of(read_unit_costs(), sections, 1000).student_learn == pytest.approx(256**2 / 336**2 / 1149)
