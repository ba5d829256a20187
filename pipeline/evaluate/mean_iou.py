"""Track 1: the confusion matrix of label maps, and the scores that are read off it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError, sample, swap_hint
from pipeline.core.pixel_counts import pair_counts
from pipeline.core.tracks import MOST_CLASSES
from pipeline.core.truth import IGNORE_INDEX


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Scores of label maps, each in [0, 1]. A class absent from truth and predictions is in no mean over IoU.

    Attributes:
        class_iou: IoU per class id, NaN where the class is absent. Shape: (K + 1,)
        mean_iou: mean over the classes that are present, background among them
        mean_iou_foreground: the same without background; None if only background is present
        pixel_accuracy: share of the scored pixels that are right
        mean_accuracy: mean over the classes in the truth, background among them, of the share of their pixels found
        present: class ids in truth or predictions
        absent: class ids in neither
    """

    class_iou: NDArray[np.float64]
    mean_iou: float
    mean_iou_foreground: float | None
    pixel_accuracy: float
    mean_accuracy: float
    present: tuple[int, ...]
    absent: tuple[int, ...]


def confusion_matrix(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int, image_id: str
) -> NDArray[np.int64]:
    """Count the pixels of every pair of class ids.

    Args:
        truth: class ids 0..K, 255 ignored. Shape: (H, W)
        prediction: class ids 0..K. Shape: (H, W)
        classes: K, without background, at most 254
        image_id: named in errors

    Returns:
        pixels, [truth, prediction]. Shape: (K + 1, K + 1)

    Raises:
        ScoreError: if a dtype is another one, the shapes differ, or a label is out of range

    >>> confusion_matrix(np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 1]], np.uint8), 1, "a").tolist()
    [[1, 0], [1, 0]]
    """
    _check_shapes(truth, prediction, image_id)
    counts = pair_counts(truth, prediction, (256, 256))
    _check_values(counts, classes, image_id)
    return counts[: classes + 1, : classes + 1].copy()  # without row 255, which is ignored


def _check_shapes(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], image_id: str) -> None:
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8 or truth.ndim != 2 or truth.shape != prediction.shape:
        got = f"{truth.dtype} {truth.shape} and {prediction.dtype} {prediction.shape}"
        hint = swap_hint(prediction.shape, truth.shape)
        raise ScoreError(f"{image_id}: expected truth and prediction as uint8 of one shape (H, W), got {got}{hint}")


def _check_values(counts: NDArray[np.int64], classes: int, image_id: str) -> None:
    """Refuse values that are no class id; `counts` has rows for values of the truth, columns for predicted ones."""
    true, predicted = (np.flatnonzero(counts.any(axis=axis)).tolist() for axis in (1, 0))
    outside = [value for value in true if value > classes and value != IGNORE_INDEX]
    if outside:
        raise ScoreError(
            f"{image_id}: expected truth labels 0..{classes} or {IGNORE_INDEX}, got {sample(outside)}; "
            "likely a mask of another class list"
        )
    outside = [value for value in predicted if value > classes]
    if outside:
        hint = (
            f"; {IGNORE_INDEX} marks ignored pixels, which only the truth may have" if IGNORE_INDEX in outside else ""
        )
        raise ScoreError(f"{image_id}: expected predicted labels 0..{classes}, got {sample(outside)}{hint}")


