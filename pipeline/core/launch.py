"""A stage on several devices: its own command under the launcher of its settings, and which of its processes this is.

The launcher starts the command once for each device and tells every process its rank, as `torchrun` does, and `srun` of
Slurm. It is read here, before any library that computes, and stands neither in a command of DVC nor in its params: a
stage has the same command on every machine. What ranks say to each other: `core.distributed`.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from pipeline.core.errors import SettingsError, run
from pipeline.core.rank import MESSAGES, TOLD_BY_SLURM, TOLD_BY_TORCHRUN, is_launched, rank_of
from pipeline.core.settings import PARAMS, read_params, section

ALONE = "python"  # no launcher: one process
TORCHRUN = ("torchrun", "torch.distributed.run")  # they start scripts with their own interpreter
OTHER_PYTHON = re.compile(r".*/python[\d.]*|python[\d.]+")  # `python` is the interpreter of the stage
# exit status of a subprocess, and of a shell or srun
KILLED = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGKILL, 128 + signal.SIGTERM)


def check_launcher(launcher: str) -> str:
    """The launcher as it was given.

    Raises:
        ValueError: if it is no command, or an interpreter, which would read the stage's own as a script
    """
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise ValueError(f"expected {ALONE!r} or a command such as 'torchrun …', got {launcher!r} ({error})") from None
    if not words:
        raise ValueError(f"expected {ALONE!r} or a command such as 'torchrun …', got {launcher!r}")
    if OTHER_PYTHON.fullmatch(words[0]) and all(word.startswith("-") and word != "-m" for word in words[1:]):
        raise ValueError(
            f"expected {ALONE!r}, which is the interpreter of the stage, or a command such as 'torchrun …', got "
            f"{launcher!r}, which names an interpreter"
        )
    return launcher


Launcher = Annotated[str, AfterValidator(check_launcher)]


def launch(stage: str, switch: str | None = None) -> None:
    """Run this program under the launcher of its settings and end as it does; return if there is none, or in a rank.

    Args:
        switch: key of the section that is false where the stage does nothing, which needs one process
    """
    rank = rank_of(os.environ)
    if rank is None:
        run(partial(_launch, stage, switch))
    elif rank.number:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (to the end; what is done is said once)


def _launch(stage: str, switch: str | None) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--params", type=Path, nargs="+", default=[PARAMS])
    parser.add_argument("--track")
    args, _ = parser.parse_known_args()
    if args.track is None:  # `--help`, or a mistake that the stage names
        return
    path, key = args.params[0], f"tracks.{args.track}.{stage}"
    if is_launched():  # else each would train everything, and write the same files
        raise SettingsError(
            f"{path}: {key}.launcher: expected a launcher that tells each process its rank in {TOLD_BY_TORCHRUN} or "
            f"{TOLD_BY_SLURM}, found none of these variables; use torchrun or srun"
        )
    settings = section(read_params(path), key, path)
    launcher = settings.get("launcher", ALONE) if isinstance(settings, Mapping) else ALONE
    if isinstance(launcher, str) and launcher.strip() != ALONE and (switch is None or settings.get(switch)):
        sys.exit(run_ranks(command_of(launcher, sys.argv, f"{path}: {key}.launcher"), launcher))


def command_of(launcher: str, arguments: Sequence[str], key: str) -> list[str]:
    """The words of the command that starts a program of Python, with its arguments, under a launcher.

    `torchrun` is that of this interpreter, whatever PATH finds.

    Args:
        key: of the launcher, named in errors

    Raises:
        SettingsError: if it is no command, or its program is not there
    """
    try:
        program, *words = shlex.split(check_launcher(launcher))
    except ValueError as error:
        raise SettingsError(f"{key}: {error}") from None
    runs_scripts = any(word.rpartition("/")[2] in TORCHRUN for word in (program, *words))
    if program == "torchrun":
        start = [sys.executable, "-m", "torch.distributed.run"]
    elif program == ALONE:
        start = [sys.executable]
    elif shutil.which(program) is None:
        raise SettingsError(f"{key}: expected a program on PATH, found none called {program!r}")
    else:
        start = [program]
    # after `--` torchrun takes no option of the script for a short form of its own
    return [*start, *words, "--" if runs_scripts else sys.executable, *arguments]


def run_ranks(command: Sequence[str], launcher: str) -> int | str:
    """Run all ranks; what `sys.exit` takes: 0, or the message of the rank that ended first."""
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        done = subprocess.run(command, env={**os.environ, MESSAGES: folder}, check=False)
        if not done.returncode:
            return 0
        said = sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        if said:
            return f"error: {said[0].read_text(encoding='utf-8')}"
    reason = (
        "likely one was killed (out of memory, or of time)"
        if done.returncode in KILLED
        else "the launcher ended; the reason is above: its own, or that of a rank that it ended with"
    )
    return (
        f"error: expected all ranks of {launcher!r} to end well, got exit status {done.returncode}, and no rank said "
        f"why; {reason}. What is finished is kept, the same command goes on from there"
    )
