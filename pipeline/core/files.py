"""Files that are written completely or not at all; the same content gives the same bytes."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from pipeline.core.errors import NO_ROOM, StoreError


def write_bytes(path: Path, data: bytes) -> str:
    """Write `data` so that `path` is either the old file or the whole new one; return its sha256.

    The temporary file lies in the same folder, hence on the same file system: the rename is atomic.
    """
    return write_pieces(path, [data], len(data))


def write_pieces(path: Path, pieces: Iterable[bytes], size: int = 0) -> str:
    """As `write_bytes`, of pieces that need not be in memory at the same time.

    Args:
        size: of all of them, for the message where there is no room; 0: not known
    """
    digest = hashlib.sha256()
    with explained(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece)
                    digest.update(piece)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return digest.hexdigest()


@contextmanager
def explained(path: Path, size: int = 0) -> Iterator[None]:
    """Writing below this, a disk that is full is an error with the file, the room that is left, and what to do.

    Raises:
        StoreError: where there is no room for the file, of so many bytes if that is known
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        folder = next(folder for folder in path.absolute().parents if folder.is_dir())
        wanted = f"room for {size / 1e6:.1f} MB" if size else "room"
        raise StoreError(
            f"{path}: expected {wanted} in {folder}, found {shutil.disk_usage(folder).free / 1e6:.1f} MB free "
            f"({error.strerror}); free some, `dvc gc --workspace` removes what no run uses, and start the stage again"
        ) from error


def write_text(path: Path, text: str) -> str:
    """Write `text` as UTF-8 with `\\n` line ends, atomically; return the sha256."""
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> str:
    """Write `value` as JSON with sorted keys, atomically; NaN and infinity are refused (JSON has none)."""
    return write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StoreError: if the file is missing or is not JSON
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: expected a file, found none; likely the stage that makes it has not run") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{path}: expected JSON, got {error}") from error


def sha256(path: Path) -> str:
    """Return the sha256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, made if it is not there; it appears when it is complete."""
    if not folder.is_dir():
        with TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            make(made)
            with suppress(OSError):  # another process was faster: its folder is the same
                made.rename(folder)
    return folder


def unused(path: Path) -> Path:
    """The path, or the first of `<path>-2`, `<path>-3`, … at which there is no file."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(one for one in chain([path], numbered) if not one.exists())


def why_unwritable(folder: Path) -> tuple[Path, str, str] | None:
    """Why no file can be made in a folder, or in the first one above it that is there: place, problem, what to do.

    None if one can.
    """
    place = next(place for place in (folder, *folder.parents) if place.exists() or place.is_symlink())
    if not place.is_dir():
        kind = "a link that leads nowhere" if place.is_symlink() else "a file"
        return place, f"expected a folder to write to, got {kind}", f"mv {place} elsewhere"
    try:
        with TemporaryFile(dir=place):
            return None
    except OSError as error:
        hint = "chmod u+w, chown, or put the project on a disk that can be written"
        return place, f"expected a folder to write to, got {error}", hint
