"""Which rank a process is, and what a rank leaves when an error ends it."""

from pathlib import Path

import pytest

from pipeline.core.errors import DataError, LostRankError
from pipeline.core.rank import MESSAGES, Rank, is_launched, rank_of, tell_failure, this_rank

SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}


def test_rank_of_what_a_launcher_says() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert rank_of(torchrun) == Rank(number=3, size=8, local=1)
    assert rank_of({}) is None
    assert rank_of({"RANK": "3", "WORLD_SIZE": "8"}) is None, "not all of it"
    assert rank_of({**SLURM, MESSAGES: "/there"}) == Rank(number=5, size=8, local=1)
    assert rank_of(SLURM) is None, "a batch job is one process"
    assert rank_of({**SLURM, **torchrun, MESSAGES: ""}) == Rank(3, 8, 1), "torchrun inside a job of Slurm"


def test_without_a_launcher_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert (this_rank(), is_launched()) == (Rank(0, 1, 0), False)
    assert tell_failure(DataError("no image")) == "error: no image"


def test_a_rank_leaves_why_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", MESSAGES: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert tell_failure(LostRankError("the other one")) == 1
    assert list(tmp_path.iterdir()) == [], "the rank that was lost knows why"
    assert tell_failure(DataError("no image")) == 1
    assert (tmp_path / "1").read_text() == "rank 1 of 2: no image"
    assert capsys.readouterr().err == "rank 1 of 2: no image\n"
    assert tell_failure(RuntimeError("out of memory")) == 1
    assert (tmp_path / "1").read_text() == "rank 1 of 2: RuntimeError: out of memory"
    assert capsys.readouterr().err == "", "its traceback is shown"
    monkeypatch.setenv(MESSAGES, str(tmp_path / "of another machine"))
    assert tell_failure(DataError("no image")) == 1
    assert capsys.readouterr().err == "rank 1 of 2: no image\n"
    assert not (tmp_path / "of another machine").exists()
