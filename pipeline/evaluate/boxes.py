"""Boxes drawn around score maps: GT-known Loc, Top-1 Loc and MaxBoxAccV2.

A box is (x0, y0, x1, y1) in inclusive pixels: its width is x1 - x0 + 1. A score map gives boxes at a threshold t: the
bounding boxes of the 8-connected components of {score >= t}. Thresholds are absolute score values, one for all images,
0..255: maps that the CRF has saturated peak at 1, 2 or 3. Boxes are drawn once for each value that occurs in a map, at
most 256 times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError
from pipeline.core.manifest import Box
from pipeline.core.pixel_counts import value_counts

LEVELS = 256
LOC_IOU = 0.5  # a box this close to a true one is right, in GT-known Loc and Top-1 Loc
CROWDED = 1000  # contours of one mask; above it, labeling its pixels is faster than following them


@dataclass(frozen=True, slots=True)
class BoxScores:
    """Shares of images, each in [0, 1].

    Attributes:
        gt_known_loc: images whose largest component's box overlaps a true box by IoU >= 0.5, at the best threshold
        threshold: that threshold, the highest if several are best
        top1_loc: at the same threshold, labeled images where the class is right, too; None if no image is labeled
        max_box_acc_v2: mean over the IoU levels of the best share of images of which some component's box is right
    """

    gt_known_loc: float
    threshold: int
    top1_loc: float | None
    max_box_acc_v2: float


def box_iou(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of every pair of boxes, (M, 4) and (N, 4) to (M, N); corners are inclusive.

    >>> box_iou(np.array([[0, 0, 3, 1]]), np.array([[2, 0, 5, 1], [0, 0, 0, 0], [4, 0, 4, 1]])).tolist()
    [[0.3333333333333333, 0.125, 0.0]]
    """
    first, second = predicted[:, None], truth[None]  # (M, 1, 4), (1, N, 4)
    corner = np.maximum(first[..., :2], second[..., :2])
    opposite = np.minimum(first[..., 2:], second[..., 2:])
    shared = (opposite - corner + 1).clip(min=0).prod(axis=-1)  # (M, N)
    union = _area(first) + _area(second) - shared
    iou: NDArray[np.float64] = shared / union
    return iou


