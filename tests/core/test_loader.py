"""Batches from reading processes: no room, no batch in time, and a process that ends are errors with a way out."""

import multiprocessing
import os
import re
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from pipeline.core import loader
from pipeline.core.errors import DataError, SettingsError
from pipeline.core.loader import BatchLoader, needed_memory, shortage

Usage = namedtuple("Usage", "total used free")


class Numbers(Dataset[Any]):
    """Ten numbers; one of them does something else instead."""

    def __init__(self, odd: str = "") -> None:
        self.odd = odd

    def __len__(self) -> int:
        return 10

    def __getitem__(self, position: int) -> Any:
        if position == 7 and self.odd == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if position == 7 and self.odd == "sleeps":
            time.sleep(60)
        if position == 7 and self.odd == "fails":
            raise DataError("images/7.jpg: expected an image, found no file")
        return np.full(3, position)


def load(odd: str = "", workers: int = 1, size: int = 100) -> list[int]:
    batches = BatchLoader(Numbers(odd), workers=workers, key="train.workers", batch_bytes=size, batch_size=2)
    return [int(value) for batch in batches for value in torch.as_tensor(batch)[:, 0]]


def test_the_memory_is_that_of_all_batches_which_are_ready_and_the_one_in_use() -> None:
    assert needed_memory(8, 24) == 8 * 2 * 24 + 24
    assert needed_memory(0, 24) == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_arrives_in_order(workers: int) -> None:
    assert load(workers=workers) == list(range(10))


def test_too_little_room_is_an_error_before_the_first_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 64 * 1024))
    with pytest.raises(SettingsError) as caught:
        load(workers=2, size=24_000_000)
    assert str(caught.value) == (
        f"train.workers: expected 120MB free in {tmp_path} for 2 x 2 batches of 24.0MB and one more, found 65.5kB; "
        "more shared memory (`docker run --shm-size=8g`, or `--ipc=host`), smaller batches, fewer workers, or 0, which "
        "reads without processes"
    )
    assert load(workers=0, size=24_000_000) == list(range(10))
    assert shortage(2, 13_000) == ""  # 65,000 bytes


def test_where_there_is_no_such_folder_there_is_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader, "SHARED_MEMORY", tmp_path / "none")
    assert shortage(2, 10**12) == ""


@pytest.mark.parametrize(
    ("odd", "found"), [("dies", "exited unexpectedly|is killed by signal|Connection reset"), ("sleeps", "timed out")]
)
def test_a_batch_that_does_not_come_is_an_error_with_a_way_out(
    odd: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "WAIT", 2)
    others = set(multiprocessing.active_children())  # of other tests
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        load(odd, workers=2)
    # also while the error is kept, and with it what was read from
    assert set(multiprocessing.active_children()) <= others
    assert re.search(rf"^train.workers: expected a batch from 2 reading .*({found}).*; likely too", str(caught.value))
    assert time.monotonic() - start < 40


def test_the_error_of_a_process_has_its_own_message() -> None:
    with pytest.raises(DataError) as caught:
        load("fails")
    assert str(caught.value) == "images/7.jpg: expected an image, found no file"
