"""The trial that times a few images through every stage."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.helpers import TINY, merge
from support.preflight import all_rows, make_disks, make_quick_disks, of
from support.training import write_start

from pipeline.preflight import run, timing
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row
from pipeline.refine.outputs import Prediction
from pipeline.refine.run import refine_image


def test_the_trial_times_every_step_and_durations_follow(tmp_path: Path, in_project: Callable[[Path], None]) -> None:
    disks = make_quick_disks(tmp_path)
    in_project(tmp_path)
    context = Context(disks.write_params(), minutes=0.02, sample=20)
    found = list(run.preflight(context))
    assert not of(found, "FAIL")
    for track in ("track1", "track3"):
        tried = context.trials[track]
        assert all(
            value > 0
            for value in (tried.header, tried.decode, tried.learn, tried.extract, tried.refine, tried.prediction)
        )
        named = [row.where for row in found if row.check == "duration" and row.track == track]
        assert named == ["preprocess", "train", "extract", "refine", "evaluate", "package", "report", "all stages"]


@pytest.mark.parametrize("enabled", [False, True])
def test_the_trial_times_the_crfs_of_the_targets_where_a_student_learns_from_them(
    enabled: bool, tmp_path: Path, in_project: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    disks.set("track1.refine.output", "label_map")
    disks.set("track1.refine.target_backgrounds", [0.3, 0.7])
    disks.set("track1.student.enabled", enabled)
    timed: list[Prediction] = []

    def refine(*given: Any, **options: Any) -> Prediction:
        timed.append(refine_image(*given, **options))
        return timed[-1]

    for name in ("_time_training", "_time_extraction", "_time_lessons", "_time_prediction"):
        monkeypatch.setattr(timing, name, lambda *given: None)
    monkeypatch.setattr(timing, "refine_image", refine)
    all_rows(disks, minutes=0.001)
    assert {prediction.target is None for prediction in timed} == (
        {True, False} if enabled else {True}
    )  # Track 3: none


def test_the_first_refinement_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles, which can take longer than the budget: then it would be the only one."""
    waits = itertools.chain([0.3], itertools.repeat(0.0))
    monkeypatch.setattr(timing, "as_arrays", lambda prediction: {"score": b"1234"})
    seconds, size = timing._refine_seconds(lambda: time.sleep(next(waits)), 0.01)  # type: ignore[arg-type, return-value]
    assert seconds < 0.1
    assert size == 2


def test_a_batch_that_does_not_fit_names_the_one_that_does(
    tmp_path: Path, in_project: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)

    def full(*given: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(timing, "_time_training", full)
    monkeypatch.setattr(timing, "_time_extraction", lambda *given: None)
    monkeypatch.setattr(timing, "_time_refine", lambda *given: None)
    found = all_rows(disks, minutes=0.001)
    failed = of(found, "FAIL")
    assert [row.where for row in failed] == [
        f"params.yaml: tracks.{track}.train.batch_size" for track in ("track1", "track3")
    ]
    assert failed[0].hint == "set it to 35 and accumulation_steps to 6: the effective batch stays what it is"
    assert_not_estimated(found)


def test_a_device_that_is_not_there_gives_no_durations(tmp_path: Path, in_project: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    for track in ("track1", "track3"):
        disks.set(f"{track}.train.device", "cuda:99")
    found = all_rows(disks, minutes=0.001)
    assert [row.check for row in of(found, "FAIL")] == ["device", "device"]
    assert [row.found.partition(":")[0] for row in found if row.check == "trial"] == [
        "not timed, there is no such device or precision here"
    ] * 2
    assert_not_estimated(found)


def assert_not_estimated(found: list[Row]) -> None:
    """What a trial measured before it was broken off must not pass for all it costs."""
    assert [row.found for row in found if row.check == "duration"] == [
        "not estimated: there was no complete trial, or there are no images"
    ] * 2


@pytest.fixture
def preflight(tmp_path: Path, in_project: Callable[[Path], None]) -> Callable[..., tuple[Context, list[Row]]]:
    """A preflight of tiny networks with a student in Track 3, and with `changes` of it; the context, and all rows."""

    def call(**changes: Any) -> tuple[Context, list[Row]]:
        disks = make_quick_disks(tmp_path)
        in_project(tmp_path)
        section = disks.params["tracks"]["track3"]
        backbone = {"name": TINY, "weights": "file", "weights_from": write_start(tmp_path)}
        small = {"enabled": True, "device": "cpu", "backbone": backbone, "sizes": [64], "views": {"size": 64}}
        section["student"] = merge(merge(section["student"], small), changes)
        context = Context(disks.write_params(), minutes=0.02, sample=20)
        return context, list(run.preflight(context))

    return call


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"decoder": {"name": "deeplabv3plus"}, "backbone": {"output_stride": 16}, "precision": "fp32"},
        {"backbone": {"trained": True}, "views": {"count": 0}, "rounds": 2},
    ],
)
def test_the_trial_times_the_student_and_its_duration_follows(
    preflight: Callable[..., tuple[Context, list[Row]]], changes: dict[str, Any]
) -> None:
    context, found = preflight(**changes)
    assert not of(found, "FAIL"), [f"{row.where} {row.found}" for row in of(found, "FAIL")]
    tried = context.trials["track3"]
    times = (tried.student_features, tried.student_learn, tried.student_predict, tried.student_refine)
    assert all(value > 0 for value in times)
    stages = ["preprocess", "train", "extract", "refine", "evaluate", "package", "report", "all stages"]
    named = [row.where for row in found if row.check == "duration" and row.track == "track3"]
    assert named == [*stages[:4], "student", *stages[4:]]
    assert [row.where for row in found if row.check == "duration" and row.track == "track1"] == stages


def test_a_batch_of_the_student_that_does_not_fit_leaves_durations_unknown(
    preflight: Callable[..., tuple[Context, list[Row]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(timing, "_time_lessons", full)
    context, found = preflight(batch_size=16)
    (failed,) = of(found, "FAIL")
    assert failed.where.endswith("tracks.track3.student.batch_size")
    assert failed.hint == "set it to 8 and accumulation_steps to 2: the effective batch stays what it is"
    assert "track3" not in context.trials
    durations = [row.found for row in found if row.check == "duration" and row.track == "track3"]
    assert durations == ["not estimated: there was no complete trial, or there are no images"]


def test_a_device_that_is_not_there_leaves_durations_unknown(
    preflight: Callable[..., tuple[Context, list[Row]]],
) -> None:
    context, found = preflight(device="cuda:99")
    (failed,) = of(found, "FAIL")
    assert failed.check == "device"
    assert failed.where.endswith("params.yaml: tracks.track3.student.device")
    assert "track3" not in context.trials
    assert "track1" in context.trials
