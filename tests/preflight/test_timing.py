"""The trial that times a few images through every stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.preflight import all_rows, make_disks, make_quick_disks, of

from pipeline.preflight import run, timing
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row


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
    assert [row.found for row in found if row.check == "duration"] == ["not estimated: there was no complete trial"] * 2
