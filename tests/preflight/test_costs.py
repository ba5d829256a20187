"""The room that a run needs, and its durations, which are counts times costs."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from support.helpers import merge
from support.preflight import RECIPE, recipe_settings

from pipeline.core.settings import build, read_params
from pipeline.loads import Load, seconds_of, this_machine
from pipeline.preflight import costs, model, run
from pipeline.preflight.context import Context, Trial
from pipeline.student.fit import view_bytes
from pipeline.student.settings import StudentSettings


def test_needed_bytes_of_the_recipe() -> None:
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.parameters["track3"] = 28_000_000
    need = costs.needed(context, run.TRACKS["track3"])
    # val twice: the map of the true class, where another one is predicted, at the most everywhere
    images = 2 * 23_151 + 21_120
    # one class, half precision; probabilities of 1,000
    assert need["maps"] == images * (2 * 24 * 24 + 2 * 1000 + costs.ENTRY)
    assert need["predictions"] == images * (2 * 40_000 + costs.ENTRY)
    assert need["zip"] == 21_120 * 40_000
    assert need["model"] == 4 * 28_000_000
    assert need["features"] == 32 * 2 * costs.CHANNELS * 24 * 24


@pytest.mark.parametrize(("track", "png", "maps"), [("track3", 40_000, 2), ("track1", 4_000, 3)])
def test_a_student_needs_room_for_split_train_and_its_own_predictions(track: str, png: int, maps: int) -> None:
    """Two maps of an image, and in Track 1 how certain the foreground is, which tells targets apart."""
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.student_parameters[track] = 5_000_000
    images, settings = context.images(track), context.settings[track]["student"]
    off = costs.needed(context, run.TRACKS[track])
    context.settings[track]["student"] = replace(settings, enabled=True, rounds=3)
    on = costs.needed(context, run.TRACKS[track])
    assert "student" not in off
    assert on["predictions"] - off["predictions"] == images["train"] * (maps * png + costs.ENTRY)
    predicted = images["val"] + images["test"] + 2 * images["train"]
    assert on["student"] == 4 * 5_000_000 + predicted * (maps * png + costs.ENTRY)
    assert on["maps"] > off["maps"]
    assert {name: need for name, need in on.items() if name in ("zip", "model", "manifest", "features")}.items() <= (
        off.items()
    )


def test_features_of_the_student_are_held_against_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    context, track = Context(RECIPE), run.TRACKS["track3"]
    context.settings = recipe_settings()
    assert list(costs.check_student_memory(context, track)) == [], "there is none"
    settings = replace(context.settings["track3"]["student"], enabled=True)
    context.settings["track3"]["student"] = settings
    views = settings.views.count * context.images("track3")["train"]
    need = views * view_bytes(model.build_student(context, track), settings)
    for free, level in ((need, "OK"), (need - 1, "WARN")):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        (row,) = costs.check_student_memory(context, track)
        assert row.level == level
        assert f"need {costs.size(need)} of memory" in row.found
    assert row.where.endswith("tracks.track3.student.views.count")
    assert "0 keeps none, but a random walk one of each image" in row.hint
    fresh = replace(settings, views=replace(settings.views, count=0))
    context.settings["track3"]["student"] = fresh
    assert list(costs.check_student_memory(context, track)) == []
    for trained in (False, True):  # the walk keeps one view of each image, whatever is kept without it
        own = replace(fresh, random_walk=replace(fresh.random_walk, enabled=True))
        context.settings["track3"]["student"] = replace(own, backbone=replace(own.backbone, trained=trained))
        (row,) = costs.check_student_memory(context, track)
        assert f"of 1 views of 1281167 images at {settings.views.size} px" in row.found
        assert f"need {costs.size(need / settings.views.count)} of memory" in row.found


def test_bytes_are_shown_for_people() -> None:
    assert (costs.size(1_234_000_000), costs.size(400_000)) == ("1.23GB", "400kB")


def total(parts: list[Load]) -> float:
    return sum(seconds_of(load, this_machine()) for load in parts)


def test_durations_are_counts_times_costs() -> None:
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.trials["track3"] = Trial(learn=0.01, decode=0.0, validate=0.001)
    seconds = total(costs._train(context, run.TRACKS["track3"], context.trials["track3"]))
    assert seconds == pytest.approx(
        21 * (1_281_167 * 0.01 + 23_151 * 0.001)
    )  # the challenge's counts: nothing was listed
    settings = context.settings["track3"]["train"]
    context.settings["track3"]["train"] = replace(settings, head_epochs=5, views=2)
    later = total(costs._train(context, run.TRACKS["track3"], context.trials["track3"]))
    crops = 2 * 1_281_167 * (336 / 384) ** 2  # of two views; of val whole images, all forward only
    assert later - seconds == pytest.approx((crops + 23_151) * 0.001)


@pytest.mark.parametrize(("method", "steps"), [("baseline", 0), ("has", 0), ("acol", 21), ("cutmix", 21)])
def test_a_frozen_backbone_runs_once_a_view_or_in_every_epoch_as_the_method_needs(method: str, steps: int) -> None:
    context = Context(RECIPE)
    context.settings = recipe_settings()
    settings = context.settings["track3"]["train"]
    frozen = replace(settings.backbone, trained=False, batch_norm="frozen")
    context.settings["track3"]["train"] = replace(settings, backbone=frozen, method=method, views=2, head_epochs=0)
    seconds = total(costs._train(context, run.TRACKS["track3"], Trial(learn=0.01, decode=0.0, validate=0.001)))
    pooled = 2 * 1_281_167 * (336 / 384) ** 2 * 0.001 + 23_151 * 0.001
    assert seconds == pytest.approx(steps * (1_281_167 * 0.01 + 23_151 * 0.001) if steps else pooled)


WALK = {"enabled": True, "width": 8, "radius": 2, "exponent": 4.0, "steps": 3, "scale": "max", "epochs": 1}


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
    return {stage: total(parts) for stage, parts in costs.loads(context, run.TRACKS[track], trial).items()}


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
    features = train * (0.001 + 0.02)  # of one view; those of the walk are computed before those of the first round
    walked = with_student("track3", trial, enabled=True, epochs=3, random_walk=WALK)
    assert walked["student"] == pytest.approx(learn + views * features + (train + predicted) * 0.7)
    anew = with_student("track3", trial, enabled=True, epochs=3, views={"count": 0})
    assert anew["student"] == pytest.approx(train * 3 * (0.001 + 0.03) + predicted * 0.7)
    both = with_student("track3", trial, enabled=True, epochs=3, views={"count": 0}, random_walk=WALK)
    assert both["student"] == pytest.approx(anew["student"] + features + train * 0.7)


def test_several_gpus_divide_what_the_network_does() -> None:
    """Not the CRF, which the cores do; nor reading, where the cores are too few for it."""
    context = Context(RECIPE, gpus=8)
    context.settings = recipe_settings()
    trial = Trial(decode=0.0, learn=0.08, validate=0.008, extract=0.04, refine=0.1, score=0.001)
    context.trials["track3"] = trial
    work, one_device = costs.loads(context, run.TRACKS["track3"], trial), costs.this_machine()
    one, eight = (
        {stage: sum(costs.seconds_of(load, machine) for load in parts) for stage, parts in work.items()}
        for machine in (one_device, replace(one_device, devices=context.gpus))
    )
    assert {stage: eight[stage] / one[stage] for stage in ("train", "extract", "refine")} == {
        "train": pytest.approx(1 / 8), "extract": pytest.approx(1 / 8), "refine": 1.0,
    }  # fmt: skip
    rows = list(costs.check_durations(context, run.TRACKS["track3"]))
    assert [row.where for row in rows] == [*one, "all stages", *eight, "all stages"]
    assert [row.found.endswith(" on 8 GPUs") for row in rows] == [False] * (len(one) + 1) + [True] * (len(one) + 1)
    assert len(list(costs.check_durations(replace(context, gpus=1), run.TRACKS["track3"]))) == len(one) + 1
