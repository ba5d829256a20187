"""One prediction as images: its map, the prediction, and the comparison with the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import resize
from pipeline.core.manifest import Record
from pipeline.core.tracks import Track
from pipeline.core.truth import IGNORE_INDEX, read_foreground, read_label_map
from pipeline.evaluate.segmentation import classes_in
from pipeline.report.formatting import Row, column_points, number
from pipeline.report.overlays import OVERLAP_COLORS, Pixels, class_colors, cut_out, overlap, paint, paint_heat
from pipeline.report.results import Results


def peak_threshold(results: Results) -> int:
    """Track 3: the threshold of the refined maps' IoU in per_image.csv."""
    exact = number(results.metrics.get("peak_threshold"))
    return scored_threshold(exact, results.metrics.get("average"), results.table, "after_crf")


def scored_threshold(peak: float | None, average: object, table: Sequence[Row], column: str) -> int:
    """Track 3: the threshold at which per_image.csv was scored, where the pooled IoU peaks; else 128.

    Args:
        peak: the peak threshold of the ranking score
        average: `evaluate.average`; with `mean` that score peaks elsewhere
        table: the IoU curves
        column: the pooled one, with or without the CRF
    """
    if peak is not None and average != "mean":
        return int(peak)
    points = column_points(table, "threshold", column)
    return int(max(points, key=lambda point: (point[1], point[0]))[0]) if points else 128


def scaled_map(maps: NDArray[np.float16], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The map of the most probable class at the size of the image, clipped to [0, 1]. Shape: (P, h, w) to (H, W)"""
    return np.clip(resize(maps[0].astype(np.float32), (shape[0], shape[1])), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The images of one prediction.

    The class indices in it (None: it names none) and in the truth, where that is known.
    """

    tiles: list[tuple[str, Pixels]]
    predicted: list[int] | None = None
    true: Sequence[int] = ()


def paint_prediction(track: Track, image: Pixels, prediction: Pixels) -> Pixels:
    """A score map or a label map over its image. Shape: (H, W, 3)"""
    if track.task == "localization":
        return paint_heat(image, prediction.astype(np.float32) / np.float32(255))
    return paint(image, prediction, class_colors())


def draw_localization(
    results: Results, record: Record, image: Pixels, prediction: Pixels, threshold: int | None
) -> Drawn:
    """Track 3: the score map and, where there is truth, the truth and {prediction >= threshold} (or >) against it."""
    refined = ("refined map", paint_prediction(results.track, image, prediction))
    if threshold is None:
        return Drawn([refined])
    mask, ignored = read_foreground(record, results.manifest.mask_kind)
    is_foreground = prediction > threshold if results.metrics.get("comparison") == ">" else prediction >= threshold
    codes = overlap(mask.astype(np.uint8), is_foreground.astype(np.uint8), ignored)
    return Drawn(
        [
            refined,
            ("truth", cut_out(image, mask, ignored)),
            ("overlap", _paint_overlap(image, codes)),
        ]
    )


def draw_segmentation(
    results: Results, record: Record, image: Pixels, prediction: Pixels, threshold: int | None
) -> Drawn:
    """Track 1: the label map and, where there is truth (`threshold` is not None), the true one and both compared."""
    refined = ("prediction", paint_prediction(results.track, image, prediction))
    if threshold is None:
        return Drawn([refined], classes_in(prediction))
    truth = read_label_map(record, results.manifest.mask_kind, len(results.manifest.classes))
    codes = overlap(truth, prediction, truth == IGNORE_INDEX)
    tiles = [
        refined,
        ("truth", paint(image, truth, class_colors())),
        ("overlap", _paint_overlap(image, codes)),
    ]
    return Drawn(tiles, classes_in(prediction), classes_in(truth))


def _paint_overlap(image: Pixels, codes: Pixels) -> Pixels:
    return paint(image, codes, np.array([(0, 0, 0), *OVERLAP_COLORS.values()], np.uint8))
