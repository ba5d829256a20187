"""The part of the trial that times the student."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.helpers import TINY, merge
from support.preflight import make_quick_disks, of
from support.training import write_start

from pipeline.preflight import run, student_timing
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row


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


def test_a_batch_that_does_not_fit_leaves_durations_unknown(
    preflight: Callable[..., tuple[Context, list[Row]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(student_timing, "_time_lessons", full)
    context, found = preflight(batch_size=16)
    (failed,) = of(found, "FAIL")
    assert failed.where.endswith("tracks.track3.student.batch_size")
    assert failed.hint == "set it to 8 and accumulation_steps to 2: the effective batch stays what it is"
    assert "track3" not in context.trials
    durations = [row.found for row in found if row.check == "duration" and row.track == "track3"]
    assert durations == ["not estimated: there was no complete trial"]


def test_a_device_that_is_not_there_leaves_durations_unknown(
    preflight: Callable[..., tuple[Context, list[Row]]],
) -> None:
    context, found = preflight(device="cuda:99")
    (failed,) = of(found, "FAIL")
    assert failed.check == "device"
    assert failed.where.endswith("params.yaml: tracks.track3.student.device")
    assert "track3" not in context.trials
    assert "track1" in context.trials
