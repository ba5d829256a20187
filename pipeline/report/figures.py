"""Figures by Matplotlib: one style, and equal numbers give equal bytes."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito: distinguishable with every color blindness; the last row of an ablation, the full method, is black
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#000000", "#0072B2", "#D55E00")
STYLE: Any = {  # typed by matplotlib as its several hundred keys
    "svg.hashsalt": "lid",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def new_axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure with frames side by side; its size in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG, without time and version."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def to_png(figure: Figure) -> bytes:
    """The figure as PNG of 100 pixels an inch, without version."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()
