"""Files that a killed DVC has half written: put aside, unless a DVC writes them now, and nothing runs twice."""

import subprocess
import sys
from pathlib import Path

import pytest
import zc.lockfile

from pipeline.core.settings import write_yaml
from pipeline.dvc_repair import put_aside_damaged
from pipeline.dvc_runs import dvc, dvc_at_once, timed_repro


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A finished chain of two stages; the second one counts how often it has run."""
    (tmp_path / "in.txt").write_text("in")
    stages = {
        "a": {"cmd": "cat in.txt > a.txt", "deps": ["in.txt"], "outs": ["a.txt"]},
        "b": {"cmd": "echo run >> runs.txt && cat a.txt > b.txt", "deps": ["a.txt"], "outs": ["b.txt"]},
    }
    assert dvc(["init", "--quiet", "--no-scm"], tmp_path) == 0
    write_yaml(tmp_path / "dvc.yaml", {"stages": stages})
    assert dvc(["repro", "--quiet"], tmp_path) == 0
    return tmp_path


def plain_dvc(folder: Path) -> int:
    """The exit status of DVC without this project."""
    words = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.parametrize("kept", [0, 20, 60])
def test_a_half_written_lock_file_costs_no_finished_stage(
    project: Path, kept: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = project / "dvc.lock"
    half = path.read_bytes()[:kept]
    path.write_bytes(half)
    assert plain_dvc(project) != 0, "DVC cannot read it"
    assert dvc(["repro"], project) == 0
    assert "note: " in (said := capfd.readouterr().err)
    assert "half written, likely by a DVC that was killed; it is now dvc.lock.damaged" in said
    assert (project / "dvc.lock.damaged").read_bytes() == half
    assert (project / "runs.txt").read_text() == "run\n"
    assert plain_dvc(project) == 0


@pytest.mark.parametrize("half", ["", '{"write": {"/a": {"pid": 1'])
def test_a_half_written_list_of_what_is_busy(project: Path, half: str) -> None:
    (project / "in.txt").write_text("other")
    (project / ".dvc/tmp/rwlock").write_text(half)
    assert plain_dvc(project) != 0, "DVC cannot read it"
    assert dvc_at_once({"one": ["repro"]}, project) == 0
    assert (project / "b.txt").read_text() == "other"
    (project / ".dvc/tmp/rwlock").write_text(half)
    (project / "in.txt").write_text("another")
    assert timed_repro(project)[1] == 0


def test_whole_files_stay(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (project / "dvc.lock").read_bytes()
    assert put_aside_damaged(project) == []
    assert (project / "dvc.lock").read_bytes() == before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "guard"), [("dvc.lock", "lock"), ("rwlock", "rwlock.lock")])
def test_what_a_dvc_writes_now_is_left_alone(project: Path, name: str, guard: str) -> None:
    path = project / name if name == "dvc.lock" else project / ".dvc/tmp" / name
    path.write_text("{")
    lock = zc.lockfile.LockFile(str(project / ".dvc/tmp" / guard))
    assert put_aside_damaged(project) == []
    lock.close()
    assert [found.name for found in put_aside_damaged(project)] == [f"{name}.damaged"]


def test_where_dvc_has_never_run(tmp_path: Path) -> None:
    assert put_aside_damaged(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
