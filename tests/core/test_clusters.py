"""Local clusters of Dask and Ray: the results of processes of this machine, also if a worker dies, and an end with the
stage."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tasks

from pipeline.core import clusters
from pipeline.core.errors import DataError, SettingsError
from pipeline.core.parallel import ParallelSettings, Workers, use_workers, working
from pipeline.core.processes import ProcessError, in_processes

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not find_spec(package), reason=f"{package} is not installed: .[{name}]")
    )
    for name, package in (("dask", "distributed"), ("ray", "ray"))
]


# before the tests that share workers: Ray has one local cluster a process, and theirs stays until the end


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_workers_that_always_die_end_with_the_cause(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with (
        use_workers(ParallelSettings(backend, ""), 1),
        pytest.raises(ProcessError, match=r"expected workers of the cluster to end with a result, got \w+: .*memory"),
    ):
        list(in_processes(tasks.die, range(1), 1))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_address_where_nothing_answers_is_named(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "PATIENCE", 2)
    address = {"dask": "tcp://127.0.0.1:9", "ray": "127.0.0.1:9"}[backend]
    workers = Workers(ParallelSettings(backend, address), 2)
    with pytest.raises(SettingsError, match=rf"parallel.address: expected a .* at '{address}' within 2 s, got "):
        workers.cluster  # noqa: B018 (it connects)


def test_certificates_that_are_not_there_are_named() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(
        SettingsError, match=r"^parallel.address: 'tls://127.0.0.1:9' needs certificates, Dask has none"
    ):
        Workers(ParallelSettings("dask", "tls://127.0.0.1:9"), 2).cluster  # noqa: B018 (it connects)


def test_a_local_cluster_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")

    def fail(**given: object) -> None:
        raise RuntimeError("Cluster failed to start:\nno room")

    monkeypatch.setattr(distributed, "LocalCluster", fail)
    workers = Workers(ParallelSettings("dask", ""), 2)
    expected = (
        r"^parallel.backend: expected a local cluster of 'dask' to start, got RuntimeError: Cluster failed to "
        r"start: no room; likely a machine that is too busy"
    )
    with pytest.raises(SettingsError, match=expected):
        workers.cluster  # noqa: B018 (it connects)


@pytest.fixture(scope="module", params=BACKENDS)
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Two workers, which several tests share: a cluster takes seconds to start."""
    found = Workers(ParallelSettings(request.param, ""), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Ray does not hand on where tests are imported from
        yield found
        found.close()


@pytest.mark.slow
@given(count=st.integers(0, 30), ordered=st.booleans())
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_workers_of_a_cluster_do_each_task_once(workers: Workers, count: int, ordered: bool) -> None:
    with working(workers):
        found = list(in_processes(tasks.square, (number for number in range(count)), 1, ordered))
    assert (found if ordered else sorted(found)) == [number**2 for number in range(count)]


@pytest.mark.slow
def test_both_workers_of_a_local_cluster_work(workers: Workers) -> None:
    with working(workers):
        assert workers.cluster is not None
        assert workers.cluster.size() == 2
        list(in_processes(tasks.square, range(100), 1))
    assert len(workers.worked) == 2
    assert os.getpid() not in {process for _, process in workers.worked}


@pytest.mark.slow
def test_errors_on_a_cluster_are_those_of_the_task(workers: Workers) -> None:
    with working(workers):
        with pytest.raises(DataError, match=r"^number 3$"):
            list(in_processes(tasks.refuse, range(6), 1))
        with pytest.raises(ZeroDivisionError):
            list(in_processes(tasks.divide, range(6), 1))


@pytest.mark.slow
def test_relative_paths_are_those_of_the_stage(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with working(workers):
        assert list(in_processes(tasks.folder_of, [Path("data")] * 3, 1)) == [str(tmp_path / "data")] * 3


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
def test_the_cluster_does_the_tasks_of_a_worker_that_died_again(
    ordered: bool, workers: Workers, tmp_path: Path
) -> None:
    with working(workers):
        found = list(in_processes(partial(tasks.die_once, folder=tmp_path), range(12), 1, ordered))
    assert (found if ordered else sorted(found)) == list(range(12))
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_workers_of_a_scheduler_that_runs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started in another folder, as docs/clusters.md says; they stay when the stage is done."""
    pytest.importorskip("distributed")
    listed, home = tmp_path / "scheduler.json", tmp_path / "stage"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    dask = partial(subprocess.Popen, cwd="/", env=environment, stderr=subprocess.DEVNULL)
    common = ["--scheduler-file", str(listed), "--no-dashboard"]
    programs = [
        dask([sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", *common]),
        dask([sys.executable, "-m", "dask", "worker", "--nworkers", "2", "--nthreads", "1", *common]),
    ]
    try:
        while not listed.exists():
            assert programs[0].poll() is None
            time.sleep(0.1)
        home.mkdir()
        monkeypatch.chdir(home)
        address = ParallelSettings("dask", json.loads(listed.read_text())["address"])
        for _ in range(2):
            with use_workers(address, 1) as workers:
                assert list(in_processes(tasks.folder_of, [Path("data")] * 3, 1)) == [str(home / "data")] * 3
            assert {process for _, process in workers.worked} <= {
                child.pid for child in psutil.Process(programs[1].pid).children(recursive=True)
            }
        assert [program.poll() for program in programs] == [None, None]
    finally:
        for program in reversed(programs):
            program.terminate()
            program.wait(timeout=60)


PROGRAM = """
import sys, time
from pathlib import Path
from pipeline.core.errors import run
from pipeline.core.parallel import ParallelSettings, use_workers
from pipeline.core.processes import in_processes
from waiting import wait
def main():
    with use_workers(ParallelSettings(sys.argv[1], ""), 2):
        list(in_processes(wait, [Path(sys.argv[2], f"started-{n}") for n in range(4)], 2))
if __name__ == "__main__":
    run(main)
"""
TASK = """
import time
def wait(path):
    path.touch()
    time.sleep(600)
"""


def start(backend: str, folder: Path) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """A program whose two workers have begun to work, and all processes that it started."""
    (folder / "program.py").write_text(PROGRAM)
    (folder / "waiting.py").write_text(TASK)
    command = [sys.executable, str(folder / "program.py"), backend, str(folder)]
    running = subprocess.Popen(
        command,
        stderr=(folder / "errors").open("w"),
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
    )
    limit = time.monotonic() + 240
    while len(list(folder.glob("started-*"))) < 2:
        assert time.monotonic() < limit, (folder / "errors").read_text()
        assert running.poll() is None, (folder / "errors").read_text()
        time.sleep(0.05)
    return running, psutil.Process(running.pid).children(recursive=True)


def alive(processes: list[psutil.Process], seconds: float) -> list[str]:
    """Those that have not ended within so many seconds, by their names."""
    _, left = psutil.wait_procs(processes, timeout=seconds)
    return [one.name() for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_local_cluster_at_once(number: signal.Signals, backend: str, tmp_path: Path) -> None:
    running, children = start(backend, tmp_path)
    assert len(children) >= 2
    began = time.monotonic()
    os.killpg(running.pid, number) if number == signal.SIGINT else running.send_signal(number)
    running.communicate(timeout=60)
    assert time.monotonic() - began < 2
    assert running.returncode == 128 + number
    assert f"stopped by {number.name}: what is finished is kept" in (tmp_path / "errors").read_text()
    assert alive(children, 2) == []


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_local_cluster_ends_with_a_program_that_was_killed(backend: str, tmp_path: Path) -> None:
    running, children = start(backend, tmp_path)
    running.kill()
    running.communicate(timeout=60)
    left = set(alive(children, 30))
    assert left <= {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}, "no worker, nor what starts workers"
    assert alive(children, 150) == [], "Ray's agents look for it for a minute"
