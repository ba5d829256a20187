"""`lid clean`: what is kept, how much of the disk it takes, and that it goes."""

import os
from pathlib import Path

import pytest

from pipeline.clean import find_kept, main
from pipeline.core.scratch import Scratch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One stage that was stopped, and one whose shard has a second name in a store."""
    Scratch(tmp_path / "data/track3/scratch/train/0123").keep("head-step-1", b"x" * 3_000_000)
    shard = tmp_path / "data/track3/maps/shard"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"y" * 1000)
    (tmp_path / "data/track3/scratch/maps").mkdir()
    os.link(shard, tmp_path / "data/track3/scratch/maps/shard")
    return tmp_path / "data"


def test_what_is_kept_is_shown_and_stays(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{data}/track3/scratch/maps: 1 files, frees 0.0 MB",
        f"{data}/track3/scratch/train: 1 files, frees 3.0 MB",
        "`lid clean --remove` removes it; no result is lost, but a stage that was stopped starts anew then",
    ]
    assert len(list(find_kept([data]))) == 2


def test_removed_is_what_was_shown_and_nothing_else(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data), "--remove"]) == 0
    assert list((data / "track3/scratch").iterdir()) == []
    assert (data / "track3/maps/shard").read_bytes() == b"y" * 1000
    capsys.readouterr()
    assert main([str(data)]) == 0
    assert capsys.readouterr().out == f"nothing kept in {data}\n"


def test_a_folder_that_is_not_there_is_no_folder_that_keeps_nothing(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(data), str(data / "nowhere"), "--remove"]) == 1
    said = capsys.readouterr()
    assert said.err == f"{data}/nowhere: expected a folder to look into, such as data, found none\n"
    assert said.out == ""
    assert len(list(find_kept([data]))) == 2  # nothing was removed
