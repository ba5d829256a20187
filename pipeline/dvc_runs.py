"""DVC in the foreground, with this Python: one command or several at once, its exit status, how long each stage took.

And where its cache is.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Any, TextIO

from pipeline.core.signals import interrupts_left_to_child
from pipeline.dvc_repair import dvc_option, repair

INTERRUPTED = 128 + signal.SIGINT
RUNNING = re.compile(r"Running stage '([^']+)'")


def _environment(**more: str) -> Mapping[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # stages start `python`
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **more}


def _start(words: Sequence[str], folder: Path | None, **options: Any) -> "subprocess.Popen[str]":
    """Start DVC, when what a killed one has left is repaired."""
    repair(folder or Path())
    return subprocess.Popen([sys.executable, "-m", "dvc", *words], cwd=folder, **options)


def dvc(words: Sequence[str], folder: Path | None = None) -> int:
    """Run a command of DVC, in the current folder if no other is given.

    Returns:
        its exit status; 130, as shells have it, if Ctrl-C ended it
    """
    with _start(words, folder, env=_environment()) as process, interrupts_left_to_child() as interrupts:
        status = process.wait()
    return INTERRUPTED if status and interrupts else status


def dvc_at_once(commands: Mapping[str, Sequence[str]], folder: Path | None = None) -> int:
    """Run several commands of DVC at the same time; each line that they print begins with the name of its command.

    They wait for each other where DVC reads and writes its own files; the stages run side by side, and this returns
    when the last of them has ended, also if its DVC was killed before. Each command gets its share of the cores, as
    threads and for `jobs: -1` as processes, unless the variables below say how many. If one fails, the others go on,
    and the last lines name it.

    Returns:
        the first exit status that is not 0; 130, as shells have it, if Ctrl-C ended them

    Raises:
        OSError: when all have ended, if their output could not be written, such as to a reader that has stopped
    """
    import joblib  # when it is needed: other commands start faster

    share = str(max(1, joblib.cpu_count() // len(commands)))
    own = {"OMP_NUM_THREADS": share, "LOKY_MAX_CPU_COUNT": share}
    environment = {**own, **_environment(PYTHONUNBUFFERED="1")}
    with ExitStack() as stack, interrupts_left_to_child() as interrupts:
        processes, printers, one_at_a_time, pipe = {}, [], Lock(), subprocess.PIPE
        for name, words in commands.items():
            processes[name] = stack.enter_context(
                _start(["--wait-for-lock", *words], folder, env=environment, stdout=pipe, stderr=pipe, text=True,
                       errors="backslashreplace")
            )  # fmt: skip
            for stream, out in ((processes[name].stdout, sys.stdout), (processes[name].stderr, sys.stderr)):
                printers.append(_Printer(stream, f"{name}: ", out, one_at_a_time))
        for printer in printers:
            printer.start()
        for printer in printers:
            printer.join()
        statuses = {name: process.wait() for name, process in processes.items()}
    failed = {name: status for name, status in statuses.items() if status}
    for name, status in failed.items():
        print(f"{name}: ended with exit status {status}", file=sys.stderr)
    if not failed and (broken := [printer.error for printer in printers if printer.error]):
        raise broken[0]
    return INTERRUPTED if failed and interrupts else next(iter(failed.values()), 0)


class _Printer(Thread):
    """Prints what comes, line by line, until the stream ends; empty lines are left out.

    Attributes:
        error: why nothing more could be printed; the stream is read to its end all the same, or its writer would wait
    """

    def __init__(self, stream: IO[str] | None, before: str, out: TextIO, one_at_a_time: Lock) -> None:
        super().__init__()
        assert stream is not None
        self.stream, self.before, self.out, self.one_at_a_time = stream, before, out, one_at_a_time
        self.error: OSError | None = None

    def run(self) -> None:
        """Called by `start`."""
        for line in self.stream:
            if line.strip() and self.error is None:
                try:
                    self._print(line.rstrip("\n"))
                except OSError as error:  # nobody reads it, or no room
                    self.error = error
                except ValueError as error:  # closed
                    self.error = OSError(f"{self.out.name}: expected an open stream, got {error}")

    def _print(self, line: str) -> None:
        encoding = self.out.encoding or "utf-8"
        shown = (self.before + line).encode(encoding, "backslashreplace").decode(encoding)
        with self.one_at_a_time:
            self.out.write(shown + "\n")  # at once: a stream without a buffer would let other lines in between
            self.out.flush()


def timed_repro(folder: Path) -> tuple[dict[str, float], int]:
    """Run `dvc repro` in a folder whose stages use the code in the current one.

    Returns:
        the seconds of each stage that ran, in order, and the exit status
    """
    code = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    environment = _environment(PYTHONPATH=code, PYTHONUNBUFFERED="1")
    process = _start(["repro"], folder, env=environment, stdout=subprocess.PIPE, text=True)
    with interrupts_left_to_child():
        seconds = _follow(process)
        return seconds, process.wait()


def _follow(process: "subprocess.Popen[str]") -> dict[str, float]:
    """Print the output of DVC at once, and time its stages: each lasts until the next begins, or the output ends."""
    starts: dict[str, float] = {}
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := RUNNING.search(line):
            starts[found[1]] = time.perf_counter()
    ends = [*list(starts.values())[1:], time.perf_counter()]
    return {stage: round(end - start, 1) for (stage, start), end in zip(starts.items(), ends, strict=False)}


def nearest(folder: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def cache_folder(folder: Path) -> Path:
    """Where DVC keeps its copies."""
    return nearest(folder / ".dvc" / (dvc_option(folder, "cache", "dir") or "cache"))


def keeps_copies(folder: Path) -> bool:
    """Whether DVC's cache holds every out a second time; reflinks, where there are any, count as copies."""
    kinds = [kind.strip() for kind in (dvc_option(folder, "cache", "type") or "copy").split(",")]
    return next((kind for kind in kinds if kind != "reflink"), "copy") == "copy"


def copies_by_disk(folder: Path) -> dict[Path, int]:
    """How many times the outs of a project lie on each of its disks, of which one folder each is named."""
    here, cache = nearest(folder), cache_folder(folder)
    if not keeps_copies(folder):
        return {here: 1}
    return {here: 2} if cache.stat().st_dev == here.stat().st_dev else {here: 1, cache: 1}
