"""Programs in a terminal of their own: what they print if stdout and stderr are one."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_in_terminal(
    words: Sequence[str], columns: int = 100, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[str, int]:
    """Run a program in a terminal of `columns` columns; return what it shows, and its exit status.

    A bar that is drawn again begins with a carriage return. The terminal has 0 columns where it does not say how wide
    it is.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(words, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # all programs in it have ended
        return b""
