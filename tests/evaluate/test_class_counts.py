"""Mean IoU by the number of classes in the truth: hand-computed on four images of three classes."""

import numpy as np
import pytest
from support.evaluation import SETTINGS

from pipeline.evaluate.class_counts import count_classes, scores_by_class_count, scores_of_several
from pipeline.evaluate.image_counts import ImageCounts

# right, truth and predicted pixels of background and three classes
ONE_A = [[4, 2, 0, 0], [6, 2, 0, 0], [4, 4, 0, 0]]  # IoU 4/6 and 2/4
ONE_B = [[6, 0, 2, 0], [6, 0, 2, 0], [6, 0, 2, 0]]  # all right
TWO = [[2, 1, 2, 0], [2, 4, 2, 0], [5, 1, 2, 0]]  # IoU 2/5, 1/4 and 1
NOTHING = [[5, 0, 0, 0], [8, 0, 0, 0], [5, 0, 0, 3]]  # no class in the truth, one predicted: 5/8 and 0


def counts_of(*images):
    return np.array(images, np.int32)


def test_classes_are_counted_in_the_truth():
    assert count_classes(counts_of(ONE_A, TWO, NOTHING, ONE_B)).tolist() == [1, 2, 0, 1]


def test_rows_have_the_scores_of_their_images_alone():
    after, before = counts_of(ONE_A, TWO, NOTHING, ONE_B), counts_of(ONE_A, TWO, NOTHING, ONE_A)
    rows = scores_by_class_count(ImageCounts(("a", "b", "c", "d"), before, after), SETTINGS, None)
    assert [(row["classes"], row["images"]) for row in rows] == [(0, 1), (1, 2), (2, 1)]
    assert rows[0]["mean_iou"] == pytest.approx((5 / 8 + 0) / 2)
    assert rows[1]["mean_iou"] == pytest.approx((10 / 12 + 2 / 4 + 1) / 3)  # pooled over both images
    assert rows[1]["mean_iou_before_crf"] == pytest.approx((8 / 12 + 4 / 8) / 2)
    assert rows[2]["mean_iou"] == rows[2]["mean_iou_before_crf"] == pytest.approx((2 / 5 + 1 / 4 + 1) / 3)
    assert rows[2]["mean_iou_interval"] is None  # of one image
    low, high = rows[1]["crf_gain_interval"]
    assert low <= rows[1]["mean_iou"] - rows[1]["mean_iou_before_crf"] <= high
    assert "mean_iou_first_stage" not in rows[0]


def test_the_gain_of_the_student_is_over_the_first_stages_result():
    perfect = counts_of(ONE_B, ONE_B)
    student = ImageCounts(("a", "b"), perfect, perfect)
    first = ImageCounts(("a", "b"), perfect, counts_of(ONE_A, ONE_A))
    (row,) = scores_by_class_count(student, SETTINGS, first)
    assert (row["mean_iou"], row["mean_iou_first_stage"]) == (1.0, pytest.approx((4 / 6 + 2 / 4) / 2))
    assert row["student_gain_interval"] == pytest.approx([1 - (4 / 6 + 2 / 4) / 2] * 2, abs=1e-6)


def test_several_are_two_or_more_together() -> None:
    three = [[4, 1, 1, 1], [4, 1, 1, 1], [4, 1, 1, 1]]  # all right
    counts = counts_of(ONE_A, TWO, three)
    row = scores_of_several(ImageCounts(("a", "b", "c"), counts, counts), SETTINGS, None)
    assert row is not None
    assert (row["images"], "classes" in row) == (2, False)
    assert row["mean_iou"] == pytest.approx((6 / 9 + 2 / 5 + 1 + 1) / 4)  # pooled over both images


def test_without_several_classes_there_is_no_row() -> None:
    counts = counts_of(ONE_A, NOTHING)
    assert scores_of_several(ImageCounts(("a", "b"), counts, counts), SETTINGS, None) is None