def class_iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of every class: matrix[k, k] / (row k + column k - matrix[k, k]), NaN where that is 0 / 0.

    Shape: (K + 1, K + 1) to (K + 1,)
    """
    return iou_of_counts(np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def iou_of_counts(
    right: NDArray[np.int64], truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """IoU from the pixels that are right, those of the truth and those of the prediction, NaN where there are none.

    Shape: (..., K + 1), all of them
    """
    union = truth + predicted - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def image_mean_iou(matrix: NDArray[np.int64]) -> float | None:
    """Mean IoU of one image over the classes in its truth or prediction, background among them.

    None if all is ignored.
    """
    return mean_of_present(class_iou(matrix)) if matrix.any() else None


def mean_of_present(values: NDArray[np.float64]) -> float:
    """The mean of the values that are not NaN, exactly rounded; NaN if there are none."""
    present = values[~np.isnan(values)].tolist()
    return math.fsum(present) / len(present) if present else math.nan


def known(value: float) -> float | None:
    """None for NaN: a class or an image without a score."""
    return None if math.isnan(value) else float(value)


def _present_counts(matrix: NDArray[np.int64]) -> NDArray[np.int32]:
    """Class id, pixels that are right, of the truth and of the prediction, of the P classes in either: (4, P)."""
    truth, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    present = np.flatnonzero(truth + predicted)
    counts = np.stack([present, np.diagonal(matrix)[present], truth[present], predicted[present]])
    return counts.astype(np.int32)  # an image has < 2^31 pixels


class MeanIoU:
    """The confusion matrix of all pixels of all images (pooled, not averaged over images), over K classes and
    background; and the counts of each image, for intervals."""

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= MOST_CLASSES:
            raise ScoreError(f"expected 1..{MOST_CLASSES} classes, got {classes}; a label map has 8 bits")
        self.classes = classes
        self.matrix = np.zeros((classes + 1, classes + 1), np.int64)  # [truth, prediction], pixels
        self.ignored_pixels = 0
        self._images: dict[str, NDArray[np.int32]] = {}  # id to the counts of the classes in it, few of K

    def accumulate(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8], image_id: str) -> NDArray[np.int64]:
        """Add one image and return its own confusion matrix; see `confusion_matrix` for arguments and errors.

        Raises:
            ScoreError: also if the image is in already
        """
        matrix = confusion_matrix(truth, prediction, self.classes, image_id)
        self.add(matrix, truth.size - int(matrix.sum()), image_id)
        return matrix

    def add(self, matrix: NDArray[np.int64], ignored: int, image_id: str) -> None:
        """Add one image by its own confusion matrix and its ignored pixels; errors as `accumulate`."""
        if image_id in self._images:
            raise ScoreError(f"{image_id}: expected every image once, got it a second time")
        self.matrix += matrix
        self._images[image_id] = _present_counts(matrix)
        self.ignored_pixels += ignored

    def merge(self, other: "MeanIoU") -> None:
        """Add the images of another state.

        Raises:
            ScoreError: if it counts other classes, or an image is in both
        """
        if self.classes != other.classes:
            raise ScoreError(f"expected a state of {self.classes} classes, got one of {other.classes}")
        if both := self._images.keys() & other._images.keys():
            raise ScoreError(f"expected every image once, got some in two states: {sample(sorted(both))}")
        self.matrix += other.matrix
        self.ignored_pixels += other.ignored_pixels
        self._images.update(other._images)

    @property
    def images(self) -> int:
        """Images accumulated."""
        return len(self._images)

    @property
    def pixels(self) -> int:
        """Pixels scored: those not ignored."""
        return int(self.matrix.sum())

    def image_counts(self) -> NDArray[np.int32]:
        """Each image's pixels that are right, of the truth and of the prediction, in the order of the ids.

        Shape: (N, 3, K + 1)
        """
        counts = np.zeros((self.images, 3, self.classes + 1), np.int32)
        for image, image_id in zip(counts, sorted(self._images), strict=True):
            present = self._images[image_id]
            image[:, present[0]] = present[1:]
        return counts

    def compute(self) -> Segmentation:
        """Read the scores off the matrix; see `compute_segmentation`."""
        return compute_segmentation(self.matrix)


def compute_segmentation(matrix: NDArray[np.int64]) -> Segmentation:
    """Read IoU and accuracy off a confusion matrix.

    Args:
        matrix: pixels, [truth, prediction]. Shape: (K + 1, K + 1)

    Raises:
        ScoreError: if it holds no pixel

    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5
    """
    pixels = int(matrix.sum())
    if not pixels:
        raise ScoreError("expected scored pixels, got none; likely an empty id list, or all pixels are ignored")
    iou = class_iou(matrix)
    rows = matrix.sum(axis=1)
    found = np.where(rows > 0, np.diagonal(matrix) / np.maximum(rows, 1), np.nan)
    absent = np.isnan(iou)
    return Segmentation(
        class_iou=iou,
        mean_iou=mean_of_present(iou),
        mean_iou_foreground=None if absent[1:].all() else mean_of_present(iou[1:]),
        pixel_accuracy=int(np.trace(matrix)) / pixels,
        mean_accuracy=mean_of_present(found),
        present=tuple(np.flatnonzero(~absent).tolist()),
        absent=tuple(np.flatnonzero(absent).tolist()),
    )
