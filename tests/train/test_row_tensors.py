"""Rows that are filled in order and kept piece by piece."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.core.scratch import Interval, Scratch
from pipeline.train.row_tensors import RowTensors

TOTAL = 10
VALUES = torch.arange(TOTAL * 6, dtype=torch.float32).reshape(TOTAL, 6)
MAPS = torch.arange(TOTAL * 12, dtype=torch.bfloat16).reshape(TOTAL, 3, 2, 2)


def pieces(rows: RowTensors, size: int, most: int = TOTAL) -> None:
    """Add the rows that lack, so many at a time, at most `most` times."""
    for _ in range(most):
        if rows.filled == TOTAL:
            return
        chosen = slice(rows.filled, rows.filled + size)
        rows.add([VALUES[chosen], MAPS[chosen]])


def check(tensors: list[Tensor]) -> None:
    assert torch.equal(tensors[0], VALUES)
    assert torch.equal(tensors[1], MAPS)
    assert tensors[1].is_contiguous(memory_format=torch.channels_last)


@given(size=st.integers(1, 5), stops=st.lists(st.integers(1, 3), max_size=3))
def test_rows_of_a_stopped_run_are_there(size: int, stops: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = Scratch(tmp_path_factory.mktemp("scratch"))
    done = 0
    for stop in stops:
        rows = RowTensors(TOTAL, scratch)
        assert rows.filled == min(done * size, TOTAL)
        pieces(rows, size, stop)
        done += stop
    last = RowTensors(TOTAL, scratch)
    pieces(last, size)
    check(last.tensors)


def test_nothing_is_kept_before_the_interval_is_over_or_without_a_folder(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, Interval(60))
    rows = RowTensors(TOTAL, scratch)
    pieces(rows, 3, 2)
    assert list(tmp_path.iterdir()) == []
    rows.keep()
    rows.keep()
    assert scratch.names("") == ["rows-rows-000000000"]
    pieces(rows, 3, 1)
    again = RowTensors(TOTAL, scratch)
    assert again.filled == 6
    pieces(again, 2)
    check(again.tensors)
    plain = RowTensors(TOTAL)
    pieces(plain, 4)
    plain.keep()
    check(plain.tensors)


def test_rows_after_a_missing_or_damaged_part_are_computed_again(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    pieces(RowTensors(TOTAL, scratch), 2)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    files[3].write_bytes(files[3].read_bytes()[:-1])
    rows = RowTensors(TOTAL, scratch)
    assert rows.filled == 6
    pieces(rows, 3)  # parts now begin elsewhere
    check(rows.tensors)
    again = RowTensors(TOTAL, scratch)
    pieces(again, 1)
    check(again.tensors)


def test_names_do_not_mix(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    pieces(RowTensors(TOTAL, scratch, "one"), 5)
    assert RowTensors(TOTAL, scratch, "other").filled == 0
    assert RowTensors(TOTAL, scratch, "one").filled == TOTAL


def test_parts_are_bounded_and_end_where_an_addition_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has 24 bytes of values and 24 of maps; 100 bytes are two rows."""
    monkeypatch.setattr("pipeline.train.row_tensors.MOST", 100)
    scratch = Scratch(tmp_path, Interval(60))
    rows = RowTensors(TOTAL, scratch)
    pieces(rows, 1, 5)
    rows.add([VALUES[5:8], MAPS[5:8]])  # more than a part may have, and yet one
    rows.keep()
    assert scratch.names("") == [f"rows-rows-{first:09d}" for first in (0, 2, 4, 5)]
    again = RowTensors(TOTAL, scratch)
    assert again.filled == 8
    pieces(again, 1)
    check(again.tensors)


def test_a_part_that_others_have_overtaken_is_passed_over(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    pieces(RowTensors(TOTAL, scratch), 2)
    scratch.drop("rows-rows-000000000")
    pieces(RowTensors(TOTAL, scratch), 3, 3)  # 0..9; the parts of before begin at 2, 4, 6 and 8
    assert RowTensors(TOTAL, scratch).filled >= 9
