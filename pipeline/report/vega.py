"""Charts as Vega-Lite specifications, drawn in the browser by JavaScript that the page holds: no network is needed.

Colors are names of the page's style (`var(--after)`), so that charts follow its light and dark colors. Legends are
HTML, which wraps on a narrow screen; letters stay at 12 pixels whatever the width.

Source: Satyanarayan, Moritz, Wongsuphasawat and Heer, "Vega-Lite: A Grammar of Interactive Graphics", InfoVis 2016
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import vl_convert

Point = tuple[float, float]
Spec = dict[str, Any]

COLORS = ("after", "before", "baseline", "board", "false", "confused", "right", "missed")  # of the style, for lines
DASHES = {"": [1, 0], "dashed": [6, 4], "dotted": [2, 4]}
HEIGHT = 270  # pixels of a chart
CELL, LABELS = 24, 150  # pixels of a cell of a square of names, and of the names below it
LINES = {"labelAngle": 0, "labelExpr": "split(datum.label, '\\n')"}  # of an axis whose labels have several lines


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend; `mark` is empty for a line, or `dashed`, `dotted`, `square`."""

    name: str
    color: str
    mark: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: what `parts.html.j2` needs to show it."""

    title: str
    spec: Mapping[str, Any]
    legend: Sequence[Key] = ()
    height: int = HEIGHT


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend
        points: x and y
        color: one of `COLORS`
        mark: empty, `dashed` or `dotted`
        dots: points to stand out
        text: what the legend adds
    """

    name: str
    points: Sequence[Point]
    color: str = "after"
    mark: str = ""
    dots: Sequence[Point] = ()
    text: str = ""


@lru_cache(maxsize=1)
def vega_script() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which sets `vegaEmbed` of the window."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def line_chart(
    title: str,
    x: str,
    y: str,
    lines: Iterable[Line],
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> Chart | None:
    """Lines over one number; `x` and `y` are the titles of the axes. None if there is no point to draw."""
    shown = [line for line in lines if line.points]
    if not shown:
        return None
    rows = [{"line": line.name, "x": a, "y": b} for line in shown for a, b in line.points]
    dots = [
        {"line": line.name, "x": a, "y": b}
        for line in shown
        for a, b in (line.points if len(line.points) == 1 else line.dots)  # a line of one point is invisible
    ]
    scale = {"nice": False, **({"domain": list(x_range)} if x_range else {"zero": False})}
    names = [line.name for line in shown]
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": x, "scale": scale, "axis": {"tickCount": 6}},
        "y": {"field": "y", "type": "quantitative", "title": y, "scale": {"domain": list(y_range)} if y_range else {}},
        "color": _by_name("line", names, [css(line.color) for line in shown]),
        "tooltip": [_tip("line", "nominal"), _tip("x", title=x), _tip("y", ".3f", y)],
    }
    dash = _by_name("line", names, [DASHES[line.mark] for line in shown])
    layers = [
        {"mark": {"type": "line", "strokeWidth": 2.2, "interpolate": "linear"}, "encoding": {"strokeDash": dash}},
        {"data": {"values": dots}, "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1}},
    ][: 2 if dots else 1]
    spec = _spec({"values": rows}, encoding=encoding, layer=layers)
    return Chart(title, spec, [Key(line.name, css(line.color), line.mark, line.text) for line in shown])


def bar_chart(
    title: str, x: str, y: str, bars: Sequence[tuple[str, float, tuple[float, float] | None]], color: str = "after"
) -> Chart | None:
    """Bars in their order: name, value in 0..1, and its interval or None. None if there are no bars."""
    if not bars:
        return None
    rows = [
        {"name": name, "value": value, **({"low": ends[0], "high": ends[1]} if ends else {})}
        for name, value, ends in bars
    ]
    encoding = {"x": {"field": "name", "type": "nominal", "sort": None, "title": x, "axis": LINES}}
    value = {"field": "value", "type": "quantitative", "title": y, "scale": {"domain": [0, 1]}}
    tips = [_tip("name", "nominal"), _tip("value", ".3f"), _tip("low", ".3f"), _tip("high", ".3f")]
    layers = [
        {"mark": {"type": "bar", "color": css(color), "cornerRadiusEnd": 3, "width": {"band": 0.6}},
         "encoding": {"y": value, "tooltip": tips}},
        {"transform": [{"filter": "isValid(datum.low)"}],
         "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5},
         "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}},
    ]  # fmt: skip
    return Chart(title, _spec({"values": rows}, encoding=encoding, layer=layers), (), HEIGHT)


def heat_chart(
    title: str, x: str, y: str, unit: str, cells: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Chart | None:
    """A square of cells: `row` and `column` (names), `share` in 0..1 for the color, `text` for the tooltip, how many of
    `unit`; a cell with `pair` opens the images of it. None if there are no cells."""
    if not cells:
        return None
    height = CELL * max(4, len(names)) + LABELS
    axis = {"type": "nominal", "sort": list(names)}
    encoding = {
        "x": {"field": "column", **axis, "title": x, "axis": {"labelAngle": -45, "orient": "bottom"}},
        "y": {"field": "row", **axis, "title": y},
        "opacity": {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0.04, 1]}},
        "tooltip": [_tip("row", "nominal", y), _tip("column", "nominal", x), _tip("text", "nominal", unit)],
    }
    mark = {"type": "rect", "color": css("after"), "cursor": "pointer", "stroke": "var(--grid)"}
    spec = _spec({"values": list(cells)}, encoding=encoding, mark=mark, height=height)
    return Chart(title, spec, (), height)


def histogram_points(edges: Sequence[float], counts: Sequence[int]) -> list[Point]:
    """A histogram as shares over the middles of its bins; no point if it is empty.

    >>> histogram_points([0.0, 0.5, 1.0], [1, 3])
    [(0.25, 0.25), (0.75, 0.75)]
    """
    total = sum(counts)
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return [(x, count / total) for x, count in zip(middles, counts, strict=True)] if total else []


def css(color: str) -> str:
    """A color of the page's style.

    >>> css("after")
    'var(--after)'
    """
    return f"var(--{color})"


def _spec(data: Spec, height: int = HEIGHT, **parts: Any) -> Spec:
    size = {"width": "container", "height": height, "autosize": {"type": "fit", "contains": "padding"}}
    return {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "data": data, **size, **parts}


def _by_name(field: str, names: Sequence[str], values: Sequence[Any]) -> Spec:
    return {"field": field, "type": "nominal", "scale": {"domain": list(names), "range": list(values)}, "legend": None}


def _tip(field: str, form: str = "", title: str = "") -> Spec:
    if form == "nominal":
        return {"field": field, "type": "nominal", "title": title or field}
    return {"field": field, "type": "quantitative", "title": title or field, **({"format": form} if form else {})}
