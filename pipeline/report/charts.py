"""Line charts: points to lines and ticks in a frame.

Charts are SVG drawn by the template from coordinates computed here, so that they follow the light and dark colors of
the page.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]

CHART = (560, 280)  # width and height of the drawing, in its own units
FRAME = (44, 14, 548, 240)  # left, top, right and bottom of the plot in it


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart; `kind` is a CSS class, `marks` are points to stand out, `text` is what the legend adds."""

    name: str
    kind: str
    points: Sequence[Point]
    marks: Sequence[Point] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A series in the units of the drawing: an SVG path, and marked points with what they say."""

    name: str
    kind: str
    path: str
    marks: list[tuple[float, float, str]]
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart in the units of the drawing; ticks are (place, label)."""

    title: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def draw_chart(
    title: str, x_label: str, series: Iterable[Series], x_range: tuple[float, float] | None = None
) -> Chart | None:
    """Place lines in a frame whose ordinate starts at 0; None if there is no point to draw."""
    shown = [line for line in series if line.points]
    if not shown:
        return None
    xs, ys = zip(*(point for line in shown for point in line.points), strict=True)
    low, high = x_range or (min(xs), max(xs))
    y_ticks = nice_ticks(0, max(*ys, 1e-9))
    left, top, right, bottom = FRAME

    def place(x: float, y: float) -> Point:
        across = 0.5 if high == low else (x - low) / (high - low)
        return round(left + across * (right - left), 1), round(bottom - y / y_ticks[-1] * (bottom - top), 1)

    return Chart(
        title=title,
        x_label=x_label,
        lines=[_line(one, place) for one in shown],
        x_ticks=[(place(x, 0)[0], f"{x:g}") for x in nice_ticks(low, high) if low <= x <= high],
        y_ticks=[(place(low, y)[1], f"{y:g}") for y in y_ticks],
    )


def _line(series: Series, place: Callable[[float, float], Point]) -> Line:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in (place(*point) for point in series.points))
    marked = series.points if len(series.points) == 1 else series.marks  # a line of one point is invisible
    marks = [(*place(x, y), f"{series.name}: {y:.3f} at {x:g}") for x, y in marked]
    return Line(series.name, series.kind, path, marks, series.text)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, at most `most` + 1 of them.

    >>> nice_ticks(0, 0.86), nice_ticks(1, 30), nice_ticks(3, 3)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], [3.0])
    """
    if high <= low:
        return [float(low)]
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(float(power * factor) for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1e-9)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [round(step * position, 10) for position in range(first, last + 1)]
