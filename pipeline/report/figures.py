"""Figures by Matplotlib: one style, and equal numbers give equal bytes."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
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
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands for the letter
        figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()


def curves(lines: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> bytes:
    """IoU over threshold, one line a row of the table, with its title and the IoU at 0..255 of every seed.

    The line is the mean over the seeds, the band their range, the dot the peak.
    """
    figure, (axes,) = new_axes(7.5, 4.5)
    for (title, seeds), color in zip(lines, COLORS, strict=False):
        values = np.array(seeds)  # (S, 256)
        mean = values.mean(axis=0)
        best = int(mean.argmax())
        axes.plot(mean, color=color, linewidth=1.6, label=f"{title}: {np.mean(values.max(axis=1)):.3f}")
        axes.plot([best], [mean[best]], "o", color=color, markersize=4)
        if len(values) > 1:
            axes.fill_between(
                np.arange(values.shape[1]), values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0
            )
    axes.set(xlabel="threshold t", ylabel="IoU of {score ≥ t} with the truth", xlim=(0, 255), ylim=(0, 1))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, title="peak IoU")
    return to_svg(figure)


def bars(rows: Sequence[tuple[str, Sequence[float]]], label: str) -> bytes:
    """One bar a row, the first on top: the mean over the seeds, each seed as a dot."""
    figure, (axes,) = new_axes(7.5, 0.6 + 0.4 * len(rows))
    for place, (_, values) in enumerate(rows):
        mean = float(np.mean(values))
        axes.barh(place, mean, color=COLORS[1], height=0.65)
        axes.plot(values, [place] * len(values), ".", color="black", markersize=5)
        axes.text(max(values) + 0.01, place, f"{mean:.3f}", va="center")
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel=label, xlim=(0, 1))
    return to_svg(figure)
