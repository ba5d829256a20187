"""Workers of a stage: which they are, when they are connected to, and that the choice changes no result."""

import os
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import joblib
import pytest
from support.cluster import Threads, threads
from support.helpers import ROOT, recipe, refine_settings
from support.tasks import square

from pipeline.core import parallel
from pipeline.core.errors import SettingsError
from pipeline.core.parallel import LOKY, ParallelSettings, active_workers, missing_package, use_workers, worker_count
from pipeline.core.processes import in_processes
from pipeline.core.scratch import open_scratch
from pipeline.core.settings import INDECISIVE, build, decisive

WITH_WORKERS = ["preprocess", "refine", "student", "evaluate"]  # stages whose tasks go to workers


def load(**values: Any) -> ParallelSettings:
    return build(ParallelSettings, values, Path("params.yaml"), "tracks.track3.refine.parallel")


def test_an_address_needs_a_cluster() -> None:
    assert load(backend="dask", address="tcp://head:8786").address == "tcp://head:8786"
    with pytest.raises(SettingsError, match=r"address is 'tcp://head:8786', backend is 'loky': expected an empty"):
        load(backend="loky", address="tcp://head:8786")
    with pytest.raises(SettingsError, match=r"backend: expected 'loky', 'dask' or 'ray', got 'spark'"):
        load(backend="spark", address="")


@pytest.mark.parametrize(
    ("backend", "wrong", "right"),
    [
        (
            "dask",
            [
                "head",
                "tcp://head",
                "head:",
                "tcp://:1",
                "ray://head:1",
                "tcp://a b:1",
                "auto",
                "tcp://h:99999",
                "tcp://h/x:1",
            ],
            "tcp://host:8786",
        ),
        ("ray", ["head", "ray://head", "head:x", "tcp://head:1", "ray://head:0", "a@head:1"], "host:6379, ray://host"),
    ],
)
def test_an_address_has_a_form_of_its_backend(backend: str, wrong: list[str], right: str) -> None:
    for address in wrong:
        with pytest.raises(SettingsError, match=rf"parallel: address is '{address}', .*: expected {right}"):
            load(backend=backend, address=address)


@pytest.mark.parametrize(
    ("backend", "addresses"),
    [
        ("dask", ["tcp://head:8786", "tls://head.cluster:8786", "tcp://[::1]:8786", "10.0.0.1:8786"]),
        ("ray", ["head:6379", "[fd00::1]:6379", "ray://head:10001", "auto"]),
    ],
)
def test_each_form_of_an_address_is_taken(backend: str, addresses: list[str]) -> None:
    for address in addresses:
        assert load(backend=backend, address=address).address == address


def test_a_backend_without_its_package_is_refused_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "find_spec", lambda name: None if name in ("distributed", "ray") else "there")
    assert missing_package(LOKY) == ""
    for backend, package in (("dask", "distributed"), ("ray", "ray")):
        said = missing_package(ParallelSettings(backend, ""))
        assert said.startswith(f"parallel.backend: {backend!r} expects the package {package!r}, which is not installed")
        assert f"pip install --editable '.[{backend}]'" in said
        with (
            pytest.raises(SettingsError, match="which is not installed"),
            use_workers(ParallelSettings(backend, ""), 2),
        ):
            list(in_processes(square, range(3), 2))


def test_workers_are_those_of_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Threads] = []

    def connect(address: str, jobs: int) -> Threads:
        made.append(Threads(jobs))
        return made[-1]

    monkeypatch.setattr(parallel, "DaskCluster", connect)
    assert active_workers() is None
    with use_workers(ParallelSettings("dask", ""), 2) as workers:
        assert active_workers() is workers
        assert not made, "no task, no cluster"
        for _ in range(2):
            assert list(in_processes(square, range(9), 1)) == [n * n for n in range(9)]
        assert (len(made), made[0].closed) == (1, False)
        assert workers.about() == {"engine": "dask", "workers": 1}  # threads are one process
    assert made[0].closed
    assert active_workers() is None


def test_workers_that_worked_are_counted() -> None:
    with use_workers(LOKY, 1) as workers:
        assert workers.about() == {"engine": "loky", "workers": 0}
        list(in_processes(square, range(3), 1))
        assert workers.worked == {(platform.node(), os.getpid())}
    with use_workers(LOKY, 2) as workers:
        list(in_processes(square, range(3), 2))
        assert 1 <= workers.about()["workers"] <= 2
        assert (platform.node(), os.getpid()) not in workers.worked


def test_an_error_closes_the_cluster() -> None:
    cluster = Threads(2)

    def fail() -> None:
        with use_workers(ParallelSettings("dask", ""), 2) as workers:
            workers._cluster = cluster
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert cluster.closed
    assert active_workers() is None


def test_as_many_tasks_at_a_time_as_there_are_workers() -> None:
    assert worker_count(2) == 2
    assert worker_count(-1) == joblib.cpu_count()
    with use_workers(LOKY, 1):
        assert worker_count(3) == 3
    with threads(5):
        assert worker_count(1) == 5


@pytest.mark.parametrize("stage", WITH_WORKERS)
def test_where_tasks_are_done_changes_no_result(stage: str, tmp_path: Path) -> None:
    """Neither fingerprint nor params nor command of DVC know it: another machine reruns nothing."""
    section = recipe()["tracks"]["track3"][stage]
    elsewhere = {**section, "parallel": {"backend": "ray", "address": "ray://head:10001"}}
    assert decisive(stage, section) == decisive(stage, elsewhere)
    folders = [open_scratch(tmp_path / "out", stage, [one], []).folder for one in (section, elsewhere)]
    assert folders[0] == folders[1]
    assert "parallel" not in (ROOT / "dvc.yaml").read_text()


def test_stages_without_tasks_have_no_such_key() -> None:
    sections = recipe()["tracks"]["track3"]
    assert [name for name, section in sections.items() if "parallel" in section] == WITH_WORKERS
    assert [name for name, keys in INDECISIVE.items() if "parallel" in keys] == WITH_WORKERS


def test_settings_of_workers_can_be_reported() -> None:
    settings = replace(refine_settings(), parallel=ParallelSettings("dask", "tcp://head:8786"))
    assert asdict(settings)["parallel"] == {"backend": "dask", "address": "tcp://head:8786"}
