"""Predictions made without a map; a map that does not exceed their scores is not better than a baseline."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError
from pipeline.core.pixel_counts import pair_counts
from pipeline.core.truth import BACKGROUND
from pipeline.evaluate.mean_iou import Segmentation, compute_segmentation
from pipeline.evaluate.peak_iou import PeakIoU

DISC_LEVELS = 16  # sizes of the centered disc in Track 1, the first of them the whole image


@lru_cache(maxsize=4)
def center_disc(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A score map that falls from the center to the corners: thresholds cut centered ellipses of all sizes out of it.

        score = round(255 * (1 - r / sqrt(2))),    r^2 = ((2 x + 1) / W - 1)^2 + ((2 y + 1) / H - 1)^2

    with x, y the column and row: r is 1 at the middle of each side and sqrt(2) in the corners, whatever the size.

    Args:
        shape: (H, W), pixels

    Returns:
        0..255, read-only. Shape: (H, W)

    >>> center_disc((3, 5))[1].tolist()
    [111, 183, 255, 183, 111]
    """
    height, width = shape
    y = (2 * np.arange(height) + 1) / height - 1  # (H,)
    x = (2 * np.arange(width) + 1) / width - 1  # (W,)
    radius = np.hypot(y[:, None], x[None])  # (H, W)
    disc: NDArray[np.uint8] = np.rint(255 * (1 - radius / np.sqrt(2))).astype(np.uint8)
    disc.flags.writeable = False
    return disc


@lru_cache(maxsize=4)
def _disc_levels(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Which of the sizes of the disc is the smallest that holds a pixel; 0 is the largest one. Shape: (H, W)"""
    return center_disc(shape) // np.uint8(256 // DISC_LEVELS)


def all_foreground_iou(state: PeakIoU, average: str) -> float:
    """IoU of calling every pixel foreground: the foreground share, pooled or averaged over the images with foreground.

    The score maps in `state` do not matter: {score >= 0} is everything.

    Raises:
        ScoreError: if there is no foreground pixel
    """
    peak = state.compute(">=") if average == "pooled" else state.compute_mean(">=")
    return float(peak.curve[0])


class BaselineLabelMaps:
    """Track 1: everything background, and each image's most probable class, everywhere or in a centered disc.

    One confusion matrix per size of the disc; the largest disc is the whole image. State of integers, merges exactly.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        # per disc size [truth, prediction], pixels
        self.matrices = np.zeros((DISC_LEVELS, classes + 1, classes + 1), np.int64)

    def accumulate(self, truth: NDArray[np.uint8], class_id: int) -> None:
        """Add one image.

        Args:
            truth: class ids 0..K, 255 ignored. Shape: (H, W)
            class_id: of the class that is painted, 1..K
        """
        level = _disc_levels((truth.shape[0], truth.shape[1]))
        counts = pair_counts(level, truth, (DISC_LEVELS, self.classes + 1))  # without 255, which is ignored
        inside = counts[::-1].cumsum(axis=0)[::-1]  # (levels, K + 1) pixels per true class in {level >= this}
        self.matrices[:, :, class_id] += inside
        self.matrices[:, :, BACKGROUND] += inside[0] - inside

    def merge(self, other: "BaselineLabelMaps") -> None:
        """Add the images of another state.

        Raises:
            ScoreError: if it counts other classes
        """
        if self.classes != other.classes:
            raise ScoreError(f"expected a state of {self.classes} classes, got one of {other.classes}")
        self.matrices += other.matrices

    def all_background(self) -> Segmentation:
        """Scores of calling every pixel background; ScoreError if there is no pixel."""
        matrix = np.zeros_like(self.matrices[0])
        matrix[:, BACKGROUND] = self.matrices[0].sum(axis=1)
        return compute_segmentation(matrix)

    def top_class_everywhere(self) -> Segmentation:
        """Scores of painting every image with its most probable class; ScoreError if there is no pixel."""
        return compute_segmentation(self.matrices[0])

    def top_class_in_disc(self) -> list[Segmentation]:
        """Scores of painting the most probable class into a centered disc, one for each size, the largest first."""
        return [compute_segmentation(matrix) for matrix in self.matrices]
