"""Durations are counts times costs."""

from dataclasses import replace
from typing import Any

import pytest
from support.helpers import merge
from support.preflight import RECIPE, recipe_settings

from pipeline.core.settings import build, read_params
from pipeline.preflight import durations, run
from pipeline.preflight.context import Context, Trial
from pipeline.student.settings import StudentSettings


def test_durations_are_counts_times_costs() -> None:
    assert durations.seconds_an_image(decode=0.01, device=0.002, workers=0) == pytest.approx(0.012)
    assert durations.seconds_an_image(decode=0.01, device=0.02, workers=1) == pytest.approx(0.02)
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.trials["track3"] = Trial(learn=0.01, decode=0.0, validate=0.001)
    seconds = durations._train(context, run.TRACKS["track3"], context.trials["track3"])
    assert seconds == pytest.approx(
        21 * (1_281_167 * 0.01 + 23_151 * 0.001)
    )  # the challenge's counts: nothing was listed
    settings = context.settings["track3"]["train"]
    context.settings["track3"]["train"] = replace(settings, head_epochs=5, views=2)
    later = durations._train(context, run.TRACKS["track3"], context.trials["track3"])
    crops = 2 * 1_281_167 * (336 / 384) ** 2  # of two views; of val whole images, all forward only
    assert later - seconds == pytest.approx((crops + 23_151) * 0.001)


def with_student(track: str, trial: Trial, **changes: Any) -> dict[str, float]:
    """Seconds of every stage of the challenge's images, with `changes` of the student; one process reads."""
    context = Context(RECIPE)
    context.settings = recipe_settings()
    for section in ("extract", "refine", "evaluate", "train"):
        names = {"jobs": 1, "workers": 1}
        own = {name: value for name, value in names.items() if hasattr(context.settings[track][section], name)}
        context.settings[track][section] = replace(context.settings[track][section], **own)
    values = merge(read_params(RECIPE)["tracks"][track]["student"], {"jobs": 1, "workers": 0, **changes})
    context.settings[track]["student"] = build(StudentSettings, values, RECIPE, "student")
    return durations._by_stage(context, run.TRACKS[track], trial)


def test_a_student_adds_split_train_to_extract_and_refine_and_its_own_stage() -> None:
    trial = Trial(extract=0.01, refine=0.1, score=0.001, student_features=0.02, student_learn=0.03)
    trial.student_predict, trial.student_refine = 0.5, 0.2
    off, on = (with_student("track3", trial, enabled=enabled, epochs=3) for enabled in (False, True))
    train, predicted = 1_281_167, 23_151 + 21_120
    assert "student" not in off
    assert on["extract"] - off["extract"] == pytest.approx(train * 0.01)
    assert on["refine"] - off["refine"] == pytest.approx(train * 0.1)
    assert on["evaluate"] == pytest.approx(2 * off["evaluate"])
    views = read_params(RECIPE)["tracks"]["track3"]["student"]["views"]["count"]
    learn = train * (views * (0.001 + 0.02) + 3 * 0.03)
    assert on["student"] == pytest.approx(learn + predicted * 0.7)
    twice = with_student("track3", trial, enabled=True, epochs=3, rounds=2)
    assert twice["student"] == pytest.approx(2 * learn + (train + predicted) * 0.7)
    anew = with_student("track3", trial, enabled=True, epochs=3, views={"count": 0})
    assert anew["student"] == pytest.approx(train * 3 * (0.001 + 0.03) + predicted * 0.7)
