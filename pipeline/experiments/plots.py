"""Figures of an ablation: curves and bars as SVG, example images as PNG; equal numbers give equal bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.errors import ScoreError
from pipeline.core.images import decode_png, read_rgb
from pipeline.core.manifest import Manifest, Record
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.core.truth import read_foreground, read_label_map
from pipeline.report.figures import COLORS, new_axes, to_png, to_svg
from pipeline.report.gallery import evenly
from pipeline.report.overlays import Pixels, class_colors, cut_out, paint
from pipeline.report.predictions import paint_prediction

CELL = 1.6  # inches, the side of a cell of the strip
SPACES = {"left": 0.0, "right": 1.0, "top": 0.95, "bottom": 0.03, "wspace": 0.03, "hspace": 0.2}  # shares


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


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the strip."""

    title: str  # above it
    predictions: Path  # store with the PNG bytes of the predictions
    name: str  # which of the two predictions, `before` or `after` the CRF
    threshold: int  # at which score maps are cut (Track 3)
    ious: dict[str, float]  # of each scored image


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
    titles = ["image", "truth", *(column.title for column in columns)]
    figure = Figure(figsize=(CELL * len(titles), CELL * len(ids)))
    cells = figure.subplots(len(ids), len(titles), squeeze=False, gridspec_kw=SPACES)
    for axes, title in zip(cells[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    for (first, second, *others), image_id in zip(cells, ids, strict=True):
        image = read_rgb(records[image_id].file)
        _show(first, image, image_id[:24])
        _show(second, _truth(records[image_id], image, manifest, track))
        for axes, column in zip(others, columns, strict=True):
            prediction = decode_png(Store(column.predictions).read(image_id)[column.name], image_id)
            _draw_prediction(axes, image, prediction, column, image_id, track)
    return to_png(figure)


def _show(axes: Axes, image: Pixels, caption: str = "") -> None:
    """An image, with a line of text below."""
    axes.imshow(image)
    axes.set_axis_off()
    axes.text(0.5, -0.02, caption, transform=axes.transAxes, ha="center", va="top", fontsize=8)


def _truth(record: Record, image: Pixels, manifest: Manifest, track: Track) -> Pixels:
    if track.task == "localization":
        return cut_out(image, *read_foreground(record, manifest.mask_kind))
    return paint(image, read_label_map(record, manifest.mask_kind, len(manifest.classes)), class_colors())


def _draw_prediction(
    axes: Axes, image: Pixels, prediction: Pixels, column: Column, image_id: str, track: Track
) -> None:
    """A label map, or a score map and the border of {score >= threshold}; the IoU below."""
    caption = f"{column.ious[image_id]:.3f}" if image_id in column.ious else ""
    _show(axes, paint_prediction(track, image, prediction), caption)
    mask = prediction >= column.threshold
    if track.task == "localization" and mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors="white", linewidths=1)
