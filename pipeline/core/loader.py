"""Batches from processes that read images: room for them in shared memory, and what happens when a process ends.

Batches pass from the reading processes through shared memory, `/dev/shm` on Linux. Where it is full (containers have
64 MB), PyTorch waits for a batch that never comes.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from pipeline.core.device import single_thread
from pipeline.core.errors import DataError, PipelineError, SettingsError

SHARED_MEMORY = Path("/dev/shm")
PREFETCH = 2  # batches that each process prepares ahead
size = partial(tqdm.format_sizeof, suffix="B")  # bytes for people, such as 1.23GB
WAIT = 600  # seconds for one batch; a slow disk takes seconds
LOOK = 5  # seconds between two looks at the processes: in a thread, nothing else tells that one has ended
REMEDY = "more shared memory (`docker run --shm-size=8g`, or `--ipc=host`), smaller batches, fewer workers"


def needed_memory(workers: int, batch_bytes: int) -> int:
    """Bytes of shared memory that all batches take which are ready, and the one that is used."""
    return (workers * PREFETCH + 1) * batch_bytes if workers else 0


def shortage(workers: int, batch_bytes: int) -> str:
    """What is wrong with the room in shared memory; empty if it is enough, or there is no such folder."""
    need = needed_memory(workers, batch_bytes)
    free = shutil.disk_usage(SHARED_MEMORY).free if need and SHARED_MEMORY.is_dir() else need
    if need <= free:
        return ""
    return (
        f"expected {size(need)} free in {SHARED_MEMORY} for {workers} x {PREFETCH} batches of {size(batch_bytes)} and "
        f"one more, found {size(free)}; {REMEDY}, or 0, which reads without processes"
    )


class BatchLoader(DataLoader[Any]):
    """PyTorch's loader, which ends with an error that says why instead of waiting for ever.

    Args:
        dataset: what is read
        workers: processes; 0: none
        key: of the setting `workers`, named in errors
        batch_bytes: of the largest batch
        options: of PyTorch's loader

    Raises:
        SettingsError: if there is no room for the batches in shared memory
    """

    def __init__(self, dataset: Dataset[Any], *, workers: int, key: str, batch_bytes: int, **options: Any) -> None:
        if missing := shortage(workers, batch_bytes):
            raise SettingsError(f"{key}: {missing}")
        self.key = key
        if workers:
            options |= {"timeout": min(LOOK, WAIT), "prefetch_factor": PREFETCH, "worker_init_fn": single_thread}
        super().__init__(dataset, num_workers=workers, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if not self.num_workers:
            return super().__iter__()
        return self._guarded()

    def _guarded(self) -> Iterator[Any]:
        batches, began = super().__iter__(), time.monotonic()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except PipelineError as error:
                raise _as_raised(error) from None
            except (RuntimeError, ConnectionError, EOFError) as error:  # a process was killed, or no batch in time
                if "timed out" in str(error) and time.monotonic() - began < WAIT:
                    continue
                if str(error).startswith("Caught "):  # of the code that reads
                    raise
                _close(batches)
                said = (str(error) or type(error).__name__).splitlines()[0]
                raise DataError(
                    f"{self.key}: expected a batch from {self.num_workers} reading processes, got {said}; likely too "
                    f"little memory (the system ends a process), too little room in {SHARED_MEMORY}, or a disk that "
                    f"hangs: {REMEDY}, or 0"
                ) from error
            yield batch
            began = time.monotonic()


def _close(batches: Any) -> None:
    """End the other processes now: when Python clears the iterator away, nothing could be caught any more.

    While they end, PyTorch's handler of signals may raise an error for the one that was killed.
    """
    with suppress(RuntimeError):
        batches._shutdown_workers()


def _as_raised(error: PipelineError) -> PipelineError:
    """An error of a reading process with its own message, without the traceback that PyTorch puts in front."""
    kind = type(error)
    return kind(str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip())
