"""Files of DVC that stop it after it was killed: repaired before it starts.

DVC writes two files in place: `.dvc/tmp/rwlock`, which says what is being read and written by which process, and
`dvc.lock`, which says what each stage was made of. A kill, or a full disk, can leave half of one, and then every `dvc
repro` ends with an error: such a file is renamed. Without the first nothing is busy; without the second DVC finds the
outputs of stages that ran here in its cache.

The first also names processes that were killed. DVC forgets those that are gone, but is refused by one that nobody has
collected, as in containers without an init, and by a new process with an old number: their entries are removed.
"""

import configparser
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import unused, write_bytes

DAMAGED = ".damaged"
TOLERANCE = 60.0  # seconds between the clocks of files and of processes
BUSY, BUSY_GUARD = ".dvc/tmp/rwlock", ".dvc/tmp/rwlock.lock"


@dataclass(frozen=True, slots=True)
class Written:
    """A file that DVC writes in place.

    Attributes:
        name: below the project's folder
        guard: the file that a DVC locks meanwhile
        problem: why DVC could not read this content; None if it can
        instead: what DVC does without it
    """

    name: str
    guard: str
    problem: Callable[[bytes], str | None]
    instead: str


def repair(folder: Path) -> None:
    """Put damaged files aside and forget processes that have ended, each with a line on stderr.

    Args:
        folder: of the project; nothing happens where DVC has not run, or locks by hard links (`core.hardlink_lock`)
    """
    put_aside_damaged(folder)
    forget_ended(folder)


def put_aside_damaged(folder: Path) -> list[Path]:
    """Rename files that DVC cannot read to `<name>.damaged`, and say so; one that a DVC writes now is left alone.

    Returns:
        the files, as they are called now
    """
    found = []
    for one in WRITTEN:
        path = folder / one.name
        if not _problem(path, one):
            continue
        with _locked(folder, one.guard) as is_ours:
            if is_ours and (problem := _problem(path, one)):  # nobody was writing it
                found.append(path.replace(unused(path.with_name(path.name + DAMAGED))))
                print(
                    f"note: {path}: expected a file as DVC writes it, got {problem}; likely a DVC was killed "
                    f"meanwhile. It is now {found[-1].name}, and {one.instead}",
                    file=sys.stderr,
                )
    return found


def forget_ended(folder: Path) -> list[int]:
    """Remove the entries of processes that have ended from the list of what is busy, and say so.

    Returns:
        the numbers of these processes, in order
    """
    path = folder / BUSY
    if not _ended(path):
        return []
    with _locked(folder, BUSY_GUARD) as is_ours:
        ended = _ended(path) if is_ours else []  # again: nobody changes it now
        if ended:
            write_bytes(path, json.dumps(_without(json.loads(path.read_bytes()), ended)).encode())
            numbers = ", ".join(map(str, ended))
            print(f"note: {path}: removed what processes that have ended were busy with ({numbers})", file=sys.stderr)
    return ended


def dvc_option(folder: Path, section: str, name: str) -> str | None:
    """An option of the project's DVC; None if it is not set."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([folder / ".dvc" / "config", folder / ".dvc" / "config.local"], encoding="utf-8")
    return config.get(section, name, fallback=None)


@contextmanager
def _locked(folder: Path, guard: str) -> Iterator[bool]:
    """Hold a lock of DVC's; whether that worked: another DVC may have it, or the folder may not be written to."""
    import zc.lockfile  # DVC's own

    try:
        if dvc_option(folder, "core", "hardlink_lock") not in (None, "false"):
            raise zc.lockfile.LockError("it locks in another way")
        lock = zc.lockfile.LockFile(str(folder / guard))
    except (zc.lockfile.LockError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.close()


# --- what cannot be read ----------------------------------------------------------------------------------------------


def _problem(path: Path, one: Written) -> str | None:
    return one.problem(path.read_bytes()) if path.is_file() else None


def _problem_of_busy(content: bytes) -> str | None:
    """What is wrong with the list of what is being read and written, by which process."""
    try:
        json.loads(content)
    except ValueError as error:
        return f"half of one ({error})"
    return None


def _problem_of_lock_file(content: bytes) -> str | None:
    """Why a `dvc.lock` is not complete. One of a merge with conflicts is a matter for git, one of another DVC's schema
    for that DVC."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    if any(line.startswith(b"<<<<<<< ") for line in content.splitlines()):
        return None
    try:
        found = YAML(typ="safe").load(content.decode())
        if isinstance(found, dict) and found.get("schema") not in (None, SCHEMA):
            return None
        COMPILED_LOCKFILE_SCHEMA(found)
    except (YAMLError, Invalid, ValueError) as error:
        return f"half of one ({' '.join(str(error).split())})"
    return None


# --- processes that have ended ----------------------------------------------------------------------------------------


def _ended(path: Path) -> list[int]:
    """Processes that a list of what is busy names, and that have ended; none in a list of another form."""
    try:
        written, users = path.stat().st_mtime, _users(json.loads(path.read_bytes()))
        return sorted({user["pid"] for user in users if _has_ended(user["pid"], written)})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _users(busy: Mapping[str, Any]) -> list[Any]:
    return [*busy.get("write", {}).values(), *(one for some in busy.get("read", {}).values() for one in some)]


def _has_ended(process: int, written: float) -> bool:
    """Whether a process that was named in a file when it was last written has ended.

    So it has, too, if it is there and its parent has not taken note of its end. One that is no DVC and began later is
    another one with the same number.
    """
    import psutil  # when it is needed: other commands start faster

    try:
        found = psutil.Process(process)
        is_another = found.create_time() > written + TOLERANCE and not any("dvc" in word for word in found.cmdline())
        return bool(found.status() == psutil.STATUS_ZOMBIE or is_another)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # of another user
        return False


def _without(busy: Mapping[str, Any], ended: Sequence[int]) -> dict[str, Any]:
    """A list of what is busy without the entries of some processes."""
    write = {path: user for path, user in busy.get("write", {}).items() if user["pid"] not in ended}
    read = {path: [user for user in users if user["pid"] not in ended] for path, users in busy.get("read", {}).items()}
    return {"write": write, "read": {path: users for path, users in read.items() if users}}


SCHEMA = "2.0"  # of dvc.lock
WRITTEN = (
    Written(BUSY, BUSY_GUARD, _problem_of_busy, "nothing counts as busy"),
    Written("dvc.lock", ".dvc/tmp/lock", _problem_of_lock_file, "DVC looks for finished stages in its cache"),
)
