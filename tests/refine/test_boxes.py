"""Boxes of all level sets at once, against one threshold at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.helpers import refine_settings

from pipeline.refine.boxes import fill_boxes
from pipeline.refine.outputs import Evidence, predict_image


def _part(mask, seed):
    """The 8-connected part of a mask that holds `seed`, by growing it one step at a time."""
    part = np.zeros_like(mask)
    part[seed] = True
    while True:
        padded, (height, width) = np.pad(part, 1), mask.shape
        near = [padded[y : y + height, x : x + width] for y in (0, 1, 2) for x in (0, 1, 2)]
        grown = mask & np.any(near, axis=0)
        if (grown == part).all():
            return part
        part = grown


def _slow(score, seed):
    filled = np.zeros_like(score)
    for level in range(1, int(score.max()) + 1):
        rows, columns = np.nonzero(_part(score >= level, seed))
        filled[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = level
    return filled


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 5)), st.data())
def test_every_level_set_is_the_box_of_the_part_with_the_peak(score, data):
    row = data.draw(st.integers(0, score.shape[0] - 1))
    column = data.draw(st.integers(0, score.shape[1] - 1))
    score[row, column] = 200  # one peak, so that there is no choice
    assert fill_boxes(score).tolist() == _slow(score, (row, column)).tolist()


def test_of_two_peaks_the_larger_holds_the_object():
    score = np.array([[9, 1, 0, 9, 9], [0, 0, 0, 9, 0]], np.uint8)
    assert fill_boxes(score).tolist() == [[0, 0, 0, 9, 9], [0, 0, 0, 9, 9]]


def test_boxes_stay_and_zeros_stay():
    box = np.zeros((4, 7), np.uint8)
    assert fill_boxes(box).tolist() == box.tolist()
    box[1:3, 2:6] = 77
    assert fill_boxes(box).tolist() == box.tolist()
    assert fill_boxes(fill_boxes(box)).tolist() == box.tolist()


@pytest.mark.parametrize("shape", ["free", "box"])
def test_the_setting_shapes_the_prediction_before_and_after_the_crf(shape):
    maps = np.array([[[0.0, 0.2, 0.0], [1.0, 0.0, 0.0]]], np.float32)
    evidence = Evidence(maps, np.array([0], np.int32), np.array([1.0], np.float32))
    prediction = predict_image(
        evidence, refine_settings(shape=shape, exponent=1.0), lambda given: given[:, ::-1].copy()
    )
    before, after = ([[0, 51, 0], [255, 0, 0]], [[255, 0, 0], [0, 51, 0]])
    if shape == "box":
        before, after = ([[51, 51, 0], [255, 51, 0]], [[255, 51, 0], [51, 51, 0]])
    assert prediction.before.tolist() == before
    assert prediction.after.tolist() == after
