"""Track 3: the IoU of {score >= t} with the mask for every t, its peak, and the area under the precision-recall curve.

Scores are 8-bit, so one histogram per image holds every threshold exactly. All state is integers keyed by image id:
merging in any order, from any number of processes, gives the same score bit for bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError, sample, swap_hint
from pipeline.core.pixel_counts import pair_counts

Comparison = Literal[">=", ">"]

LEVELS = 256  # score values, and thresholds
BLOCK = 256  # images whose curves are computed together, in 64-bit numbers
ROWS = 64  # images whose counts are one piece of memory, where it is not known how many will come


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The highest point of an IoU curve.

    Attributes:
        iou: maximum of `curve`, in [0, 1]
        threshold: the highest threshold that reaches it, 0..255
        curve: IoU per threshold. Shape: (256,)
    """

    iou: float
    threshold: int
    curve: NDArray[np.float64]


def count_scores(
    score: NDArray[np.uint8], mask: NDArray[np.bool_], ignored: NDArray[np.bool_] | None, image_id: str
) -> NDArray[np.int64]:
    """Count the pixels of every score value: inside the mask, outside it, and ignored ones.

    Args:
        score: 0..255. Shape: (H, W)
        mask: the truth. Shape: (H, W)
        ignored: pixels left out of every score, whatever the mask says there; None ignores nothing. Shape: (H, W)
        image_id: named in errors

    Returns:
        pixels; rows inside, outside, ignored. Shape: (3, 256)

    Raises:
        ScoreError: if a dtype is another one, or the shapes differ

    >>> counts = count_scores(np.array([[0, 9, 9]], np.uint8), np.array([[False, True, False]]), None, "a")
    >>> counts[:, [0, 9]].tolist()
    [[0, 1], [1, 1], [0, 0]]
    """
    if score.dtype != np.uint8 or mask.dtype != np.bool_ or score.ndim != 2 or score.shape != mask.shape:
        got = f"{score.dtype} {score.shape} and {mask.dtype} {mask.shape}"
        hint = swap_hint(score.shape, mask.shape)
        raise ScoreError(f"{image_id}: expected a uint8 score and a bool mask of one shape (H, W), got {got}{hint}")
    if ignored is not None and (ignored.dtype != np.bool_ or ignored.shape != mask.shape):
        raise ScoreError(
            f"{image_id}: expected bool ignored pixels of shape {mask.shape}, got {ignored.dtype} {ignored.shape}"
        )
    row = np.logical_not(mask).view(np.uint8)  # (H, W)
    rows = row if ignored is None else np.where(ignored, np.uint8(2), row)
    return pair_counts(rows, score, (3, LEVELS))


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCounts:
    """What is kept of an image's counts.

    Attributes:
        scored: pixels per score value, inside and outside the mask; an image has < 2^31. Shape: (2, 256)
        ignored: pixels
    """

    scored: NDArray[np.int32]
    ignored: int


def compact(counts: NDArray[np.int64]) -> ScoreCounts:
    """What is kept of the result of `count_scores`."""
    return ScoreCounts(counts[:2].astype(np.int32), int(counts[2].sum()))


def count_above(histogram: NDArray[np.int64], comparison: Comparison = ">=") -> NDArray[np.int64]:
    """Count the pixels with score >= t (or > t) for every t = 0..255. Shape: (..., 256) to (..., 256)

    >>> histogram = np.zeros(256, np.int64)
    >>> histogram[[0, 255]] = 5, 2
    >>> count_above(histogram)[[0, 1, 255]].tolist(), count_above(histogram, ">")[[0, 254, 255]].tolist()
    ([7, 2, 2], [2, 2, 0])
    """
    above = histogram[..., ::-1].cumsum(axis=-1, dtype=np.int64)[..., ::-1]
    if comparison == ">=":
        return above
    return np.concatenate([above[..., 1:], np.zeros_like(above[..., :1])], axis=-1)


def iou_curve(inside: NDArray[np.int64], outside: NDArray[np.int64], comparison: Comparison) -> NDArray[np.float64]:
    """IoU of {score >= t} (or {score > t}) with the mask, for every t = 0..255.

        IoU(t) = TP(t) / (P + FP(t)),    P = pixels of the mask

    The union P + FP holds every mask pixel, so it is never 0 where there is foreground; without foreground there is no
    IoU, and the caller has to leave the image out. With >= the curve starts at the foreground share.

    Args:
        inside: pixels of the mask per score value. Shape: (..., 256)
        outside: the same of the other pixels. Shape: (..., 256)
        comparison: which side of the threshold equality is on

    Returns:
        IoU in [0, 1]. Shape: (..., 256)
    """
    true_positives = count_above(inside, comparison)
    union = inside.sum(axis=-1, keepdims=True, dtype=np.int64) + count_above(outside, comparison)
    curve: NDArray[np.float64] = true_positives / union
    return curve


