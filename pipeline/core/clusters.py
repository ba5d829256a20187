"""Dask and Ray: connections to a cluster, behind one small interface.

Both are imported when a stage chose them. They do a task again whose worker died; what a task raises, and a task whose
workers died again and again, is an exception of its future.
"""

import os
import re
import signal
import socket
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from pipeline.core.errors import SettingsError

Task = TypeVar("Task")
Result = TypeVar("Result")

PATIENCE = 60  # seconds until a cluster has answered and has a worker
RETRIES = 3  # of a task whose worker died; Dask has this number in its own configuration, as allowed-failures
PLACE = r"([\w.-]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}"  # host and port
LAST_PORT = 65_535
ADDRESSES = {"dask": rf"((tcp|tls)://)?{PLACE}", "ray": rf"auto|(ray://)?{PLACE}"}
FORMS = {"dask": "tcp://host:8786 or tls://host:8786", "ray": "host:6379, ray://host:10001 or auto"}
OBJECT_STORE = 80 << 20  # bytes of a local Ray cluster, about the least that it takes: tasks are paths


def check_address(backend: str, address: str) -> None:
    """Refuse an address of another form than the backend has; given to a client of Dask, it takes minutes to end.

    Raises:
        ValueError: if it has another form
    """
    fits = re.fullmatch(ADDRESSES[backend], address)
    if not fits or (":" in address and int(address.rpartition(":")[2]) > LAST_PORT):
        raise ValueError(f"address is {address!r}, backend is {backend!r}: expected {FORMS[backend]}")


class Cluster(Protocol):
    """A cluster that does tasks.

    Attributes:
        deaths: what a future raises if workers died again and again with its task, or the cluster is gone
    """

    deaths: tuple[type[BaseException], ...]

    def size(self) -> int:
        """How many tasks it does at a time; this may change while it runs."""

    def submit(self, call: Callable[[Task], Result], task: Task) -> "Future[Result]":
        """Do one task; both arguments are sent to a worker."""

    def close(self) -> None:
        """Disconnect; a local cluster ends."""


class DaskCluster:
    """The workers of a Dask scheduler, or of a local one with a process for each worker."""

    deaths: tuple[type[BaseException], ...]

    def __init__(self, address: str, jobs: int) -> None:
        from distributed import Client, LocalCluster, Security
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        self.deaths = (KilledWorker, CancelledError, CommClosedError)
        # memory without a limit, as processes have it: a worker that pauses for want of memory would wait forever
        local = {"n_workers": jobs, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
        try:
            if address.startswith("tls:") and not Security().get_connection_args("client")["ssl_context"]:
                raise SettingsError(f"parallel.address: {address!r} needs certificates, Dask has none")
            self._local = None if address else LocalCluster(**local)
            self._client = Client(address or self._local, timeout=PATIENCE, set_as_default=False)
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            raise _no_answer("dask", address, "a scheduler with a worker", error) from error
        self._executor = self._client.get_executor(pure=False)

    def size(self) -> int:
        cores: dict[str, int] = self._client.ncores()
        return max(1, sum(cores.values()))

    def submit(self, call: Callable[[Task], Result], task: Task) -> "Future[Result]":
        future: Future[Result] = self._executor.submit(call, task)
        return future

    def close(self) -> None:
        self._client.close()
        if self._local is not None:
            self._local.close()


class RayCluster:
    """The workers of a Ray cluster, or of a local one."""

    deaths: tuple[type[BaseException], ...]

    def __init__(self, address: str, jobs: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports its use over the network
        import ray
        from ray import exceptions

        self.deaths = (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
        )
        local = {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _reach(address)
            ray.init(address or "local", logging_level="warning", **({} if address else local))
        except Exception as error:  # Ray raises this very class where a local cluster takes longer than 30 s to start
            raise _no_answer("ray", address, "a Ray cluster", error) from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray sets one of its own, which ends more slowly
        self._ray, self._remote = ray, ray.remote(max_retries=RETRIES)(_call)

    def size(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, call: Callable[[Task], Result], task: Task) -> "Future[Result]":
        future: Future[Result] = self._remote.remote(call, task).future()
        return future

    def close(self) -> None:
        self._ray.shutdown()


def _call(call: Callable[[Task], Result], task: Task) -> Result:
    """What Ray runs: it sends a function to the workers once, so that this one is the same for all calls."""
    return call(task)


def _reach(address: str) -> None:
    """Try whether something listens at an address of Ray, which itself would try for many minutes.

    Raises:
        OSError: if nothing does
        ValueError: if it is no address
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:  # else the local cluster, or `auto`
        socket.create_connection((parts.hostname, parts.port), PATIENCE).close()


def _no_answer(backend: str, address: str, expected: str, error: BaseException) -> SettingsError:
    got = f"got {type(error).__name__}: {' '.join(str(error).split())}"
    if not address:
        return SettingsError(
            f"parallel.backend: expected a local cluster of {backend!r} to start, {got}; likely a machine that is too "
            "busy, or little memory: start the stage again, or use 'loky'"
        )
    return SettingsError(
        f"parallel.address: expected {expected} at {address!r} within {PATIENCE} s, {got}; likely another address, a "
        f"firewall, or another version of {backend} there"
    )
