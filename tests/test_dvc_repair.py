"""Files that a killed DVC has half written: put aside, unless a DVC writes them now, and nothing runs twice."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import zc.lockfile

from pipeline.core.settings import write_yaml
from pipeline.dvc_repair import forget_ended, put_aside_damaged
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
    assert "dvc.lock: expected a file as DVC writes it, got half of one (" in said
    assert "likely a DVC was killed meanwhile. It is now dvc.lock.damaged, and DVC looks" in said
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


def busy(project: Path, writer: int, *readers: int) -> Path:
    """The list of what is busy: one process writes b.txt, others read a.txt."""
    path = project / ".dvc/tmp/rwlock"
    users = [{"pid": pid, "cmd": "dvc repro"} for pid in (writer, *readers)]
    content = {"write": {str(project / "b.txt"): users[0]}, "read": {str(project / "a.txt"): users[1:]}}
    path.write_text(json.dumps(content))
    return path


def test_one_that_has_ended_and_that_nobody_has_collected_is_not_busy(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is there for DVC. What a process that runs is busy with stays."""
    (project / "in.txt").write_text("other")
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        busy(project, ended.pid)
        assert plain_dvc(project) != 0, "DVC refuses"
        assert dvc(["repro"], project) == 0
        path = busy(project, ended.pid, os.getpid(), ended.pid)
        assert forget_ended(project) == [ended.pid]
    left = [{"pid": os.getpid(), "cmd": "dvc repro"}]
    assert json.loads(path.read_text()) == {"write": {}, "read": {str(project / "a.txt"): left}}
    assert (project / "b.txt").read_text() == "other"
    assert f"removed what processes that have ended were busy with ({ended.pid})" in capfd.readouterr().err
    assert forget_ended(project) == []
    assert list((project / ".dvc/tmp").glob("*.damaged*")) == []


def test_a_new_process_with_the_number_of_an_old_one_is_not_busy(project: Path) -> None:
    """It began after the list was written, as after the restart of a container; a DVC is left alone all the same."""
    wait = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(wait, stdin=subprocess.PIPE) as other,
        subprocess.Popen([*wait, "dvc"], stdin=subprocess.PIPE) as of_dvc,
    ):
        path = busy(project, other.pid, of_dvc.pid)
        assert forget_ended(project) == []
        os.utime(path, (0, 0))
        assert forget_ended(project) == [other.pid]
        os.utime(path, (0, 0))
        assert forget_ended(project) == []
        for process in (other, of_dvc):
            process.communicate(b"\n")
    assert forget_ended(project) == [of_dvc.pid]


@pytest.mark.parametrize("content", ["[1]", "{}", '{"write": {"a": {"pid": -1}}}', '{"read": {"a": 1}}', "null"])
def test_a_list_of_another_form_is_left_to_dvc(project: Path, content: str) -> None:
    (project / ".dvc/tmp/rwlock").write_text(content)
    assert (forget_ended(project), put_aside_damaged(project)) == ([], [])


@pytest.mark.parametrize("content", ["schema: '3.0'\nstages: {}\n", "schema: 4\nother: [1]\n"])
def test_a_lock_file_of_another_dvc_is_left_alone(project: Path, content: str) -> None:
    (project / "dvc.lock").write_text(content)
    assert put_aside_damaged(project) == []


def test_a_lock_file_with_what_no_date_can_be(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "dvc.lock").write_text("a: 2020-13-45\n")
    assert len(put_aside_damaged(project)) == 1
    assert "got half of one (month must be in 1..12)" in capfd.readouterr().err


def test_a_lock_file_with_conflicts_is_left_to_git(project: Path) -> None:
    path = project / "dvc.lock"
    path.write_text("<<<<<<< HEAD\n" + path.read_text() + "=======\n>>>>>>> other\n")
    assert put_aside_damaged(project) == []


def test_one_that_was_put_aside_before_is_kept(project: Path) -> None:
    for _ in range(2):
        (project / "dvc.lock").write_text("")
        put_aside_damaged(project)
    assert sorted(path.name for path in project.glob("*.damaged*")) == ["dvc.lock.damaged", "dvc.lock.damaged-2"]


def test_half_a_character(project: Path) -> None:
    path = project / "dvc.lock"
    path.write_bytes(path.read_bytes() + "# ä".encode()[:-1])
    assert [found.name for found in put_aside_damaged(project)] == ["dvc.lock.damaged"]


def test_locks_by_hard_links_are_left_alone(project: Path) -> None:
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n    hardlink_lock = true\n")
    (project / "dvc.lock").write_text("")
    busy(project, 2**22 + 1)  # above the largest number of a process
    before = sorted((project / ".dvc/tmp").iterdir())
    assert (forget_ended(project), put_aside_damaged(project)) == ([], [])
    assert sorted((project / ".dvc/tmp").iterdir()) == before


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
