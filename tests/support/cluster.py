"""Workers without a cluster: threads of this process."""

import io
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.core.parallel import ParallelSettings, Workers, working


class WorkerDied(Exception):  # noqa: N818 (as the libraries name theirs)
    """What this cluster says of a task that it gave up."""


class Threads:
    """A cluster of threads of this process; the most tasks that were under way at a time are counted."""

    deaths = (WorkerDied,)

    def __init__(self, size: int) -> None:
        self._size, self._executor, self._under_way = size, ThreadPoolExecutor(size), set[Future[Any]]()
        self.most, self.closed = 0, False

    def size(self) -> int:
        return self._size

    def submit(self, call: Callable[[Any], Any], task: Any) -> "Future[Any]":
        future = self._executor.submit(call, task)
        self._under_way = {one for one in self._under_way if not one.done()} | {future}
        self.most = max(self.most, len(self._under_way))
        return future

    def close(self) -> None:
        self._executor.shutdown()
        self.closed = True


class Network(Threads):
    """Threads that get and return copies, as workers on other machines do; arrays and bytes on the way are noted."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.sent: list[Any] = []
        self.tasks = 0

    def submit(self, call: Callable[[Any], Any], task: Any) -> "Future[Any]":
        self.tasks += 1
        call, task = self._copied((call, task))
        return super().submit(lambda one: self._copied(call(one)), task)

    def _copied(self, value: Any) -> Any:
        stream = io.BytesIO()
        noting = _Noting(stream)
        noting.dump(value)
        self.sent += noting.noted
        return pickle.loads(stream.getvalue())


class _Noting(pickle.Pickler):
    """Notes the arrays and bytes in what it pickles."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=5)  # where the content of an array is no bytes of its own
        self.noted: list[Any] = []

    def persistent_id(self, value: Any) -> None:
        is_number = isinstance(value, bytes) and len(value) <= 8  # one of NumPy
        if isinstance(value, np.ndarray | bytes | bytearray) and not is_number:
            self.noted.append(value)


@contextmanager
def threads(size: int = 3) -> Iterator[Threads]:
    """Tasks go to threads."""
    with _cluster(Threads(size), size) as cluster:
        yield cluster


@contextmanager
def network(size: int = 2) -> Iterator[Network]:
    """Tasks go to threads, as copies."""
    with _cluster(Network(size), size) as cluster:
        yield cluster


@contextmanager
def _cluster(cluster: Any, size: int) -> Iterator[Any]:
    with working(Workers(ParallelSettings("dask", ""), size, _cluster=cluster)):
        yield cluster
    cluster.close()
