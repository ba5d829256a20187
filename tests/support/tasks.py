"""Tasks for workers of a cluster, which import them: one that counts, some that fail or die."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError
from pipeline.refine.run import _refine_task


def square(number: int) -> int:
    time.sleep(0.001 * (number % 3))  # tasks end in another order than they began
    return number * number


def refuse(number: int) -> int:
    if number == 3:
        raise DataError("number 3")
    return number


def divide(number: int) -> float:
    return 1 / number


def folder_of(path: Path) -> str:
    return str(path.resolve())


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(number: int, folder: Path) -> int:
    """The worker of task 2 is killed the first time, as the kernel does when memory runs out."""
    _kill_once(number == 2, folder)
    return number


def refine_and_die_once(task: tuple[int, Any], **given: Any) -> Any:
    """A task of the stage `refine`; the worker of task 2 is killed the first time, when it is half done."""
    found = _refine_task(task, **given)
    _kill_once(task[0] == 2, given["maps"].parent)
    return found


def _kill_once(now: bool, folder: Path) -> None:
    if now and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
