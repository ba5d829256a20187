"""Example images with the predictions of several runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.errors import ScoreError
from pipeline.core.images import decode_png, read_rgb
from pipeline.core.manifest import Manifest, Record
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.core.truth import read_foreground, read_label_map
from pipeline.report.choice import evenly
from pipeline.report.figures import to_png
from pipeline.report.overlays import Pixels, class_colors, cut_out, paint
from pipeline.report.predictions import paint_prediction

CELL = 1.6  # inches, the side of a cell of the strip
SPACES = {"left": 0.0, "right": 1.0, "top": 0.95, "bottom": 0.03, "wspace": 0.03, "hspace": 0.2}  # shares


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
    for row, image_id in zip(cells, ids, strict=True):
        draw_row(row, records[image_id], manifest, track, columns)
    return to_png(figure)


def draw_row(
    cells: Sequence[Axes], record: Record, manifest: Manifest, track: Track, columns: Sequence[Column]
) -> None:
    """Draw the image, its truth, and the prediction of every column, each into its cell."""
    first, second, *others = cells
    image = read_rgb(record.file)
    _show(first, image, record.id[:24])
    _show(second, _truth(record, image, manifest, track))
    for axes, column in zip(others, columns, strict=True):
        prediction = decode_png(Store(column.predictions).read(record.id)[column.name], record.id)
        _draw_prediction(axes, image, prediction, column, record.id, track)


def _show(axes: Axes, image: Pixels, caption: str = "") -> None:
    """An image, with a line of text below, in which $ is a letter as others."""
    axes.imshow(image)
    axes.set_axis_off()
    axes.text(0.5, -0.02, caption, transform=axes.transAxes, ha="center", va="top", fontsize=8, parse_math=False)


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
