"""Work in several processes: they end with the one that started them, and one that dies costs a repetition.

Within `core.parallel.use_workers`, the workers of a cluster take their place.
"""

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pipeline.core.clusters import Cluster
from pipeline.core.errors import PipelineError
from pipeline.core.parallel import Worker, active_workers
from pipeline.core.reuse import code_digest

Task = TypeVar("Task")
Result = TypeVar("Result")
Done = tuple[Worker, Result | None, PipelineError | None]  # who did a task, and its result or what it raised

ATTEMPTS = 3  # to finish all tasks, if processes die
LOOK = 0.5  # seconds between two looks at the parent
AHEAD = 3  # tasks under way for each worker of a cluster: the next ones are there when one is done


class ProcessError(PipelineError):
    """Processes died again and again, or those of a cluster are not as this one."""


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, ordered: bool = True
) -> Iterator[Result]:
    """The results of all tasks, as they come or in the order of the tasks.

    Tasks of processes that died (killed, or out of memory) are done again, with fewer processes each time. On a cluster
    of `use_workers`, all its workers take part, whatever `jobs` is, and the cluster does such tasks again.

    Args:
        work: a function that other processes can import, of one task; both and the result should be small, such as
            paths and counts
        tasks: read as they are needed
        jobs: processes; 1: none but this one; -1: one for each core

    Raises:
        ProcessError: if processes die `ATTEMPTS` times, a cluster gives a task up, or a worker runs other code
    """
    workers = active_workers()
    cluster = workers.cluster if workers else None
    done = _in_loky(work, tasks, jobs, ordered) if cluster is None else _on_cluster(cluster, work, tasks, ordered)
    for worker, result in done:
        if workers:
            workers.worked.add(worker)
        yield result


# --- processes of this machine ----------------------------------------------------------------------------------------


def _in_loky(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, ordered: bool
) -> Iterator[tuple[Worker, Result]]:
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
            for number, worker, result in parallel(calls):
                del waiting[number]
                yield worker, result
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


def _run(work: Callable[[Task], Result], number: int, task: Task, parent: int) -> tuple[int, Worker, Result]:
    if os.getpid() != parent:
        end_with(parent)
    return number, _this_worker(), work(task)


def _this_worker() -> Worker:
    return platform.node(), os.getpid()


@lru_cache(maxsize=1)
def end_with(parent: int) -> None:
    """End this process as soon as its parent has ended, also if that was killed: nobody else would end it."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


# --- workers of a cluster ---------------------------------------------------------------------------------------------


def _on_cluster(
    cluster: Cluster, work: Callable[[Task], Result], tasks: Iterable[Task], ordered: bool
) -> Iterator[tuple[Worker, Result]]:
    call = partial(_run_there, work, str(Path.cwd()), code_digest())
    source, under_way = iter(tasks), list[Future[Done[Result]]]()
    while True:
        missing = max(0, AHEAD * cluster.size() - len(under_way))
        under_way += [cluster.submit(call, task) for task in islice(source, missing)]
        if not under_way:
            return
        finished = {under_way[0]} if ordered else wait(under_way, return_when=FIRST_COMPLETED).done
        for future in finished:
            yield _result(future, cluster)
        under_way = [future for future in under_way if future not in finished]


def _result(future: "Future[Done[Result]]", cluster: Cluster) -> tuple[Worker, Result]:
    try:
        worker, result, error = future.result()
    except cluster.deaths as death:
        raise ProcessError(
            f"expected workers of the cluster to end with a result, got {type(death).__name__}: "
            f"{' '.join(str(death).split())}; likely killed because memory ran out, or the cluster is gone. What is "
            "finished is kept"
        ) from death
    except ModuleNotFoundError as lacking:
        raise ProcessError(f"expected workers with the packages of this environment, got: {lacking}") from lacking
    if error is not None:
        raise error
    return worker, result  # type: ignore[return-value]  # None only beside an error


def _run_there(work: Callable[[Task], Result], home: str, code: str, task: Task) -> Done[Result]:
    """One task on a worker; relative paths are those of the stage.

    Args:
        home: the folder that the stage works in; workers share its file system
        code: digest of the code and the libraries of the stage
    """
    worker = _this_worker()
    try:
        _enter(home, worker)
        if code_digest() != code:
            raise ProcessError(
                f"worker {worker[1]} on {worker[0]}: expected the code and the library versions of this stage, got "
                "others; start workers from the same checkout and environment, and anew after an edit"
            )
        return worker, work(task), None
    except PipelineError as error:  # as a value: each cluster would wrap it in its own way
        return worker, None, error


def _enter(home: str, worker: Worker) -> None:
    if os.getcwd() == home:  # noqa: PTH109 (a path object for each task is not needed)
        return
    try:
        os.chdir(home)
    except OSError as error:
        raise ProcessError(
            f"worker {worker[1]} on {worker[0]}: expected the folder of this stage, {home}, got {error.strerror}; "
            "workers have to share its file system"
        ) from None
