"""The network of the student: built, counted beside the classifier, its weights looked for, its images counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.helpers import TINY, merge, row
from support.preflight import RECIPE, Disks, all_rows, make_disks, of, recipe_settings
from support.training import write_start

from pipeline.core.errors import TrainError
from pipeline.core.manifest import from_rows
from pipeline.core.settings import build, read_params
from pipeline.preflight import run, student
from pipeline.preflight.context import Context, Listing
from pipeline.student.run import check_size
from pipeline.student.settings import StudentSettings

TRACK1, TRACK3 = run.TRACKS["track1"], run.TRACKS["track3"]


def enabled(track: str = "track3", **changes: Any) -> Context:
    """The recipe with the student of one track switched on, and with `changes`."""
    context = Context(RECIPE)
    context.settings = recipe_settings()
    values = merge(read_params(RECIPE)["tracks"][track]["student"], {"enabled": True, **changes})
    context.settings[track]["student"] = build(StudentSettings, values, RECIPE, "student")
    return context


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
    assert list(student.check_student(context, TRACK3)) == []
    assert student.count_targets(context, TRACK3) == 0


def test_both_networks_together_are_held_against_the_limit() -> None:
    context = enabled()
    alone = student.build_student(context, TRACK3).parameter_count()
    for classifier, level in ((150_000_000 - alone - 1, "OK"), (150_000_000 - alone, "FAIL"), (0, "OK")):
        context.parameters["track3"] = classifier
        size, weights = student.check_student(context, TRACK3)
        assert size.level == level
        assert f"{classifier + alone:,}" in size.found
        assert weights.level == "OK"
    context.parameters["track3"] = 150_000_000
    (failed,) = of(list(student.check_student(context, TRACK3)), "FAIL")
    assert failed.where.endswith("tracks.track3.student.backbone.name")
    assert failed.found == (
        f"expected fewer than 150,000,000 parameters in all, got {150_000_000 + alone:,}: {alone:,} of "
        "'tf_efficientnet_lite0' and 150,000,000 of the classifier"
    )
    assert "train.parameter_limit 0 switches this check off" in failed.hint


def test_the_stage_refuses_what_the_preflight_refuses() -> None:
    network = student.build_student(enabled(), TRACK3)
    alone = network.parameter_count()
    check_size(network, 100, alone + 101)
    check_size(network, 100, 0)
    with pytest.raises(TrainError, match=r"^student\.backbone\.name: expected fewer than .* parameters in all, got "):
        check_size(network, 100, alone + 100)


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
    context = enabled(backbone={"weights": "hub", "weights_from": None, "output_stride": 32, **backbone})
    (failed,) = student.check_student(context, TRACK3)
    assert failed.level == "FAIL"
    assert f"tracks.track3.{where}" in failed.where
    assert found in failed.found
    for check in (run.disk.check_student_memory, run.student_timing.check_student_trial):
        context.trials["track3"] = run.timing.Trial()
        (skipped,) = run.guarded(("x", check), context, TRACK3)
        assert skipped.found == "not checked, the student cannot be built; see the row `student`"


def test_weights_are_looked_for_under_the_key_of_the_student(tmp_path: Path) -> None:
    missing = {"name": TINY, "weights": "file", "weights_from": str(tmp_path / "none.safetensors")}
    (failed,) = of(list(student.check_student(enabled(backbone=missing), TRACK3)), "FAIL")
    assert "none.safetensors" in f"{failed.where} {failed.found}"
    wrong = {"name": TINY, "weights": "wheel", "weights_from": None}
    (failed,) = of(list(student.check_student(enabled(backbone=wrong), TRACK3)), "FAIL")
    assert failed.where.endswith("tracks.track3.student.backbone.weights")


def test_images_are_counted_by_what_is_known_of_them() -> None:
    """Track 3 learns from images of one class, Track 1 from all with a label; both get maps of all with a label."""
    context = enabled()
    context.settings["track1"] = {**context.settings["track1"], "student": context.settings["track3"]["student"]}
    assert student.count_taught(context, TRACK3) == 1_281_167, "nothing was listed: as in the challenge"
    labels = [[0], [0, 1], [], [1]]
    rows = [row(f"t{n}", f"t{n}.png", known, "train") for n, known in enumerate(labels)]
    rows += [row("v", "v.png", [0], "val"), row("w", "w.png", [], "test"), row("x", "x.png", [], "test")]
    for track, taught in ((TRACK3, 2), (TRACK1, 3)):
        context.listings[track.name] = Listing(from_rows(rows, ["a", "b"], Path(), None))
        assert student.count_targets(context, track) == 3
        assert student.count_taught(context, track) == taught
        assert student.count_predicted(context, track) == 3
    extract = context.settings["track3"]["extract"]
    context.settings["track3"]["extract"] = run.replace(extract, splits=("train", "val"))
    assert student.count_targets(context, TRACK3) == 0, "they are extracted without the student, too"
    assert student.count_predicted(context, TRACK3) == 1


@pytest.mark.parametrize(("track", "cell"), [("track3", 4), ("track1", 1)])
def test_bytes_of_a_view_are_its_features_and_its_target(track: str, cell: int) -> None:
    """EfficientNet-Lite0 at 64 px: 24, 40, 112 and 320 channels of 16 x 16, 8 x 8, 4 x 4 and 2 x 2 cells."""
    context = enabled(track, views={"size": 64})
    network = student.build_student(context, run.TRACKS[track])
    features = 24 * 16**2 + 40 * 8**2 + 112 * 4**2 + 320 * 2**2
    assert student.view_bytes(network, context.settings[track]["student"]) == 2 * features + cell * 16**2


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
