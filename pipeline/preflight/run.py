"""All checks in their order. One that breaks becomes a finding, and the others go on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pipeline.core.tracks import TRACKS
from pipeline.preflight import costs, listing, machine, model, params, timing
from pipeline.preflight.context import Context, NotCheckedError
from pipeline.preflight.findings import Row, fail, limit, show, summary, warn

Check = tuple[str, Callable[..., Iterator[Row]]]  # the name that its rows show, and what it calls

OF_THE_MACHINE: tuple[Check, ...] = (
    ("params", params.check_params),
    ("packages", machine.check_packages),
    ("opencv", machine.check_opencv),
    ("dvc", machine.check_dvc),
    ("outputs", costs.check_outputs),
)
OF_A_TRACK: tuple[Check, ...] = (
    ("params", params.check_values),
    ("device", machine.check_hardware),
    ("roots", listing.check_roots),
    ("listing", listing.check_listing),
    ("counts", listing.check_counts),
    ("lists", listing.check_lists),
    ("auto", params.check_auto),
    ("images", listing.check_images),
    ("model", model.check_model),
    ("weights", model.check_weights),
    ("memory", costs.check_memory),
    ("batches", params.check_batches),
    ("student", model.check_student),
    ("memory", costs.check_student_memory),
    ("trial", timing.check_trial),
    ("trial", timing.check_student_trial),
    ("duration", costs.check_durations),
)
LAST: Check = ("disk", costs.check_disk)  # of all tracks together


def preflight(context: Context) -> Iterator[Row]:
    """Run every check, of the machine and of each track; rows come as they are found."""
    for check in OF_THE_MACHINE:
        yield from guarded(check, context)
    if not context.settings:  # nothing else can be checked: that one finding is all
        return
    for track in [TRACKS[name] for name in context.settings]:
        for check in OF_A_TRACK:
            yield from (replace(row, track=track.name) for row in guarded(check, context, track))
    yield from guarded(LAST, context)


def guarded(check: Check, *given: Any) -> list[Row]:
    """The rows of one check; what it raises is its last row."""
    name, call = check
    rows: list[Row] = []
    try:
        for row in call(*given):
            rows.append(row)  # one by one: what came before an exception is kept
    except NotCheckedError as error:
        rows.append(warn("", str(error), "solve the problems above and run this again"))
    except Exception as error:  # the one place that catches all: a preflight that breaks helps nobody
        text = f"expected this check to end, got {type(error).__name__}: {' '.join(str(error).split())}"
        rows.append(fail(call.__module__, text, "likely damaged data, or a mistake in the check"))
    return limit(replace(row, where=str(row.where), check=row.check or name) for row in rows)


def run_checks(context: Context) -> int:
    """Print what is found; return 1 if anything is FAIL."""
    start, rows = time.monotonic(), list[Row]()
    for row in preflight(context):
        print(show(row), flush=True)
        rows.append(row)
    print(f"\n{summary(rows, time.monotonic() - start)}")
    return int(any(row.level == "FAIL" for row in rows))
