"""How much IoU is lost, and to what: the IoU and its losses add up to 1.

Every pixel of a union that is no hit is an error of one kind, so that 1 - IoU is a sum over kinds:

    Track 3:  missed, surplus                       1 = IoU + missed + surplus,  each over the union
    Track 1:  missed, false, confused, border       1 = mIoU + their means over the classes that the mIoU is over

Source of the idea that errors at borders be counted apart: Cheng, Girshick, Dollár, Berg and Kirillov, "Boundary IoU:
Improving Object-Centric Image Segmentation Evaluation", CVPR 2021
"""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.mean_iou import mean_of_present
from pipeline.evaluate.peak_iou import Comparison

BORDER = 0.01  # of the image's diagonal: errors so near to a border of the truth are errors of the border
LOCALIZATION_LOSSES = ("missed", "surplus")
SEGMENTATION_LOSSES = ("missed", "false", "confused", "border")


def near_border(truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels with another value of the truth within d rows and columns, d = max(1, round(0.01 * diagonal)).

    An ignored pixel is another value, too: the rim that some data sets draw around objects stands for their border.

    Args:
        truth: class ids. Shape: (H, W)

    >>> near_border(np.array([[0, 0, 0, 1, 1]], np.uint8)).tolist()
    [[False, False, True, True, False]]
    """
    reach = max(1, round(BORDER * float(np.hypot(*truth.shape))))
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.not_equal(cv2.dilate(truth, window), cv2.erode(truth, window))


def errors_by_kind(matrix: NDArray[np.int64], border: NDArray[np.int64]) -> NDArray[np.int64]:
    """The wrong pixels in the union of each class, by kind.

    A pixel of class t that is predicted as p, t != p, is an error in the unions of t and of p. It is

        border    near a border of the truth, else
        missed    p is the background
        false     t is the background
        confused  neither is

    Args:
        matrix: all pixels, [truth, prediction]. Shape: (K + 1, K + 1)
        border: those of them near a border of the truth. Shape: (K + 1, K + 1)

    Returns:
        rows as `SEGMENTATION_LOSSES`. Shape: (4, K + 1)

    >>> matrix = np.array([[5, 2, 0], [1, 4, 3], [0, 0, 6]])
    >>> errors_by_kind(matrix, np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 2, 2], [1, 2, 1]]
    """
    inner, near = (_wrong(counts) for counts in (matrix - border, border))
    missed, false, confused = np.zeros_like(inner), np.zeros_like(inner), inner.copy()
    missed[1:, 0], false[0, 1:] = inner[1:, 0], inner[0, 1:]
    confused[:, 0] = confused[0] = 0
    return np.stack([kind.sum(axis=0) + kind.sum(axis=1) for kind in (missed, false, confused, near)])


def _wrong(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return counts - np.diag(np.diagonal(counts))


def segmentation_losses(
    matrix: NDArray[np.int64], border: NDArray[np.int64], classes: Literal["with_background", "foreground"]
) -> dict[str, float | None]:
    """What the mean IoU loses to each kind of error:

        loss_c = mean over k of E_ck / U_k,    mIoU + sum over c of loss_c = 1

    with E_ck of `errors_by_kind` and U_k the union of class k, over the classes that are in truth or prediction, with
    background or without. None where there is no such class.

    Args:
        matrix: all pixels, [truth, prediction]. Shape: (K + 1, K + 1)
        border: those near a border of the truth. Shape: (K + 1, K + 1)
        classes: which classes the mean is over

    >>> segmentation_losses(np.array([[6, 0], [2, 2]]), np.zeros((2, 2), int), "foreground")
    {'missed': 0.5, 'false': 0.0, 'confused': 0.0, 'border': 0.0}
    """
    first = 0 if classes == "with_background" else 1
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diagonal(matrix)
    errors = errors_by_kind(matrix, border)[:, first:]
    shares = np.where(union[first:] > 0, errors / np.maximum(union[first:], 1), np.nan)
    known = bool((union[first:] > 0).any())
    return {
        kind: mean_of_present(row) if known else None for kind, row in zip(SEGMENTATION_LOSSES, shares, strict=True)
    }


def localization_losses(
    counts: NDArray[np.int32], threshold: int, comparison: Comparison, average: Literal["pooled", "mean"]
) -> dict[str, float | None]:
    """What the IoU at a threshold loses to missed and to surplus area: shares of the union, FN and FP over it.

        pooled:  of all pixels of all images
        mean:    mean over the images with foreground

    Args:
        counts: pixels inside and outside the mask per score value. Shape: (N, 2, 256)
        threshold: the foreground is {score >= threshold}, or >, as `comparison` says
        comparison: which side of the threshold equality is on
        average: which of the two

    >>> counts = np.zeros((1, 2, 256), np.int32)
    >>> counts[0, 0, [9, 200]], counts[0, 1, [9, 200]] = (1, 2), (7, 1)  # 3 true pixels, 2 found; 1 surplus
    >>> localization_losses(counts, 100, ">=", "pooled")
    {'missed': 0.25, 'surplus': 0.25}
    """
    true = counts[:, 0].sum(axis=1, dtype=np.int64)  # (N,)
    if not true.any():
        return dict.fromkeys(LOCALIZATION_LOSSES)
    first = threshold if comparison == ">=" else threshold + 1
    above = counts[:, :, first:].sum(axis=2, dtype=np.int64)  # (N, 2): hits and surplus pixels
    if average == "pooled":
        true, above = true.sum(keepdims=True), above.sum(axis=0, keepdims=True)
    else:
        true, above = true[true > 0], above[true > 0]
    union = true + above[:, 1]
    missed, surplus = (true - above[:, 0]) / union, above[:, 1] / union
    return {"missed": float(missed.mean()), "surplus": float(surplus.mean())}
