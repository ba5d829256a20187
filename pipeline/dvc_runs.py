"""DVC in the foreground, with this Python: one command or several at once, its exit status, how long each stage took.

And where its cache is.
"""

import configparser
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import IO

from pipeline.core.signals import interrupts_left_to_child

INTERRUPTED = 128 + signal.SIGINT
RUNNING = re.compile(r"Running stage '([^']+)'")


def _environment(**more: str) -> Mapping[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # stages start `python`
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **more}


def dvc(words: Sequence[str], folder: Path | None = None) -> int:
    """Run a command of DVC, in the current folder if no other is given.

    Returns:
        its exit status; 130, as shells have it, if Ctrl-C ended it
    """
    command = [sys.executable, "-m", "dvc", *words]
    with subprocess.Popen(command, cwd=folder, env=_environment()) as process, interrupts_left_to_child() as interrupts:
        status = process.wait()
    return INTERRUPTED if status and interrupts else status


def dvc_at_once(commands: Mapping[str, Sequence[str]], folder: Path | None = None) -> int:
    """Run several commands of DVC at the same time; each line that they print begins with the name of its command.

    They wait for each other where DVC reads and writes its own files; the stages run side by side. Each command gets
    its share of the cores, as threads and for `jobs: -1` as processes, unless the variables below say how many. If one
    fails, the others go on.

    Returns:
        the first exit status that is not 0; 130, as shells have it, if Ctrl-C ended them
    """
    import joblib  # when it is needed: other commands start faster

    share = str(max(1, joblib.cpu_count() // len(commands)))
    own = {"OMP_NUM_THREADS": share, "LOKY_MAX_CPU_COUNT": share}
    environment = {**own, **_environment(PYTHONUNBUFFERED="1")}
    with ExitStack() as stack, interrupts_left_to_child() as interrupts:
        processes, printers = [], []
        for name, words in commands.items():
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "dvc", "--wait-for-lock", *words], cwd=folder, env=environment,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                )
            )  # fmt: skip
            processes.append(process)
            for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                printers.append(Thread(target=_print_lines, args=(stream, f"{name}: ", out)))
        for printer in printers:
            printer.start()
        for printer in printers:
            printer.join()
        statuses = [process.wait() for process in processes]
    failed = next(filter(None, statuses), 0)
    return INTERRUPTED if failed and interrupts else failed


def _print_lines(stream: IO[str], before: str, out: IO[str]) -> None:
    """Print what comes, line by line, until the stream ends; empty lines are left out."""
    for line in stream:
        if line.strip():
            print(before + line, end="" if line.endswith("\n") else "\n", file=out, flush=True)


def timed_repro(folder: Path) -> tuple[dict[str, float], int]:
    """Run `dvc repro` in a folder whose stages use the code in the current one.

    Returns:
        the seconds of each stage that ran, in order, and the exit status
    """
    code = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    environment = _environment(PYTHONPATH=code, PYTHONUNBUFFERED="1")
    command = [sys.executable, "-m", "dvc", "repro"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
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
    return nearest(folder / ".dvc" / (_dvc_option(folder, "dir") or "cache"))


def keeps_copies(folder: Path) -> bool:
    """Whether DVC's cache holds every out a second time; reflinks, where there are any, count as copies."""
    kinds = [kind.strip() for kind in (_dvc_option(folder, "type") or "copy").split(",")]
    return next((kind for kind in kinds if kind != "reflink"), "copy") == "copy"


def copies_by_disk(folder: Path) -> dict[Path, int]:
    """How many times the outs of a project lie on each of its disks, of which one folder each is named."""
    here, cache = nearest(folder), cache_folder(folder)
    if not keeps_copies(folder):
        return {here: 1}
    return {here: 2} if cache.stat().st_dev == here.stat().st_dev else {here: 1, cache: 1}


def _dvc_option(folder: Path, name: str) -> str | None:
    config = configparser.ConfigParser(interpolation=None)
    config.read([folder / ".dvc" / "config", folder / ".dvc" / "config.local"], encoding="utf-8")
    return config.get("cache", name, fallback=None)
