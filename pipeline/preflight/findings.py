"""What a check finds, one row each, and how people read it."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]

MOST_ROWS = 20  # of one check at one level; the rest is counted
BOTH = "both"  # the track of a row about the machine
INDENT = 25


@dataclass(frozen=True, slots=True)
class Row:
    """One finding.

    Attributes:
        level: FAIL stops the run, or would spoil it; WARN is worth a look; OK
        check: what was looked at, in a word or two
        where: a path, a key of the params file, or an image id; empty for what concerns all of it
        found: what is the case; of a mistake: expected ..., got ...
        hint: likely cause and way out; empty for OK
        track: whose
    """

    level: Level
    check: str
    where: str
    found: str
    hint: str = ""
    track: str = BOTH


def row_of_line(level: Level, check: str, line: str, hint: str = "") -> Row:
    """Take one of the project's messages apart: `where: expected ..., got ...; likely cause, way out`.

    Args:
        level: of the row
        check: of the row
        line: the message
        hint: used where the message names none

    >>> row_of_line("FAIL", "masks", "a/b.png: expected mode L, got P; likely a palette copy")
    Row(level='FAIL', check='masks', where='a/b.png', found='expected mode L, got P', hint='likely a palette copy',
    track='both')
    """
    where, colon, rest = line.strip().partition(": expected ")
    if not colon:
        where, rest = "", line.strip()
    else:
        rest = f"expected {rest}"
    found, _, own = rest.partition("; ")
    return Row(level, check, where, found, own or hint)


def limit(rows: Iterable[Row], most: int = MOST_ROWS) -> list[Row]:
    """At most `most` rows of each level, and one that counts the rest."""
    kept: list[Row] = []
    counts = {"OK": 0, "WARN": 0, "FAIL": 0}
    last: dict[str, Row] = {}
    for row in rows:
        counts[row.level] += 1
        last[row.level] = row
        if counts[row.level] <= most:
            kept.append(row)
    for level, row in last.items():
        if counts[level] > most:
            kept.append(replace(row, where="", found=f"… {counts[level]} of these in all, {most} are shown", hint=""))
    return kept


def show(row: Row, width: int | None = None) -> str:
    """A row as a few lines: level, track, check; where; what was found; the hint after an arrow."""
    width = width or max(80, min(shutil.get_terminal_size((120, 40)).columns, 160))
    head = f"{row.level:<5} {row.track:<7} {row.check:<10}"
    text = f"{row.where}: {row.found}" if row.where else row.found
    lines = _wrap(text, width) + [
        f"{'→ ' if n == 0 else '  '}{line}" for n, line in enumerate(_wrap(row.hint, width - 2))
    ]
    return "\n".join(f"{head if n == 0 else '':<{INDENT}}{line}" for n, line in enumerate(lines))


def _wrap(text: str, width: int) -> list[str]:
    # paths stay whole, so that they can be copied
    return textwrap.wrap(text, width - INDENT, break_long_words=False, break_on_hyphens=False)


def summary(rows: Sequence[Row], seconds: float) -> str:
    """How many of each level, and what follows."""
    counts = {level: sum(row.level == level for row in rows) for level in ("FAIL", "WARN", "OK")}
    verdict = "the run would fail or be spoilt: see FAIL above" if counts["FAIL"] else "ready: dvc repro"
    numbers = ", ".join(f"{count} {level}" for level, count in counts.items())
    return f"{numbers} in {seconds:.0f} s; {verdict}"


def at(path: Path | str) -> str:
    """A path as messages show it: as given, with forward slashes."""
    return Path(path).as_posix()
