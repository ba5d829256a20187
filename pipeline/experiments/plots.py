"""Figures: curves and bars as SVG, example images as PNG; equal numbers give equal bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.errors import ScoreError
from pipeline.core.images import decode_png, encode_png, read_rgb
from pipeline.core.manifest import Manifest, Record
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.core.truth import read_foreground, read_label_map
from pipeline.report.gallery import evenly
from pipeline.report.overlays import class_colors, cut_out, paint, paint_heat, shrink

# Okabe and Ito: distinguishable with every color blindness; the last row, the full method, is black
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#000000", "#0072B2", "#D55E00")
STYLE: Any = {  # typed by matplotlib as its several hundred keys
    "svg.hashsalt": "lid",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
CELL = 160  # pixels, the longer side of an image of the strip
LABEL = 20  # pixels, the height of a line of text

Pixels = NDArray[np.uint8]


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


def curves(lines: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> bytes:
    """IoU over threshold, one line a row of the table: the mean over the seeds, their range as a band, the peak as a
    dot.

    Args:
        lines: title, and for every seed the IoU at each threshold 0..255
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


# --- example images ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the strip.

    Attributes:
        title: above it
        predictions: store with the PNG bytes of the predictions
        name: which of the two predictions, `before` or `after` the CRF
        threshold: at which score maps are cut (Track 3)
        ious: of each scored image
    """

    title: str
    predictions: Path
    name: str
    threshold: int
    ious: dict[str, float]


def strip(manifest: Manifest, track: Track, columns: Sequence[Column], images: int) -> bytes:
    """Example images, one a row: image, truth, and the prediction of every column with its IoU.

    Images are evenly spaced by rank of their IoU in the last column, the best first.

    Raises:
        ScoreError: if no image has a score
    """
    last = columns[-1].ious
    ranked = sorted(last, key=lambda image_id: (-last[image_id], image_id))
    if not ranked:
        raise ScoreError("expected scored images to show, got none")
    ids = [ranked[place] for place in evenly(len(ranked), images)]
    records = {record.id: record for record in manifest.with_ids(ids)}
    stores = {column.predictions: Store(column.predictions) for column in columns}
    rows = [[_text(title, CELL) for title in ("image", "truth", *(column.title for column in columns))]]
    for image_id in ids:
        rows.append(_captioned(_cells(records[image_id], manifest, track, columns, stores)))
    return encode_png(_table(rows))


def _cells(
    record: Record, manifest: Manifest, track: Track, columns: Sequence[Column], stores: dict[Path, Store]
) -> list[tuple[Pixels, str]]:
    """Images and the text below them."""
    image = read_rgb(record.file)
    if track.task == "localization":
        truth = cut_out(image, *read_foreground(record, manifest.mask_kind))
    else:
        truth = paint(image, read_label_map(record, manifest.mask_kind, len(manifest.classes)), class_colors())
    cells = [(image, record.id[:24]), (truth, "")]
    for column in columns:
        prediction = decode_png(stores[column.predictions].read(record.id)[column.name], record.id)
        if track.task == "localization":
            painted = _outlined(
                paint_heat(image, prediction.astype(np.float32) / np.float32(255)), prediction >= column.threshold
            )
        else:
            painted = paint(image, prediction, class_colors())
        iou = column.ious.get(record.id)
        cells.append((painted, "" if iou is None else f"{iou:.3f}"))
    return cells


def _outlined(image: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """Draw the border of a mask in white, two pixels inside."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            inner &= np.roll(mask, step, axis)
    outlined = image.copy()
    outlined[mask & ~inner] = 255
    return outlined


def _captioned(cells: Sequence[tuple[Pixels, str]]) -> list[Pixels]:
    """The cells of one row: each image, shrunk, centered on white, with a line of text below."""
    small = [shrink(image, CELL) for image, _ in cells]
    tallest = max(image.shape[0] for image in small)
    done = []
    for image, (_, caption) in zip(small, cells, strict=True):
        height, width = image.shape[:2]
        cell = np.full((tallest, CELL, 3), 255, np.uint8)
        top, left = (tallest - height) // 2, (CELL - width) // 2
        cell[top : top + height, left : left + width] = image
        done.append(np.concatenate([cell, _text(caption, CELL)]))
    return done


def _text(text: str, width: int) -> Pixels:
    canvas = Image.new("RGB", (width, LABEL), "white")
    ImageDraw.Draw(canvas).text(
        (width / 2, LABEL / 2), text, fill="black", font=ImageFont.load_default(13), anchor="mm"
    )
    return np.array(canvas, np.uint8)


def _table(rows: Sequence[Sequence[Pixels]], gap: int = 4) -> Pixels:
    """Cells side by side, rows below each other, with white between them."""
    wide = [
        np.concatenate([np.pad(cell, ((0, 0), (0, gap), (0, 0)), constant_values=255) for cell in row], axis=1)
        for row in rows
    ]
    return np.concatenate(wide)
