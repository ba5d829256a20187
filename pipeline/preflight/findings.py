"""What a check finds, one row each, and how people read it."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    level: Level  # FAIL stops the run, or makes its results wrong; WARN may be a mistake
    where: object  # a path, a key of the params file, or an image id; empty for what concerns all of it
    found: str  # what is the case; of a mistake: expected ..., got ...
    hint: str = ""  # likely cause and way out; empty for OK
    check: str = ""  # what was checked, in a word; the runner fills it in
    track: str = "both"  # of a row about the machine


warn, fail = partial(Row, "WARN"), partial(Row, "FAIL")


def ok(found: str, where: object = "") -> Row:
    """Nothing wrong."""
    return Row("OK", where, found)


def row_of_line(level: Level, line: str, hint: str = "", check: str = "") -> Row:
    """Take one of the project's messages apart: `where: expected ..., got ...; likely cause, way out`.

    `hint` is used where the message has none.

    >>> row_of_line("FAIL", "a/b.png: expected mode L, got P; likely a palette copy").hint
    'likely a palette copy'
    """
    where, colon, rest = line.strip().partition(": expected ")
    found, _, own = (f"expected {rest}" if colon else line.strip()).partition("; ")
    return Row(level, where if colon else "", found, own or hint, check)


def limit(rows: Iterable[Row], most: int = 20) -> list[Row]:
    """At most `most` rows of each level, and one that counts all of them."""
    every, kept, seen = list(rows), list[Row](), Counter[Level]()
    counts = Counter(row.level for row in every)
    for row in every:
        seen[row.level] += 1
        if seen[row.level] <= most:
            kept.append(row)
        elif seen[row.level] == most + 1:
            found = f"… {counts[row.level]} of these in all, {most} are shown"
            kept.append(replace(row, where="", found=found, hint=""))
    return kept


def show(row: Row, width: int | None = None) -> str:
    """A row as a few lines: level, track, check; where; what was found; the hint after an arrow. Paths stay whole."""
    width = width or max(80, min(shutil.get_terminal_size((120, 40)).columns, 160))
    wrap = partial(textwrap.wrap, width=width, break_long_words=False, break_on_hyphens=False)
    head = f"{row.level:<5} {row.track:<7} {row.check:<10} "
    below = " " * len(head)
    text = wrap(f"{row.where}: {row.found}" if row.where else row.found, initial_indent=head, subsequent_indent=below)
    return "\n".join(text + wrap(row.hint, initial_indent=f"{below}→ ", subsequent_indent=f"{below}  "))


def summary(rows: Sequence[Row], seconds: float) -> str:
    """How many of each level, and what follows."""
    counts = {level: sum(row.level == level for row in rows) for level in ("FAIL", "WARN", "OK")}
    verdict = "the run would stop, or give wrong results: see FAIL above" if counts["FAIL"] else "ready: dvc repro"
    numbers = ", ".join(f"{count} {level}" for level, count in counts.items())
    return f"{numbers} in {seconds:.0f} s; {verdict}"
