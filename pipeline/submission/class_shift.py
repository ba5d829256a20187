"""Class ids that are all one too low or one too high: a mistake that no check without the truth can see."""

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.mean_iou import iou_of_counts

CLEARLY = 0.1  # by how much the mean IoU of the classes has to rise; chance moves it far less
_CAUSES = {
    1: "every class id is one too low; likely class indices 0..K-1 in place of ids 1..K",
    -1: "every class id is one too high; likely the background counted as class 1",
}


def shift_warning(matrix: NDArray[np.int64]) -> str | None:
    """Say so if the predictions fit the truth much better with 1 added to, or taken from, every class id.

    Args:
        matrix: pixels, [truth, prediction]. Shape: (K + 1, K + 1)

    >>> shift_warning(np.array([[5, 0, 0], [4, 0, 0], [0, 4, 0]]))  # class 1 is called 0, class 2 is called 1
    'mean IoU of the classes is 0.50 with 1 added to every predicted id, 0.00 without: every class id is one too low; \
likely class indices 0..K-1 in place of ids 1..K'
    """
    plain = shifted_iou(matrix, 0)
    for shift, cause in _CAUSES.items():
        shifted = shifted_iou(matrix, shift)
        if shifted > plain + CLEARLY:
            change = "1 added to" if shift > 0 else "1 taken from"
            scores = f"mean IoU of the classes is {shifted:.2f} with {change} every predicted id, {plain:.2f} without"
            return f"{scores}: {cause}"
    return None


def shifted_iou(matrix: NDArray[np.int64], shift: int) -> float:
    """Mean IoU, over the classes in the truth but the background, of predicted ids plus `shift`; 0 if there are none.

    Background stays background, and an id that leaves 1..K by the shift is no class any more.
    """
    truth, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    ids = np.arange(1, len(matrix))
    ids = ids[truth[1:] > 0]
    called = ids - shift  # what the predictions call these classes
    inside = (called > 0) & (called < len(matrix))
    called = np.where(inside, called, 0)
    iou = iou_of_counts(matrix[ids, called], truth[ids], predicted[called])
    return float(np.where(inside, iou, 0.0).mean()) if len(ids) else 0.0
