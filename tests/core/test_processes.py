"""Work in processes: results of all tasks, in order where that is asked for, also if a process dies."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.core.errors import DataError
from pipeline.core.processes import ATTEMPTS, ProcessError, in_processes


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    if number == 3:
        raise DataError("number 3")
    return number


def die_once(number: int, folder: Path) -> int:
    """The process of task 2 is killed the first time, as the kernel does when memory runs out."""
    if number == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int, folder: Path) -> int:
    with (folder / "deaths").open("a") as stream:
        stream.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 2, -1])
@pytest.mark.parametrize("ordered", [True, False])
def test_every_task_has_its_result(jobs: int, ordered: bool) -> None:
    found = list(in_processes(square, (number for number in range(9)), jobs, ordered))
    assert (found if ordered else sorted(found)) == [number**2 for number in range(9)]


def test_an_error_of_a_task_is_the_error_of_the_caller() -> None:
    for jobs in (1, 2):
        with pytest.raises(DataError, match="number 3"):
            list(in_processes(refuse, range(6), jobs))


@pytest.mark.parametrize("ordered", [True, False])
def test_the_tasks_of_a_process_that_died_are_done_again(
    ordered: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(in_processes(partial(die_once, folder=tmp_path), range(8), 2, ordered))
    assert (found if ordered else sorted(found)) == list(range(8))
    assert (tmp_path / "died").exists()
    assert "warning: a process died, its tasks are done again in 1:" in capsys.readouterr().err


def test_processes_that_always_die_end_with_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.effective_n_jobs", lambda jobs: 16)  # 16, 8, 4: never in this process itself
    with pytest.raises(ProcessError, match=rf"they died {ATTEMPTS} times; likely killed because memory ran out"):
        list(in_processes(partial(die, folder=tmp_path), range(2), 16))
    assert len((tmp_path / "deaths").read_text()) >= ATTEMPTS


PROGRAM = """
import sys, time
from pathlib import Path
from pipeline.core.errors import run
from pipeline.core.processes import in_processes
def wait(number):
    Path(sys.argv[1], f"started-{number}").touch()
    time.sleep(60)
if __name__ == "__main__":
    run(lambda: list(in_processes(wait, range(4), 2)))
"""


def start(folder: Path) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """A program whose two processes have begun to work, and all that it started."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    running = subprocess.Popen(
        [sys.executable, str(program), str(folder)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 60
    while len(list(folder.glob("started-*"))) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    return running, psutil.Process(running.pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all have ended within so many seconds."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_program_and_its_processes_at_once(number: signal.Signals, tmp_path: Path) -> None:
    running, children = start(tmp_path)
    assert len(children) >= 2
    began = time.monotonic()
    os.killpg(running.pid, number) if number == signal.SIGINT else running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert time.monotonic() - began < 2
    assert running.returncode == 128 + number
    assert f"stopped by {number.name}: what is finished is kept, the same command goes on from there" in said
    assert gone(children, 2)


def test_processes_end_with_a_program_that_was_killed(tmp_path: Path) -> None:
    running, children = start(tmp_path)
    running.kill()
    running.communicate(timeout=30)
    assert gone(children, 10)
