"""Files of DVC that it was writing when it was killed, and cannot read again: put aside before it starts.

DVC writes two files in place: `.dvc/tmp/rwlock`, which says what is being read and written, and `dvc.lock`, which says
what each stage was made of. A kill, or a full disk, can leave half of one, and then every `dvc repro` ends with an
error. They hold nothing that is not elsewhere: without the first nothing is busy, and without the second DVC finds the
outputs of finished stages in its cache.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class Written:
    """A file that DVC writes in place.

    Attributes:
        name: below the project's folder
        guard: the file that a DVC locks meanwhile
        is_whole: whether DVC could read such a text
        instead: what DVC does without it
    """

    name: str
    guard: str
    is_whole: Callable[[str], bool]
    instead: str


def put_aside_damaged(folder: Path) -> list[Path]:
    """Rename files that DVC cannot read to `<name>.damaged`, and say so; one that a DVC writes now is left alone.

    Args:
        folder: of the project; nothing happens where DVC has not run

    Returns:
        the files, as they are called now
    """
    found = []
    for one in WRITTEN:
        path = folder / one.name
        with _locked(folder / one.guard) as is_ours:
            if is_ours and path.is_file() and not one.is_whole(path.read_text(encoding="utf-8", errors="replace")):
                found.append(path.replace(path.with_name(path.name + DAMAGED)))
                print(
                    f"note: {path}: half written, likely by a DVC that was killed; it is now {found[-1].name}, and "
                    f"{one.instead}",
                    file=sys.stderr,
                )
    return found


@contextmanager
def _locked(guard: Path) -> Iterator[bool]:
    """Hold DVC's lock; whether that worked: another DVC may have it, or DVC has never run."""
    import zc.lockfile  # DVC's own

    if not guard.parent.is_dir():
        yield False
        return
    try:
        lock = zc.lockfile.LockFile(str(guard))
    except zc.lockfile.LockError:
        yield False
        return
    try:
        yield True
    finally:
        lock.close()


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is_lock_file(text: str) -> bool:
    """Whether `dvc.lock` is complete, by DVC's own schema."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    try:
        values: Any = YAML(typ="safe").load(text)
        COMPILED_LOCKFILE_SCHEMA(values)
    except (YAMLError, Invalid):
        return False
    return True


WRITTEN = (
    Written(".dvc/tmp/rwlock", ".dvc/tmp/rwlock.lock", _is_json, "nothing counts as busy"),
    Written("dvc.lock", ".dvc/tmp/lock", _is_lock_file, "DVC looks for finished stages in its cache"),
)
