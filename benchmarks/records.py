"""The files of results: `results/<machine>.json` for every machine, and `results.json`, the rows of the last one.

A machine's file holds `machine`, `results` (rows as `harness.row` makes them), `skipped` and `failed` (entries of
`work` and `reason`), and `demo`, the seconds of each stage of the demo, where they were measured.
"""

from pathlib import Path
from typing import Any

from benchmarks.harness import Outcome, row
from benchmarks.machine import file_name
from benchmarks.works import WORKS, Work
from pipeline.core.files import read_json, write_json

FOLDER = Path(__file__).resolve().parent
LISTS = ("results", "skipped", "failed")
ORDER = [work.name for work in WORKS]
Record = dict[str, Any]


def read_records(folder: Path = FOLDER) -> list[Record]:
    """One record a machine, in the order of their files."""
    return [read_json(path) for path in sorted((folder / "results").glob("*.json"))]


def read_record(folder: Path, machine: str) -> Record:
    """What is known of a machine; nothing yet is an empty record."""
    path = folder / "results" / file_name(machine)
    return read_json(path) if path.is_file() else {"machine": machine, **{name: [] for name in LISTS}}


def add_outcome(record: Record, work: Work, outcome: Outcome, device: str) -> Record:
    """A record with this outcome in place of what was known of the work; works that are gone are left out."""
    other = set(ORDER) - {work.name}
    lists = {name: [entry for entry in record[name] if entry["work"] in other] for name in LISTS}
    where, entry = _entry(work, outcome, record["machine"], device)
    lists[where] = sorted([*lists[where], entry], key=lambda entry: ORDER.index(entry["work"]))
    return {**record, **lists}


def _entry(work: Work, outcome: Outcome, machine: str, device: str) -> tuple[str, dict[str, Any]]:
    """The list it belongs to, and the entry."""
    if outcome.skipped:
        return "skipped", {"work": work.name, "reason": outcome.skipped}
    if outcome.failed:
        return "failed", {"work": work.name, "reason": outcome.failed}
    return "results", row(work, outcome.ratios, machine, device)


def write_record(folder: Path, record: Record) -> None:
    """Write the machine's file, and `results.json`; files of other machines stay as they are."""
    write_json(folder / "results" / file_name(record["machine"]), record)
    write_json(folder / "results.json", record["results"])
