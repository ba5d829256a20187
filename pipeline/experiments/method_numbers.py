"""The comparison of training methods in the page of numbers: its tables, its settings, and where it was made."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import StoreError
from pipeline.core.provenance import Provenance
from pipeline.core.text import read_text
from pipeline.core.typed_json import read_typed
from pipeline.experiments.method_runs import ORIGIN
from pipeline.experiments.method_tables import TABLE, TABLE_LINES

METHODS = "methods"  # folder of the record among those of the ablations
TITLE = "Training methods side by side"
CHOSEN = "chosen.json"
KEPT_TABLE = "table.txt"  # not .md: it is no page of its own
FILES = {TABLE: KEPT_TABLE, TABLE_LINES: TABLE_LINES, CHOSEN: CHOSEN, ORIGIN: ORIGIN}  # of the run, of the record


def add_methods(folder: Path, records: Path) -> Path:
    """Keep the result of `make methods` as a record, in place of an older one; return its folder.

    Raises:
        StoreError: if a file is missing
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise StoreError(f"{folder}: expected the files that `make methods` writes, found no {', '.join(missing)}")
    kept = records / METHODS
    kept.mkdir(parents=True, exist_ok=True)
    for name, kept_name in FILES.items():
        shutil.copyfile(folder / name, kept / kept_name)
    return kept


def methods_lines(records: Path) -> Iterator[str]:
    """The section of the page; nothing where there is no record."""
    kept = records / METHODS
    if not (kept / ORIGIN).is_file():
        return
    made = read_typed(Provenance, kept / ORIGIN)
    yield from ("", f"## {TITLE}", "", "What is compared, and what it says: [methods](methods.md).", "")
    yield from read_text(kept / KEPT_TABLE).rstrip().splitlines()
    links = f"[a line for each run]({records.name}/{METHODS}/{TABLE_LINES})"
    yield from ("", "```", "make methods", "```", "")
    yield f"- {links}, [settings chosen]({records.name}/{METHODS}/{CHOSEN})"
    yield f"- commit {made.code.title}; machine: {made.machine.title}"
