"""Counting of pixels, against loops over thresholds and classes. Seconds of the processor, one core."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.samples import SHAPE, blob, in_turn, noisy_map, ratios
from pipeline.core.images import resize, score_to_uint8
from pipeline.evaluate.mean_iou import confusion_matrix
from pipeline.evaluate.peak_iou import LEVELS, count_above, count_scores

CLASSES = 200
CALLS = 20  # of ours in one turn: one is too short for the clock


def peak_iou() -> list[float]:
    """Intersection and union of {score >= t} with a mask for all 256 thresholds: one after another / ours.

    The sweep sums the two masks of each threshold, as evaluation scripts of the field do. One that is written for
    speed, with two `count_nonzero` a threshold and no union, is five times as fast (docs/performance.md).
    """
    score = score_to_uint8(np.clip(resize(noisy_map(0, (24, 24)), SHAPE), 0, 1))
    mask = blob(0) > 0.5

    def sweep() -> NDArray[np.int64]:
        counts = np.empty((2, LEVELS), np.int64)
        for threshold in range(LEVELS):
            found = score >= threshold
            counts[:, threshold] = np.logical_and(found, mask).sum(), np.logical_or(found, mask).sum()
        return counts

    def ours() -> NDArray[np.int64]:
        inside, outside = count_scores(score, mask, None, "bench")[:2]
        return np.stack([count_above(inside), inside.sum() + count_above(outside)])

    assert np.array_equal(sweep(), ours())
    return _against(sweep, ours)


def confusion() -> list[float]:
    """What the mean IoU needs of 201 class ids: a loop over the classes / ours, which makes the whole matrix.

    The loop counts the intersection and both areas of one class at a time, as evaluation scripts of the field do, by
    `count_nonzero`, the fastest way.
    """
    chance = np.random.default_rng(0)
    truth, prediction = (
        np.kron(chance.integers(0, CLASSES + 1, (15, 20)), np.ones((25, 25))).astype(np.uint8) for _ in range(2)
    )

    def loops() -> NDArray[np.int64]:
        counts = np.empty((3, CLASSES + 1), np.int64)
        for k in range(CLASSES + 1):
            is_true, is_predicted = truth == k, prediction == k
            both = np.count_nonzero(is_true & is_predicted)
            counts[:, k] = both, np.count_nonzero(is_true), np.count_nonzero(is_predicted)
        return counts

    def ours() -> NDArray[np.int64]:
        matrix = confusion_matrix(truth, prediction, CLASSES, "bench")
        return np.stack([matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)])

    assert np.array_equal(loops(), ours())
    return _against(loops, ours)


def _against(reference: Callable[[], object], ours: Callable[[], object]) -> list[float]:
    """Seconds of the reference / seconds of ours, of which many calls are timed together."""
    theirs, own = in_turn([reference, lambda: [ours() for _ in range(CALLS)]])
    return ratios(theirs, [seconds / CALLS for seconds in own])
