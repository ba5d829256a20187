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

    A threshold is two counts and no union of masks: |A or B| = |A| + |B| - |A and B|.
    """
    score = score_to_uint8(np.clip(resize(noisy_map(0, (24, 24)), SHAPE), 0, 1))
    mask = blob(0) > 0.5

    def sweep() -> NDArray[np.int64]:
        counts, foreground = np.empty((2, LEVELS), np.int64), np.count_nonzero(mask)
        for threshold in range(LEVELS):
            found = score >= threshold
            inside = np.count_nonzero(found & mask)
            counts[:, threshold] = inside, foreground + np.count_nonzero(found) - inside
        return counts

    def ours() -> NDArray[np.int64]:
        inside, outside = count_scores(score, mask, None, "bench")[:2]
        return np.stack([count_above(inside), inside.sum() + count_above(outside)])

    assert np.array_equal(sweep(), ours())
    return _against(sweep, ours)


def confusion() -> list[float]:
    """The confusion matrix of 201 class ids: a pass over the pixels for each class / ours.

    The loop looks at one class of the truth at a time, as scripts of the field do, and counts what is predicted there.
    """
    chance = np.random.default_rng(0)
    truth, prediction = (
        np.kron(chance.integers(0, CLASSES + 1, (15, 20)), np.ones((25, 25))).astype(np.uint8) for _ in range(2)
    )

    def loops() -> NDArray[np.int64]:
        matrix = np.zeros((CLASSES + 1, CLASSES + 1), np.int64)
        for k in range(CLASSES + 1):
            others, counts = np.unique(prediction[truth == k], return_counts=True)
            matrix[k, others] = counts
        return matrix

    def ours() -> NDArray[np.int64]:
        return confusion_matrix(truth, prediction, CLASSES, "bench")

    assert np.array_equal(loops(), ours())
    return _against(loops, ours)


def _against(reference: Callable[[], object], ours: Callable[[], object]) -> list[float]:
    """Seconds of the reference / seconds of ours, of which many calls are timed together."""
    theirs, own = in_turn([reference, lambda: [ours() for _ in range(CALLS)]])
    return ratios(theirs, [seconds / CALLS for seconds in own])
