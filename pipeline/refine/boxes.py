"""Score maps whose level sets are boxes, for sets with box annotations only."""

import cv2
import numpy as np
from numpy.typing import NDArray


def fill_boxes(score: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace every level set of a score map by the box around its part that holds the peak.

        S'(x) = max {t: x in box(A_t)},    A_t = the 8-connected part of {S >= t} that holds the peak

    The parts are nested, A_t in A_s for t > s, so their boxes are, and {S' >= t} is the box of A_t at every t: what a
    threshold selects is the box that localization draws around an object. The peak is a position of the largest part
    of {S = max S}. A map of zeros stays one.

    Args:
        score: 0..255. Shape: (H, W)

    Returns:
        scores with the same largest value, at least t on all of A_t; a second maximum is lowered to the level at which
        it joins the part with the peak. Shape: (H, W)

    Source: one box from the largest part of a thresholded map: Zhou et al., "Learning Deep Features for Discriminative
    Localization", CVPR 2016, section 3.2; here for all thresholds at once

    >>> fill_boxes(np.array([[0, 2, 0, 7], [1, 9, 0, 0], [0, 0, 3, 0]], np.uint8))
    array([[1, 2, 2, 0],
           [1, 9, 3, 0],
           [1, 3, 3, 0]], dtype=uint8)
    """
    filled = np.zeros_like(score)
    levels = np.unique(score[score > 0])
    if not len(levels):
        return filled
    row, column = _peak(score == levels[-1])
    left, top, right, bottom = 0, 0, score.shape[1], score.shape[0]
    for level in levels:  # a part lies inside the box of the one below it, so only this box is searched
        inside = (score[top:bottom, left:right] >= level).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        x, y, width, height, _ = stats[parts[row - top, column - left]]
        left, top = left + int(x), top + int(y)
        right, bottom = left + int(width), top + int(height)
        filled[top:bottom, left:right] = level
    return filled


def _peak(highest: NDArray[np.bool_]) -> tuple[int, int]:
    """A position (row, column) of the largest part."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(highest.astype(np.uint8), connectivity=8)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    row, column = np.argwhere(parts == largest)[0]
    return int(row), int(column)