def _area(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    area: NDArray[np.int64] = (boxes[..., 2:] - boxes[..., :2] + 1).prod(axis=-1)
    return area


def component_boxes(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Boxes and pixel counts of the 8-connected components, the largest first. Shapes: (M, 4) and (M,)

    Of equally large components the one whose box starts higher, then further left, ends higher, then further left, is
    first: the order does not depend on the labeling algorithm.

    >>> component_boxes(np.array([[1, 0, 0, 1], [0, 1, 0, 0]], bool))
    (array([[0, 0, 1, 1],
           [3, 0, 3, 0]]), array([2, 1]))
    """
    left, top, across, down = cv2.boundingRect(mask.view(np.uint8))  # labeling the rest would find nothing
    if not across:
        return np.empty((0, 4), np.int64), np.empty(0, np.int64)  # OpenCV crashes on an image without pixels
    cut = np.ascontiguousarray(mask[top : top + down, left : left + across]).view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cut, connectivity=8)
    x0, y0, width, height, area = stats[1:].astype(np.int64).T  # row 0 is the background
    x0, y0 = x0 + left, y0 + top
    boxes = np.stack([x0, y0, x0 + width - 1, y0 + height - 1], axis=1)
    order = np.lexsort((boxes[:, 2], boxes[:, 3], x0, y0, -area))
    return boxes[order], area[order]


def outlined_boxes(mask: NDArray[np.bool_], pixels: int) -> tuple[NDArray[np.int64], int, int]:
    """The boxes of `component_boxes` in any order, which of them is its first, and how many contours the mask has.

    Following contours takes a twentieth of the time of labeling pixels where there are few, but does not count pixels.
    A component has at most the pixels of its box, and at least those that are left when all others fill theirs: mostly
    this alone tells the largest. Where it does not, the candidates are counted.

    Args:
        mask: at least one pixel is set. Shape: (H, W)
        pixels: how many are set

    Returns:
        boxes (M, 4), the position of the largest component's in 0..M-1, and the number of contours, holes included

    >>> outlined_boxes(np.array([[1, 0, 0, 1], [0, 1, 0, 0]], bool), 3)
    (array([[3, 0, 3, 0],
           [0, 0, 1, 1]]), 1, 2)
    """
    contours, (hierarchy,) = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [
        contour for contour, parent in zip(contours, hierarchy[:, 3].tolist(), strict=True) if parent < 0
    ]  # no holes
    boxes = np.array([cv2.boundingRect(contour) for contour in outer], np.int64)
    boxes[:, 2:] += boxes[:, :2] - 1
    room = _area(boxes)
    candidates = np.flatnonzero(room >= (pixels - (room.sum() - room)).max()).tolist()
    return boxes, _largest(mask, boxes, {k: outer[k][0, 0].tolist() for k in candidates}), len(contours)


def _largest(mask: NDArray[np.bool_], boxes: NDArray[np.int64], seeds: Mapping[int, Sequence[int]]) -> int:
    """Which of the components that hold these pixels, (x, y) by position in `boxes`, has the most.

    Ties as `component_boxes`.
    """
    if len(seeds) == 1:
        return next(iter(seeds))
    canvas = mask.view(np.uint8).copy()  # filling writes into it
    order = {}
    for place, seed in seeds.items():
        x0, y0, x1, y1 = boxes[place].tolist()
        order[place] = (-cv2.floodFill(canvas, None, seed, 2, flags=8)[0], y0, x0, y1, x1)
    return min(order, key=order.__getitem__)


def overlaps_at_thresholds(score: NDArray[np.uint8], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Best IoU with any true box at each threshold 0..255: of the largest component's box, and of any component's box.

    Between two values that occur in the map the mask is the same, and looked at once. Where no pixel reaches the
    threshold there is no box, and the IoU is 0.

    Args:
        score: 0..255. Shape: (H, W)
        truth: boxes. Shape: (N, 4)

    Returns:
        IoU in [0, 1]; rows largest, any. Shape: (2, 256)
    """
    values = value_counts(score)  # (256,) pixels with score == t
    above = values[::-1].cumsum()[::-1]  # (256,) pixels with score >= t
    overlaps = np.zeros((2, LEVELS))
    start, contours = 0, 0
    for level in np.flatnonzero(values).tolist():
        mask = score >= level
        if contours > CROWDED:
            boxes, first = component_boxes(mask)[0], 0
        else:
            boxes, first, contours = outlined_boxes(mask, int(above[level]))
        best = box_iou(boxes, truth).max(axis=1)  # (M,)
        overlaps[:, start : level + 1] = [[best[first]], [best.max()]]
        start = level + 1
    return overlaps


def nested_overlaps(score: NDArray[np.uint8], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """As `overlaps_at_thresholds`, for a map that is one component at every threshold: nothing has to be labeled."""
    rows, columns = score.max(axis=1), score.max(axis=0)
    overlaps = np.zeros((2, LEVELS))
    for level in range(int(score.max()) + 1):
        (y, x) = (np.flatnonzero(line >= level) for line in (rows, columns))
        overlaps[:, level] = box_iou(np.array([[x[0], y[0], x[-1], y[-1]]]), truth).max()
    return overlaps


class BoxAccuracy:
    """How many images have a right box, per threshold; integers, so states merge exactly in any order.

    The state counts images per threshold, for the IoU levels `deltas` of MaxBoxAccV2, and keeps in bits which ones they
    are, for intervals.

    Differences from the paper's code: thresholds are absolute, not shares of each map's maximum; boxes surround
    components, not contours, so the outline of a hole is no box; and their boxes are one pixel larger to the right and
    to the bottom.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4, and
    its journal version "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets", 2020
    """

    def __init__(self, deltas: Sequence[float]) -> None:
        self.deltas = tuple(deltas)
        self.largest = np.zeros(LEVELS, np.int64)  # images whose largest component is right
        self.top1 = np.zeros(LEVELS, np.int64)  # of them, those whose class is right, too
        self.any = np.zeros((len(self.deltas), LEVELS), np.int64)  # images with a right component
        self.images = 0
        self.labeled = 0
        self._right: dict[str, NDArray[np.uint8]] = {}  # id to bits: is the largest, is any component right

    def accumulate(
        self,
        score: NDArray[np.uint8],
        boxes: Sequence[Box],
        image_id: str,
        class_is_right: bool | None,
        is_nested: bool = False,
    ) -> None:
        """Add one image.

        Args:
            score: of the true class, 0..255. Shape: (H, W)
            boxes: the truth, at least one
            image_id: named in errors
            class_is_right: whether the most probable class is among the labels; None if the image has no label
            is_nested: whether the map is one component at every threshold, which is faster

        Raises:
            ScoreError: if the score map is no uint8 (H, W), or there is no box, or one with its corners exchanged
        """
        if score.dtype != np.uint8 or score.ndim != 2:
            raise ScoreError(f"{image_id}: expected a uint8 score of shape (H, W), got {score.dtype} {score.shape}")
        if not boxes or any(x1 < x0 or y1 < y0 for x0, y0, x1, y1 in boxes):
            raise ScoreError(
                f"{image_id}: expected boxes (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, got {list(boxes)}"
            )
        find = nested_overlaps if is_nested else overlaps_at_thresholds
        largest, best = find(score, np.array(boxes, np.int64))
        self.largest += largest >= LOC_IOU
        self.top1 += (largest >= LOC_IOU) & bool(class_is_right)
        any_right = best >= np.array(self.deltas)[:, None]
        self.any += any_right
        self._right[image_id] = np.packbits(np.vstack([largest >= LOC_IOU, any_right]), axis=1)
        self.images += 1
        self.labeled += class_is_right is not None

    def merge(self, other: "BoxAccuracy") -> None:
        """Add the images of another state.

        Raises:
            ScoreError: if it counts at other IoU levels
        """
        if self.deltas != other.deltas:
            raise ScoreError(f"expected a state with box_iou {self.deltas}, got one with {other.deltas}")
        self.largest += other.largest
        self.top1 += other.top1
        self.any += other.any
        self.images += other.images
        self.labeled += other.labeled
        self._right.update(other._right)

    def image_hits(self) -> NDArray[np.bool_]:
        """Whether each image has a right box at each threshold, in the order of the ids.

        The first row is the largest component's at IoU 0.5, the others any component's at `deltas`.

        Shape: (N, 1 + D, 256)
        """
        bits = np.array([self._right[image_id] for image_id in sorted(self._right)], np.uint8)
        rows = bits.reshape(len(self._right), 1 + len(self.deltas), LEVELS // 8)
        return np.unpackbits(rows, axis=2).view(np.bool_)

    def compute(self) -> BoxScores:
        """Read the scores off the counts.

        Raises:
            ScoreError: if there is no image
        """
        if not self.images:
            raise ScoreError("expected images with boxes, got none; likely an empty id list")
        best = LEVELS - 1 - int(self.largest[::-1].argmax())
        return BoxScores(
            gt_known_loc=int(self.largest[best]) / self.images,
            threshold=best,
            top1_loc=int(self.top1[best]) / self.labeled if self.labeled else None,
            max_box_acc_v2=int(self.any.max(axis=1).sum()) / (self.images * len(self.deltas)),
        )
