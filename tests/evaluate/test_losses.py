"""What IoU is lost to: values by hand, a plain loop, and that IoU and losses add up to 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.evaluate.losses import (
    BORDER,
    SEGMENTATION_LOSSES,
    errors_by_kind,
    localization_losses,
    near_border,
    segmentation_losses,
)
from pipeline.evaluate.mean_iou import class_iou, confusion_matrix, mean_of_present
from pipeline.evaluate.peak_iou import PeakIoU

LABELS = arrays(np.uint8, (6, 9), elements=st.sampled_from([0, 1, 2, 255]))
PREDICTED = arrays(np.uint8, (6, 9), elements=st.integers(0, 2))


def test_losses_of_one_image_by_hand():
    truth = np.zeros((20, 30), np.uint8)  # diagonal 36: a border is one pixel wide on either side
    truth[:, :10] = 1
    prediction = np.zeros_like(truth)
    prediction[:, 3:11] = 1  # 2 columns missed inside, 1 too many at the border
    prediction[:, :1] = 2  # 1 column confused
    matrix, border = _matrices(truth, prediction)
    assert errors_by_kind(matrix, border)[:, 1].tolist() == [40, 0, 20, 20]
    found = segmentation_losses(matrix, border, "foreground")
    # class 1: union 11 columns, 7 hit; class 2: union 1 column, all of it confused
    assert found == {"missed": 2 / 11 / 2, "false": 0, "confused": (1 / 11 + 1) / 2, "border": 1 / 11 / 2}


def test_a_false_object_far_from_a_border():
    truth = np.zeros((20, 30), np.uint8)
    truth[:, :10] = 1
    prediction = truth.copy()
    prediction[:, 20:25] = 1
    assert segmentation_losses(*_matrices(truth, prediction), "foreground") == {
        "missed": 0, "false": 5 / 15, "confused": 0, "border": 0,
    }  # fmt: skip


@given(LABELS, PREDICTED, st.sampled_from(["with_background", "foreground"]))
def test_mean_iou_and_losses_add_up_to_1(truth, prediction, classes):
    matrix, border = _matrices(truth, prediction)
    found = segmentation_losses(matrix, border, classes)
    ious = class_iou(matrix)[0 if classes == "with_background" else 1 :]
    if np.isnan(ious).all():
        assert found == dict.fromkeys(SEGMENTATION_LOSSES)
    else:
        assert mean_of_present(ious) + sum(found.values()) == pytest.approx(1)


@given(LABELS, PREDICTED)
def test_errors_equal_a_plain_loop(truth, prediction):
    errors = np.zeros((4, 3), int)
    near = near_border(truth)
    for t, p, at_border in zip(truth.ravel().tolist(), prediction.ravel().tolist(), near.ravel(), strict=True):
        if t in (255, p):
            continue
        kind = 3 if at_border else 0 if p == 0 else 1 if t == 0 else 2
        errors[kind, t] += 1
        errors[kind, p] += 1
    assert errors_by_kind(*_matrices(truth, prediction)).tolist() == errors.tolist()


@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.sampled_from([0, 1, 255])))
def test_border_equals_a_plain_loop(truth):
    height, width = truth.shape
    reach = max(1, round(BORDER * np.hypot(height, width)))
    expected = [
        [
            len(set(truth[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].ravel().tolist())) > 1
            for x in range(width)
        ]
        for y in range(height)
    ]
    assert near_border(truth).tolist() == expected


def test_the_border_grows_with_the_image():
    truth = np.zeros((300, 400), np.uint8)  # diagonal 500: 5 pixels on either side
    truth[:, 200:] = 1
    assert np.flatnonzero(near_border(truth)[0]).tolist() == list(range(195, 205))


@given(arrays(np.uint8, (3, 4, 5), elements=st.sampled_from([0, 90, 200])), st.sampled_from([">=", ">"]), st.booleans())
def test_iou_missed_and_surplus_add_up_to_1(scores, comparison, pooled):
    state = PeakIoU()
    for number, score in enumerate(scores):
        state.accumulate(score, np.arange(20).reshape(4, 5) < 7 * number, str(number))  # the first has no foreground
    peak = state.compute(comparison) if pooled else state.compute_mean(comparison)
    found = localization_losses(state.image_counts(), peak.threshold, comparison, "pooled" if pooled else "mean")
    assert peak.iou + found["missed"] + found["surplus"] == pytest.approx(1)


def test_nothing_is_lost_where_there_is_no_foreground():
    assert localization_losses(np.ones((0, 2, 256), np.int32), 9, ">=", "mean") == {"missed": None, "surplus": None}


def _matrices(truth, prediction):
    near = np.where(near_border(truth), truth, np.uint8(255))
    return confusion_matrix(truth, prediction, 2, "a"), confusion_matrix(near, prediction, 2, "a")
