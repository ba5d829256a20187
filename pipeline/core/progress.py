"""Progress of long work, on stderr: a bar on a terminal, a line now and then in a file or a pipe, nothing in CI."""

import io
import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from pipeline.core.rank import this_rank

EVERY = 30.0  # seconds between two lines
COLUMNS = 80  # of a terminal that does not say how wide it is


def in_ci() -> bool:
    """Whether the variable `CI` is set, as services that build and test set it; `0` and `false` do not count."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def progress(
    items: Iterable[Any] | None = None, *, total: int | None = None, title: str, unit: str = "image", done: int = 0
) -> "tqdm[Any]":
    """Count what is done, and tell the rate and the time that remains.

    Args:
        items: yielded, each counts as one; None: whoever works calls `update` with how many are done
        total: how many there are; None: the length of `items`
        title: what is done
        unit: of what is counted, in the singular
        done: by an earlier run; the rate is that of this one
    """
    if _is_silent():
        return tqdm(items, total=total, initial=done, disable=True)
    if not sys.stderr.isatty():
        return _Lines(items, total=total, desc=title, unit=unit, initial=done, file=io.StringIO(), leave=False,
                      mininterval=EVERY, maxinterval=EVERY, delay=EVERY)  # fmt: skip
    width = {"dynamic_ncols": True} if _has_width() else {"ncols": COLUMNS}
    return tqdm(items, total=total, desc=title, unit=unit, initial=done, leave=False, **width)


def note(bar: "tqdm[Any]", line: str) -> None:
    """Write a line beside the progress, above the bar; nothing in CI."""
    if not _is_silent():
        bar.write(line, file=sys.stderr)


def line(title: str, unit: str, n: int, total: int | None, rate: float, postfix: str | None = None) -> str:
    """Where the work is, as one line.

    Args:
        n: how many are done, of `total` if that is known
        rate: how many a second; 0: not known yet

    >>> line("refine", "image", 120, 600, 2.5)
    'refine: 120 of 600 images, 20 %, 2.5 images/s, 03:12 to go'
    >>> line("search", "trial", 3, None, 0.0, "loss=0.5")
    'search: 3 trials, loss=0.5'
    """
    counted = f"{n}" if total is None else f"{n} of {total}"
    parts = [f"{title}: {counted} {unit}s", f"{n / total:.0%}".replace("%", " %") if total else None]
    parts += [f"{rate:.3g} {unit}s/s"] if rate else []
    parts += [f"{tqdm.format_interval((total - n) / rate)} to go"] if total is not None and rate else []
    return ", ".join(part for part in (*parts, postfix) if part)


def _is_silent() -> bool:
    """In CI, and in all ranks of a stage but the first."""
    return in_ci() or this_rank().number > 0


class _Lines(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
    """A whole line on stderr at each interval, in the place of a bar that is drawn again and again."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write where the work is; not when the bar is to be wiped, which calls this with an empty message."""
        if msg is None:
            values = self.format_dict
            total = None if self.total is None else int(self.total)
            rate = (self.n - self.initial) / values["elapsed"] if values["elapsed"] else 0.0
            told = line(self.desc.removesuffix(": "), self.unit, int(self.n), total, rate, values["postfix"])
            print(told, file=sys.stderr, flush=True)


def _has_width() -> bool:
    """Whether the terminal behind stderr says how wide it is; some that programs open do not."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        return False
