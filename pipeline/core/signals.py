"""Ctrl-C and SIGTERM: a stage ends at once, leaves no process, and says how to go on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import NoReturn

GOES_ON = ": what is finished is kept, the same command goes on from there"


def end_on_signals(goes_on: bool = True) -> None:
    """From here on, Ctrl-C and SIGTERM end this program at once, with all processes that it started.

    The exit status is 128 and the number of the signal, as shells have it. Programs that load large libraries call this
    before: a signal that comes meanwhile would show where the interpreter was.

    A rank that a launcher has started ends without a word, also while it waits for another one inside a library, where
    no function of Python is called.

    Args:
        goes_on: whether the same command goes on where it was stopped
    """
    from pipeline.core.rank import is_launched

    if is_launched():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, partial(_end, os.getpid(), GOES_ON if goes_on else ""))


@contextmanager
def interrupts_left_to_child() -> Iterator[list[int]]:
    """Ctrl-C is for the program that was started: it has got it, too, and its end is waited for.

    The list gets the number of each such signal.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _end(owner: int, hint: str, number: int, frame: FrameType | None) -> NoReturn:
    """Without unwinding, which would wait for processes; files are renamed into place, so none is left half.

    `owner` is the program itself: processes that are forked from it inherit this function, and only end.
    """
    try:
        if os.getpid() == owner:
            _kill_children()
            name = signal.Signals(number).name
            said = f"\nstopped by {name}{hint}\n"
            os.write(2, said.encode())  # no stream: the signal may have come while it was written to
    finally:
        os._exit(128 + number)


def _kill_children() -> None:
    """All processes but those that remove what others leave in shared memory; these end by themselves."""
    import psutil  # when it is needed: each command starts faster

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if not any("resource_tracker" in word for word in child.cmdline()):
                child.kill()
