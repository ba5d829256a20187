"""A file of finished trials, one line of JSON each; an incomplete last line is dropped."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.core.files import write_text


def fingerprint(value: Any) -> str:
    """A short name for plain values; equal values give equal names.

    >>> fingerprint({"a": 1, "b": 2.0}) == fingerprint({"b": 2.0, "a": 1}), len(fingerprint([]))
    (True, 16)
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Journal:
    """Records by key, on disk. Several readers, one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            self._read()

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = [line for line in text.split("\n") if _record(line)]
        for line in whole:
            record = json.loads(line)
            self.records[record["key"]] = record
        kept = "".join(f"{line}\n" for line in whole)
        if kept != text:  # the last line is incomplete: the process stopped while writing it
            write_text(self.path, kept)

    def add(self, record: dict[str, Any]) -> None:
        """Append one record, which names its `key`; it is on the disk when this returns."""
        line = json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        with self.path.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.records[record["key"]] = record


def _record(line: str) -> bool:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return False
    return isinstance(value, dict) and "key" in value
