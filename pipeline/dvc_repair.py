"""Files of DVC that it cannot use again after it was killed: put aside before it starts.

DVC writes two files in place: `.dvc/tmp/rwlock`, which says what is being read and written, and `dvc.lock`, which says
what each stage was made of. A kill, or a full disk, can leave half of one, and then every `dvc repro` ends with an
error. The first also names processes that are dead, but that nobody has collected, as in containers without an init:
DVC would wait for them. Without it nothing is busy; without the second DVC finds the outputs of stages that ran here in
its cache.
"""

import configparser
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.files import unused

DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class Written:
    """A file that DVC writes in place.

    Attributes:
        name: below the project's folder
        guard: the file that a DVC locks meanwhile
        problem: why DVC could not use this content; None if it can
        instead: what DVC does without it
    """

    name: str
    guard: str
    problem: Callable[[bytes], str | None]
    instead: str


def put_aside_damaged(folder: Path) -> list[Path]:
    """Rename files that DVC cannot read to `<name>.damaged`, and say so; one that a DVC writes now is left alone.

    Args:
        folder: of the project; nothing happens where DVC has not run, or locks by hard links (`core.hardlink_lock`)

    Returns:
        the files, as they are called now
    """
    found = []
    for one in WRITTEN:
        path = folder / one.name
        if not _problem(path, one) or dvc_option(folder, "core", "hardlink_lock") not in (None, "false"):
            continue
        with _locked(folder / one.guard) as is_ours:
            if is_ours and (problem := _problem(path, one)):  # nobody was writing it
                found.append(path.replace(unused(path.with_name(path.name + DAMAGED))))
                print(
                    f"note: {path}: {problem}, likely a DVC was killed; it is now {found[-1].name}, and {one.instead}",
                    file=sys.stderr,
                )
    return found


def dvc_option(folder: Path, section: str, name: str) -> str | None:
    """An option of the project's DVC; None if it is not set."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([folder / ".dvc" / "config", folder / ".dvc" / "config.local"], encoding="utf-8")
    return config.get(section, name, fallback=None)


def _problem(path: Path, one: Written) -> str | None:
    return one.problem(path.read_bytes()) if path.is_file() else None


@contextmanager
def _locked(guard: Path) -> Iterator[bool]:
    """Hold DVC's lock; whether that worked: another DVC may have it, or the folder may not be written to."""
    import zc.lockfile  # DVC's own

    try:
        lock = zc.lockfile.LockFile(str(guard))
    except (zc.lockfile.LockError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.close()


def _problem_of_busy(content: bytes) -> str | None:
    """What is wrong with the list of what is being read and written, by which process."""
    try:
        paths = json.loads(content)
        users = [*paths.get("write", {}).values(), *(one for some in paths.get("read", {}).values() for one in some)]
        processes = {int(user["pid"]) for user in users if user}
    except (ValueError, TypeError, KeyError, AttributeError):
        return "half written"
    return "only dead processes are named" if processes and all(map(_is_dead, processes)) else None


def _is_dead(process: int) -> bool:
    """Whether a process has ended, also if its parent has not taken note of it."""
    import psutil  # when it is needed: other commands start faster

    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # of another user
        return False


def _problem_of_lock_file(content: bytes) -> str | None:
    """Whether a `dvc.lock` is complete, by DVC's own schema. That of a merge with conflicts is a matter for git."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    if any(line.startswith(b"<<<<<<< ") for line in content.splitlines()):
        return None
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content.decode()))
    except (YAMLError, Invalid, UnicodeDecodeError):
        return "half written"
    return None


WRITTEN = (
    Written(".dvc/tmp/rwlock", ".dvc/tmp/rwlock.lock", _problem_of_busy, "nothing counts as busy"),
    Written("dvc.lock", ".dvc/tmp/lock", _problem_of_lock_file, "DVC looks for finished stages in its cache"),
)
