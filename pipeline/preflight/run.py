"""All checks in their order. One that breaks becomes a finding, and the others go on."""

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.settings import PARAMS
from pipeline.core.tracks import TRACKS
from pipeline.preflight.context import Context, NotCheckedError
from pipeline.preflight.findings import Row, limit, show, summary

# module and function of every check, imported when its turn comes: a library that is broken breaks one check, not all
FIRST = (  # of the machine
    "params.check_params",
    "machine.check_python",
    "machine.check_packages",
    "machine.check_opencv",
    "machine.check_crf",
    "machine.check_dvc",
    "disk.check_outputs",
)
EACH = (  # of each track
    "params.check_percentile",
    "params.check_validation_labels",
    "params.check_processes",
    "machine.check_hardware",
    "listing.check_roots",
    "listing.check_listing",
    "listing.check_counts",
    "lists.check_lists",
    "listing.check_annotations",
    "images.check_images",
    "model.check_model",
    "model.check_weights",
    "disk.check_memory",
    "timing.check_trial",
    "durations.check_durations",
)
LAST = ("disk.check_disk",)  # of both tracks together


def preflight(context: Context) -> Iterator[Row]:
    """Run every check, of the machine and of both tracks; rows come as they are found."""
    for name in FIRST:
        yield from guarded(name, context)
    for track in TRACKS.values():
        for name in EACH:
            yield from (replace(row, track=track.name) for row in guarded(name, context, track))
    for name in LAST:
        yield from guarded(name, context)


def guarded(name: str, *given: Any) -> list[Row]:
    """The rows of one check; what it raises is its last row."""
    module, _, function = name.partition(".")
    short = function.removeprefix("check_")
    rows: list[Row] = []
    try:
        for row in getattr(importlib.import_module(f"pipeline.preflight.{module}"), function)(*given):
            rows.append(row)  # one by one: what came before an exception is kept
    except NotCheckedError as error:
        rows.append(Row("WARN", short, "", str(error), "mend what stands above and run this again"))
    except Exception as error:  # the one place that catches all: a preflight that breaks helps nobody
        text = f"expected this check to end, got {type(error).__name__}: {' '.join(str(error).split())}"
        rows.append(
            Row("FAIL", short, f"pipeline.preflight.{name}", text, "likely damaged data, or a mistake in the check")
        )
    return limit(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; return 1 if anything is FAIL."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.preflight", description=__doc__)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the trial, about; default: 1")
    parser.add_argument("--no-trial", action="store_true", help="no trial, hence no durations")
    parser.add_argument("--sample", type=int, default=150, help="images of each split that are decoded; default: 150")
    parser.add_argument("--seed", type=int, default=0, help="which images; default: 0")
    args = parser.parse_args(arguments)
    context = Context(args.params, Path(), 0.0 if args.no_trial else args.minutes, args.sample, args.seed)
    start = time.monotonic()
    rows = []
    for row in preflight(context):
        print(show(row), flush=True)
        rows.append(row)
    print(f"\n{summary(rows, time.monotonic() - start)}")
    return int(any(row.level == "FAIL" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
