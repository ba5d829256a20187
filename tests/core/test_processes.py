"""Work in processes: results of all tasks, in order where that is asked for, also if a process dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tasks
from support.cluster import WorkerDied, threads

from pipeline.core import processes
from pipeline.core.errors import DataError
from pipeline.core.processes import AHEAD, ATTEMPTS, ProcessError, in_processes


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


# --- workers of a cluster: here threads; of Dask and Ray in test_clusters.py ------------------------------------------


@given(count=st.integers(0, 40), size=st.integers(1, 4), ordered=st.booleans())
@settings(deadline=None, max_examples=30)
def test_workers_do_each_task_once(count: int, size: int, ordered: bool) -> None:
    with threads(size) as cluster:
        found = list(in_processes(tasks.square, (number for number in range(count)), 1, ordered))
    assert (found if ordered else sorted(found)) == [number**2 for number in range(count)]
    assert cluster.most <= AHEAD * size


def test_workers_get_tasks_as_they_are_needed() -> None:
    """A million tasks need not be in memory, and one that is slow does not keep the others from beginning."""
    asked: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    with threads(2):
        results = in_processes(tasks.square, source(), 1)
        assert next(results) == 0
        assert len(asked) <= AHEAD * 2
        assert list(results) == [number**2 for number in range(1, 100)]
    assert asked == list(range(100))


def test_an_error_on_a_worker_is_the_error_of_the_caller() -> None:
    with threads():
        with pytest.raises(DataError, match=r"^number 3$"):
            list(in_processes(tasks.refuse, range(6), 1))
        with pytest.raises(ZeroDivisionError):
            list(in_processes(tasks.divide, range(6), 1))


def test_a_task_that_the_cluster_gave_up_ends_the_stage_with_the_cause() -> None:
    def give_up(number: int) -> int:
        raise WorkerDied("4 workers died\nwith task 7")

    with threads(), pytest.raises(ProcessError, match=r"got WorkerDied: 4 workers died with task 7; likely killed bec"):
        list(in_processes(give_up, range(6), 1))


def test_a_worker_without_the_packages_is_refused() -> None:
    def lack(number: int) -> int:
        raise ModuleNotFoundError("No module named 'pipeline'")

    with threads(), pytest.raises(ProcessError, match="expected workers with the packages of this environment, got: "):
        list(in_processes(lack, range(6), 1))


def test_a_worker_with_other_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(["of the stage", *["of the worker"] * 9])
    monkeypatch.setattr(processes, "code_digest", lambda: next(found))
    with threads(), pytest.raises(ProcessError, match=r"worker \d+ on .*: expected the code and the library versions"):
        list(in_processes(tasks.square, range(3), 1))


def test_workers_work_in_the_folder_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = processes._run_there(tasks.folder_of, str(tmp_path), processes.code_digest(), Path("data"))
    assert done[1] == str(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = processes._run_there(tasks.folder_of, str(tmp_path), processes.code_digest(), Path("data"))
    assert done[1] == str(tmp_path / "data")
    _, _, error = processes._run_there(tasks.folder_of, "/no/such/folder", "", Path("data"))
    assert "expected the folder of this stage, /no/such/folder, got No such file or directory" in str(error)
