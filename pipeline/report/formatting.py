"""Tables and nested numbers to text."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import StoreError
from pipeline.core.settings import flatten

Row = Mapping[str, str]  # of a CSV file
NONE = "–"  # what stands where there is no number


def read_rows(path: Path) -> list[Row]:
    """Read a CSV file with a header as text; an id such as 0010 keeps its zeros.

    Raises:
        StoreError: if the file is missing
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        raise StoreError(
            f"{path}: expected a table, found no file; likely the stage that makes it has not run"
        ) from None


def number(text: Any) -> float | None:
    """A cell or a value of JSON as a finite number; None if it holds none.

    >>> number("0.5"), number(""), number(True), number("nan")
    (0.5, None, None, None)
    """
    if isinstance(text, bool):
        return None
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def format_score(value: Any, digits: int = 3) -> str:
    """A share in [0, 1] as people print it.

    >>> format_score(0.86149), format_score(None)
    ('0.861', '–')
    """
    known = number(value)
    return NONE if known is None else f"{known:.{digits}f}"


def format_signed(value: float) -> str:
    """A difference with its sign.

    >>> format_signed(0.25), format_signed(-0.0004)
    ('+0.250', '−0.000')
    """
    return f"{value:+.3f}".replace("-", "−")


def format_count(value: Any) -> str:
    """A whole number with thin spaces, anything else as it is.

    >>> format_count(23151), format_count(0.5), format_count("cpu")
    ('23\\u2009151', '0.5', 'cpu')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\u2009")
    return f"{value:.6g}" if isinstance(value, float) else NONE if value is None else str(value)


def get(values: Mapping[str, Any], *keys: str) -> Any:
    """What stands under nested keys, None where a step is missing.

    >>> get({"a": {"b": 1}}, "a", "b"), get({"a": 2}, "a", "b")
    (1, None)
    """
    here: Any = values
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here


def number_table(metrics: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Every number of metrics.json, also one that this page has never heard of: (name, value, value before the CRF).

    >>> number_table({"iou": 0.5, "note": "text", "loc": {"30": 1}, "before_crf": {"iou": 0.25}})
    [('iou', 0.5, 0.25), ('loc.30', 1, None)]
    """
    before = dict(flatten(metrics.get("before_crf", {})))
    after = dict(flatten({key: value for key, value in metrics.items() if key != "before_crf"}))
    names = [*after, *(name for name in before if name not in after)]
    rows = [(name, after.get(name), before.get(name)) for name in names]
    return [row for row in rows if number(row[1]) is not None or number(row[2]) is not None]


def column_points(rows: Sequence[Row], x: str, y: str) -> list[tuple[float, float]]:
    """The points of one column of a table over another; empty cells are left out."""
    pairs = [(number(row.get(x)), number(row.get(y))) for row in rows]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown.

    >>> markdown_table(["part", "gain"], [["CRF", "+0.02"]])
    ['| part | gain |', '| --- | --- |', '| CRF | +0.02 |']
    """
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def format_duration(seconds: float | None) -> str:
    """Seconds as text for people.

    >>> format_duration(59), format_duration(3720), format_duration(None)
    ('59 s', '62 min', 'not recorded')
    """
    if seconds is None:
        return "not recorded"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
