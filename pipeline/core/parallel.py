"""What does the tasks of a stage: processes of this machine, or the workers of a Dask or Ray cluster.

A stage names its workers once, with `use_workers`; every call of `core.processes.in_processes` until its end sends its
tasks there. Elsewhere, and with the backend `loky`, tasks are done in processes of this machine.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from pipeline.core.clusters import Cluster, DaskCluster, RayCluster, check_address
from pipeline.core.errors import SettingsError
from pipeline.core.settings import settings_class

Worker = tuple[str, int]  # host and process id
PACKAGES = {"loky": "joblib", "dask": "distributed", "ray": "ray"}  # what each backend imports


@settings_class
@dataclass(frozen=True, slots=True)
class ParallelSettings:
    """Section `parallel` of a stage; it changes no result."""

    backend: Literal["loky", "dask", "ray"]  # loky: processes of this machine; dask, ray: workers of a cluster
    address: str  # of a cluster that runs: tcp://host:8786, ray://host:10001; empty: a local one of `jobs` workers

    def __post_init__(self) -> None:
        if self.backend == "loky" and self.address:
            raise ValueError(
                f"address is {self.address!r}, backend is 'loky': expected an empty address, or the backend 'dask' or "
                "'ray'"
            )
        if self.address:
            check_address(self.backend, self.address)


LOKY = ParallelSettings("loky", "")


@dataclass(slots=True)
class Workers:
    """The workers of a stage; those of a cluster are connected to when the first task asks for them.

    Attributes:
        settings: which they are
        jobs: workers of a local cluster; -1: one for each core
        worked: those that returned a result
    """

    settings: ParallelSettings
    jobs: int
    worked: set[Worker] = field(default_factory=set)
    _cluster: Cluster | None = None

    @property
    def cluster(self) -> Cluster | None:
        """The cluster; None with the backend `loky`.

        Raises:
            SettingsError: if its package is not installed, or no cluster is reached at its address
        """
        if self._cluster is None and self.settings.backend != "loky":
            if missing := missing_package(self.settings):
                raise SettingsError(missing)
            from joblib import effective_n_jobs  # when it is needed: settings are read without it

            connect = DaskCluster if self.settings.backend == "dask" else RayCluster
            self._cluster = connect(self.settings.address, effective_n_jobs(self.jobs))
        return self._cluster

    def about(self) -> dict[str, Any]:
        """The engine and how many workers worked, for the report of a stage."""
        return {"engine": self.settings.backend, "workers": len(self.worked)}

    def close(self) -> None:
        """Disconnect; a local cluster ends."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None


_active: ContextVar[Workers | None] = ContextVar("workers", default=None)


@contextmanager
def use_workers(settings: ParallelSettings, jobs: int) -> Iterator[Workers]:
    """Send the tasks of `in_processes` to these workers until the end of the block; a local cluster ends with it."""
    with closing(Workers(settings, jobs)) as workers, working(workers):
        yield workers


@contextmanager
def working(workers: Workers) -> Iterator[None]:
    """As `use_workers`, with workers that go on afterwards."""
    token = _active.set(workers)
    try:
        yield
    finally:
        _active.reset(token)


def active_workers() -> Workers | None:
    """The workers of the stage that runs; None outside `use_workers`."""
    return _active.get()


def worker_count(jobs: int) -> int:
    """How many tasks are done at a time: by the cluster of the stage, else by `jobs` processes; -1: one a core."""
    workers = active_workers()
    cluster = workers.cluster if workers else None
    if cluster:
        return cluster.size()
    from joblib import effective_n_jobs

    return effective_n_jobs(jobs)


def missing_package(settings: ParallelSettings) -> str:
    """What is wrong if the package of the backend is not installed; empty if it is."""
    package = PACKAGES[settings.backend]
    if find_spec(package):
        return ""
    return (
        f"parallel.backend: {settings.backend!r} expects the package {package!r}, which is not installed; "
        f"pip install --editable '.[{settings.backend}]' adds it, 'loky' needs none"
    )
