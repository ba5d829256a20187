"""Ctrl-C and SIGTERM: a stage ends at once, leaves no process, and says how to go on."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def end_on_signals() -> None:
    """From here on, Ctrl-C and SIGTERM end this program at once, with all processes that it started.

    The exit status is 128 and the number of the signal, as shells have it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Without unwinding, which would wait for processes; files are renamed into place, so none is left half."""
    import psutil  # when it is needed: each command starts faster

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    name = signal.Signals(number).name
    sys.stderr.write(f"\nstopped by {name}: what is finished is kept, the same command goes on from there\n")
    sys.stderr.flush()
    os._exit(128 + number)
