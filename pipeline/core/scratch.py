"""Finished parts of a stage that was stopped, for the next run of the same settings, inputs and code.

DVC removes the outs of a stage before it runs again, so parts lie beside them, in `scratch/<stage>/<fingerprint>`. The
fingerprint is a digest of everything that decides the result; parts of another one are never used. A part is one file
with the digest of its content in its name: what a broken disk changed is not used either. At the end of the stage all
parts are removed.

What stays when a stage is done lies in the same folder `scratch`, see `core.reuse`: the shards of maps and predictions.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.files import sha256, write_bytes
from pipeline.core.rank import this_rank
from pipeline.core.reuse import SCRATCH, code_digest, digest
from pipeline.core.settings import decisive

DIGITS = 32  # of a digest in a file name


class Interval:
    """Says when so many minutes have passed since it was last asked with success; 0: always."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """Whether the interval is over; then the next one begins."""
        if time.monotonic() - self._last < self.seconds:
            return False
        self._last = time.monotonic()
        return True


@dataclass(frozen=True, slots=True)
class Scratch:
    """The finished parts of one stage under one fingerprint.

    Attributes:
        folder: where they lie; made with the first part
        interval: between two parts that are kept because of the time alone
    """

    folder: Path
    interval: Interval = field(default_factory=lambda: Interval(0))

    def keep(self, name: str, data: bytes) -> None:
        """Keep a part, completely or not at all, in the place of one that has this name."""
        earlier = self._files(name)
        path = self.folder / f"{name}.{hashlib.sha256(data).hexdigest()[:DIGITS]}"
        write_bytes(path, data)
        for old in earlier:
            if old != path:
                old.unlink(missing_ok=True)

    def find(self, name: str) -> Path | None:
        """The file of a part; None if there is none, or if it is damaged."""
        for path in self._files(name):
            if sha256(path)[:DIGITS] == path.name.rpartition(".")[2]:
                return path
        return None

    def names(self, prefix: str) -> list[str]:
        """The names of all parts that begin like this, sorted; one of them may be damaged."""
        if not self.folder.is_dir():
            return []
        found = {path.name.rpartition(".")[0] for path in self.folder.iterdir() if path.is_file()}
        return sorted(name for name in found if name.startswith(prefix))

    def drop(self, name: str) -> None:
        """Remove a part."""
        for path in self._files(name):
            path.unlink(missing_ok=True)

    def end(self) -> None:
        """Remove all parts: the stage is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self.folder.parents[:2]:
            with suppress(OSError):  # it holds parts of others
                folder.rmdir()

    def _files(self, name: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as entries:  # a path for each of ten thousand parts would take much longer
            return [Path(entry.path) for entry in entries if entry.name.rpartition(".")[0] == name]


def open_scratch(
    beside: Path, stage: str, sections: Sequence[Mapping[str, Any]], inputs: Iterable[Path], minutes: float = 0
) -> Scratch:
    """The parts of a stage that runs now, which are counted; those of other settings, inputs or code are removed, which
    is said, too.

    Args:
        beside: an out of the stage, `data/<track>/…`
        sections: settings, ready for JSON; keys of the stage that change no result do not count
        inputs: files and folders that the stage reads; a missing one is another input than an empty one
        minutes: of `Scratch.interval`
    """
    home = beside.parent / SCRATCH / stage
    kept = [decisive(stage, section) for section in sections]
    fingerprint = digest([kept, [_content(path) for path in inputs], code_digest()])
    scratch = Scratch(home / fingerprint[:DIGITS], Interval(minutes))
    removes = home.is_dir() and this_rank().number == 0
    others = [path for path in home.iterdir() if path != scratch.folder] if removes else []
    for other in others:
        shutil.rmtree(other, ignore_errors=True)
    if others:
        print(
            f"note: {stage} starts anew: settings, inputs or code are not those of the run that was stopped",
            file=sys.stderr,
        )
    if this_rank().number == 0 and (parts := len(scratch.names(""))):
        print(f"note: {stage} goes on where it was stopped; finished parts that were kept: {parts}", file=sys.stderr)
    return scratch


def rows_and_images(manifest: Path, splits: Iterable[str]) -> list[Path]:
    """The files that hold the rows of these splits, and those with images that were drawn for them.

    Images that lie elsewhere are not read: there may be a million. Their sizes are in the rows.
    """
    return [
        path
        for split in splits
        for path in (manifest / f"{split}.parquet", manifest.with_name("drawn") / f"{split}.zip")
    ]


def _content(path: Path) -> Any:
    """What a file or a folder holds: digests by relative path, ready for JSON."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [[file.relative_to(path).as_posix(), sha256(file)] for file in files]
    return sha256(path) if path.is_file() else None
