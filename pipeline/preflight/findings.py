"""What a check finds, one row each, and how people read it."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]

MOST_ROWS = 20  # of one check at one level; the rest is counted
INDENT = 25


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    level: Level  # FAIL stops the run, or makes its results wrong; WARN may be a mistake
    where: str  # a path, a key of the params file, or an image id; empty for what concerns all of it
    found: str  # what is the case; of a mistake: expected ..., got ...
    hint: str = ""  # likely cause and way out; empty for OK
    check: str = ""  # what was checked, in a word; the runner fills it in
    track: str = "both"  # of a row about the machine


def ok(found: str, where: object = "", check: str = "") -> Row:
    """Nothing wrong."""
    return Row("OK", str(where), found, "", check)


def warn(where: object, found: str, hint: str, check: str = "") -> Row:
    """Something that may be a mistake."""
    return Row("WARN", str(where), found, hint, check)


def fail(where: object, found: str, hint: str, check: str = "") -> Row:
    """Something that stops the run, or makes its results wrong."""
    return Row("FAIL", str(where), found, hint, check)


def row_of_line(level: Level, line: str, hint: str = "", check: str = "") -> Row:
    """Take one of the project's messages apart: `where: expected ..., got ...; likely cause, way out`.

    `hint` is used where the message has none.

    >>> row_of_line("FAIL", "a/b.png: expected mode L, got P; likely a palette copy").hint
    'likely a palette copy'
    """
    where, colon, rest = line.strip().partition(": expected ")
    found, _, own = (f"expected {rest}" if colon else line.strip()).partition("; ")
    return Row(level, where if colon else "", found, own or hint, check)


def limit(rows: Iterable[Row], most: int = MOST_ROWS) -> list[Row]:
    """At most `most` rows of each level, and one that counts the rest."""
    kept, counts = list[Row](), Counter[Level]()
    for row in rows:
        counts[row.level] += 1
        if counts[row.level] == most + 1:
            kept.append(replace(row, where="", found="", hint=""))  # filled in below
        elif counts[row.level] <= most:
            kept.append(row)
    text = "… {} of these in all, {} are shown"
    return [row if row.found else replace(row, found=text.format(counts[row.level], most)) for row in kept]


def show(row: Row, width: int | None = None) -> str:
    """A row as a few lines: level, track, check; where; what was found; the hint after an arrow. Paths stay whole."""
    width = (width or max(80, min(shutil.get_terminal_size((120, 40)).columns, 160))) - INDENT
    wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
    text = f"{row.where}: {row.found}" if row.where else row.found
    hint = [f"{'→ ' if n == 0 else '  '}{line}" for n, line in enumerate(wrap(row.hint, width - 2))]
    head = f"{row.level:<5} {row.track:<7} {row.check:<10}"
    return "\n".join(f"{head if n == 0 else '':<{INDENT}}{line}" for n, line in enumerate(wrap(text, width) + hint))


def summary(rows: Sequence[Row], seconds: float) -> str:
    """How many of each level, and what follows."""
    counts = {level: sum(row.level == level for row in rows) for level in ("FAIL", "WARN", "OK")}
    verdict = "the run would stop, or give wrong results: see FAIL above" if counts["FAIL"] else "ready: dvc repro"
    numbers = ", ".join(f"{count} {level}" for level, count in counts.items())
    return f"{numbers} in {seconds:.0f} s; {verdict}"