def find_peak(curve: NDArray[np.float64]) -> Peak:
    """The maximum of a curve over t = 0..255; ties go to the highest threshold."""
    return Peak(float(curve.max()), LEVELS - 1 - int(curve[::-1].argmax()), curve)


def average_precision(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> float:
    """Area under the precision-recall curve of the pixels (PxAP), not interpolated.

        PxAP = sum over t = 255..0 of P_t * (R_t - R_{t+1}),    R_256 = 0

    with precision P_t and recall R_t of {score >= t}. A threshold that no pixel reaches adds nothing.

    Args:
        inside: pixels of the mask per score value, not all 0. Shape: (256,)
        outside: the same of the other pixels. Shape: (256,)

    Returns:
        share in [0, 1]; the papers print percent

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4
    """
    true_positives = count_above(inside)
    positives = true_positives + count_above(outside)
    precision = true_positives / np.maximum(positives, 1)
    return math.fsum((precision * inside).tolist()) / int(inside.sum())


class PeakIoU:
    """IoU of {score >= t} with the mask, t = 0..255, over a set of images.

    Two readings, which are different numbers:
        pooled: all pixels of all images in one pair of histograms; an image without foreground adds its false positives
        mean: the IoU of each image, averaged over the images; one without foreground has no IoU and is left out
    Ignored pixels are in neither.

    Args:
        per_image: keep the counts of each image, 2 KiB, without which there are pooled scores alone
        room: how many images will come, if that is known: their counts are one piece of memory from the beginning
    """

    def __init__(self, per_image: bool = True, room: int = 0) -> None:
        self.per_image = per_image
        self.room = room
        self.inside = np.zeros(LEVELS, np.int64)  # pixels per score value, inside the masks
        self.outside = np.zeros(LEVELS, np.int64)  # the same, outside
        self.ignored_pixels = 0
        self._ids: set[str] = set()
        self._images: dict[str, NDArray[np.int32]] = {}  # id to inside and outside, (2, 256), if they are kept
        self._pieces: list[NDArray[np.int32]] = []  # memory of the counts; rows in the order of `_images`
        self._used = 0  # rows of the last piece

    def accumulate(
        self, score: NDArray[np.uint8], mask: NDArray[np.bool_], image_id: str, ignored: NDArray[np.bool_] | None = None
    ) -> None:
        """Add one image; see `count_scores` for arguments.

        Raises:
            ScoreError: if dtypes or shapes are wrong, or the image is in already
        """
        self.add(compact(count_scores(score, mask, ignored, image_id)), image_id)

    def add(self, counts: "ScoreCounts", image_id: str) -> None:
        """Add one image by its counts, which are kept and may be shared with other states; errors as `accumulate`."""
        if image_id in self._ids:
            raise ScoreError(f"{image_id}: expected every image once, got it a second time")
        self._ids.add(image_id)
        self.inside += counts.scored[0]
        self.outside += counts.scored[1]
        self.ignored_pixels += counts.ignored
        if self.per_image:
            self._keep(image_id, counts.scored)

    def _keep(self, image_id: str, scored: NDArray[np.int32]) -> None:
        """Copy an image's counts into a larger piece of memory."""
        if not self._pieces or self._used == len(self._pieces[-1]):
            self._pieces.append(np.empty((ROWS if self._pieces else max(ROWS, self.room), 2, LEVELS), np.int32))
            self._used = 0
        row = self._pieces[-1][self._used]
        row[:] = scored
        self._images[image_id] = row
        self._used += 1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pieces": [], "_used": 0}  # unused memory does not travel to another process

    def merge(self, other: "PeakIoU") -> None:
        """Add the images of another state.

        Raises:
            ScoreError: if an image is in both
        """
        if both := self._ids & other._ids:
            raise ScoreError(f"expected every image once, got some in two states: {sample(sorted(both))}")
        self.inside += other.inside
        self.outside += other.outside
        self.ignored_pixels += other.ignored_pixels
        self._ids |= other._ids
        for image_id, scored in other._images.items():
            self._keep(image_id, scored)

    @property
    def images(self) -> int:
        """Images accumulated, with and without foreground."""
        return len(self._ids)

    @property
    def pixels(self) -> int:
        """Pixels scored: those not ignored."""
        return int(self.inside.sum() + self.outside.sum())

    @property
    def has_foreground(self) -> bool:
        """Whether any scored pixel is foreground: without one there is nothing to compute."""
        return bool(self.inside.any())

    @property
    def without_foreground(self) -> tuple[str, ...]:
        """Ids of the images without a foreground pixel that is not ignored, sorted."""
        return tuple(sorted(image_id for image_id, counts in self._images.items() if not counts[0].any()))

    def compute(self, comparison: Comparison = ">=") -> Peak:
        """The peak of the pooled curve.

        Raises:
            ScoreError: if there is no foreground pixel
        """
        self._require_foreground()
        return find_peak(iou_curve(self.inside, self.outside, comparison))

    def compute_mean(self, comparison: Comparison = ">=") -> Peak:
        """The peak of the mean over the images with foreground of their IoU curves.

        Each mean is the exactly rounded sum (`math.fsum`), hence independent of the order of the images.

        Raises:
            ScoreError: if there is no foreground pixel, or no image's counts were kept
        """
        self._require_foreground()
        if not self.per_image:
            raise ScoreError("expected counts of each image, for a mean over images, got pooled ones alone")
        known = [counts for counts in self._images.values() if counts[0].any()]
        curves = np.empty((len(known), LEVELS))
        for start in range(0, len(known), BLOCK):
            block = np.stack(known[start : start + BLOCK]).astype(np.int64)
            curves[start : start + BLOCK] = iou_curve(block[:, 0], block[:, 1], comparison)
        # one threshold at a time: all values as objects of Python would take 8 KB an image
        return find_peak(np.array([math.fsum(column.tolist()) / len(curves) for column in curves.T]))

    def compute_pxap(self) -> float:
        """PxAP over all pixels of all images; see `average_precision`. It does not depend on the comparison.

        Raises:
            ScoreError: if there is no foreground pixel
        """
        self._require_foreground()
        return average_precision(self.inside, self.outside)

    def image_counts(self) -> NDArray[np.int32]:
        """Each image's pixels per score value, inside and outside the mask, in the order of the ids.

        They are not copied: where the images did not come in this order, they are moved once. Of 32 bits they are 2 KiB
        an image, 47 MB for the 23 151 of the challenge's Track 3.

        Returns:
            read-only. Shape: (N, 2, 256)
        """
        ids = sorted(self._images)
        if len(self._pieces) != 1 or self._used != len(ids) or list(self._images) != ids:
            self._move(ids)  # rows that came from another process are not in a piece
        counts = self._pieces[0][: len(ids)]
        counts.flags.writeable = False
        return counts

    def _move(self, ids: Sequence[str]) -> None:
        """Bring the counts into one piece of memory, in the order of the ids."""
        whole = np.empty((len(ids), 2, LEVELS), np.int32)
        self._pieces = [whole]  # the others are free when the last of their rows has been moved
        self._used = len(ids)
        for row, image_id in zip(whole, ids, strict=True):
            row[:] = self._images[image_id]
            self._images[image_id] = row
        self._images = {image_id: self._images[image_id] for image_id in ids}

    def image_iou(self, image_id: str, threshold: int, comparison: Comparison = ">=") -> float | None:
        """IoU of one image at one threshold; None without foreground.

        Raises:
            ScoreError: if the image was not accumulated
        """
        inside, outside = self._image(image_id)
        return float(iou_curve(inside, outside, comparison)[threshold]) if inside.any() else None

    def foreground_share(self, image_id: str) -> float | None:
        """Share of foreground among one image's scored pixels; None if all are ignored.

        Raises:
            ScoreError: if the image was not accumulated
        """
        inside, outside = self._image(image_id)
        pixels = int(inside.sum() + outside.sum())
        return int(inside.sum()) / pixels if pixels else None

    def _image(self, image_id: str) -> NDArray[np.int64]:
        if image_id not in self._images:
            raise ScoreError(
                f"{image_id}: expected an image that was accumulated, got one that is not among the {self.images}"
            )
        return self._images[image_id].astype(np.int64)

    def _require_foreground(self) -> None:
        if not self.has_foreground:
            raise ScoreError(
                f"expected foreground pixels, got none in {self.images} images; likely an empty id list, or masks of "
                "another kind"
            )
