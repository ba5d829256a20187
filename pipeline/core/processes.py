"""Work in several processes: they end with the one that started them, and one that dies costs a repetition."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pipeline.core.errors import PipelineError

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 3  # to finish all tasks, if processes die
LOOK = 0.5  # seconds between two looks at the parent


class ProcessError(PipelineError):
    """Processes died again and again."""


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, ordered: bool = True
) -> Iterator[Result]:
    """The results of all tasks, as they come or in the order of the tasks.

    Tasks of processes that died (killed, or out of memory) are done again, with fewer processes each time.

    Args:
        work: a function that other processes can import, of one task
        tasks: read as they are needed
        jobs: processes; 1: none but this one; -1: one for each core

    Raises:
        ProcessError: if processes die `ATTEMPTS` times
    """
    source, waiting = enumerate(tasks), dict[int, Task]()
    count = joblib.effective_n_jobs(jobs)

    def queue() -> Iterator[tuple[int, Task]]:
        yield from list(waiting.items())
        for number, task in source:
            waiting[number] = task
            yield number, task

    for _ in range(ATTEMPTS):
        calls = (joblib.delayed(_run)(work, number, task, os.getpid()) for number, task in queue())
        parallel = joblib.Parallel(n_jobs=count, return_as="generator" if ordered else "generator_unordered")
        try:
            for number, result in parallel(calls):
                del waiting[number]
                yield result
            if not waiting:
                return
        except TerminatedWorkerError as error:
            count = max(1, count // 2)
            print(f"warning: a process died, its tasks are done again in {count}: {_cause(error)}", file=sys.stderr)
    raise ProcessError(
        f"expected processes to end with a result, they died {ATTEMPTS} times; likely killed because memory ran out: "
        "set jobs of this stage to 1, or free memory. What is finished is kept"
    )


def jobs_of_rank(jobs: int) -> int:
    """As many processes, where all cores are meant: those that one of several ranks on this machine has.

    Ranks of Slurm have cores of their own; those of torchrun share them, and it says how many they are.
    """
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, joblib.cpu_count() // ranks) if jobs == -1 and ranks > 1 else jobs


def _cause(error: Exception) -> str:
    """The part of joblib's message that names exit codes."""
    return str(error).strip().rpartition("\n")[2]


def _run(work: Callable[[Task], Result], number: int, task: Task, parent: int) -> tuple[int, Result]:
    if os.getpid() != parent:
        end_with(parent)
    return number, work(task)


@lru_cache(maxsize=1)
def end_with(parent: int) -> None:
    """End this process as soon as its parent has ended, also if that was killed: nobody else would end it."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
