"""Measure: `make bench`, or `python -m benchmarks`. Prints the table and keeps it in files and docs/performance.md."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.demo import demo_seconds
from benchmarks.harness import MOST_SECONDS, Outcome, run_alone
from benchmarks.machine import machine_name
from benchmarks.page import PAGE, rewrite, section
from benchmarks.records import FOLDER, Record, add_outcome, read_record, read_records, write_record
from benchmarks.works import WORKS, Work, chosen

DEVICES = ("cpu", "cuda")


def run_works(
    works: Sequence[Work], call: Callable[[Work], Outcome], device: str, record: Record, folder: Path
) -> Record:
    """Measure one work after the other, and keep each as it ends: a stop loses one work."""
    for work in works:
        print(f"{work.name} ...", file=sys.stderr, flush=True)
        outcome = call(work)
        print(f"{work.name}: {_told(outcome)}", file=sys.stderr, flush=True)
        record = add_outcome(record, work, outcome, device)
        write_record(folder, record)
    return record


def _told(outcome: Outcome) -> str:
    if outcome.skipped:
        return f"skipped: {outcome.skipped}"
    if outcome.failed:
        return f"failed: {outcome.failed}"
    return " ".join(f"{ratio:.3g}" for ratio in outcome.ratios)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, keep, print; 1 if a work failed."""
    args = _parser().parse_args(arguments)
    try:
        works = chosen([name for name in args.only.split(",") if name], args.device)
        machine = machine_name(args.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    call = partial(run_alone, device=args.device, seconds=args.seconds)
    record = run_works(works, call, args.device, read_record(args.results, machine), args.results)
    failed = {entry["work"] for entry in record["failed"]} & {work.name for work in works}
    if args.demo:
        record["demo"] = demo_seconds()
        write_record(args.results, record)
    args.page.write_text(rewrite(args.page.read_text(encoding="utf-8"), read_records(args.results)), encoding="utf-8")
    print(section(record))
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(work.name for work in WORKS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=f"works: {names}")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="cuda: the works that a GPU changes, on a GPU")
    parser.add_argument("--only", default="", metavar="WORK,WORK", help="these works; the others keep their results")
    parser.add_argument("--seconds", type=float, default=MOST_SECONDS, help="a work that takes longer has failed")
    parser.add_argument("--demo", action="store_true", help="the seconds of the demo, too: some minutes")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results; default: benchmarks/")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that gets the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
