"""The predicted class, and classes in predictions against labels."""

import numpy as np
import pytest

from pipeline.core.errors import ScoreError
from pipeline.evaluate.classification import Classification, ClassPresence, check_prediction


def test_the_stored_class_is_the_prediction():
    assert check_prediction(np.array([2], np.int32), 3, "a") == 2


@pytest.mark.parametrize("predicted", [[3], [-1], [], [0, 1]])
def test_a_prediction_is_one_class_of_the_list(predicted):
    with pytest.raises(
        ScoreError, match=r"^a: expected one predicted class in 0..2, got .*; likely maps of another class list"
    ):
        check_prediction(np.array(predicted, np.int32), 3, "a")


def test_accuracy_counts_labeled_images_only():
    state = Classification()
    assert state.accuracy() is None
    assert [state.accumulate(top, labels) for top, labels in [(0, (0, 2)), (1, (0, 2)), (0, ()), (2, (2,))]] == [
        True,
        False,
        None,
        True,
    ]
    other = Classification()
    other.accumulate(0, (1,))
    state.merge(other)
    assert (state.labeled, state.accuracy()) == (4, 0.5)


def test_precision_and_recall_of_classes():
    state, other = ClassPresence(), ClassPresence()
    assert (state.precision(), state.recall(), state.f1()) == (None, None, None)
    state.accumulate([0, 1], (1, 2, 3))  # 1 shared
    state.accumulate([4], ())  # no labels: does not count
    other.accumulate([], (5,))
    other.accumulate([2], (2,))  # 1 shared
    state.merge(other)
    assert (state.precision(), state.recall(), state.images) == (2 / 3, 2 / 5, 3)
    assert state.f1() == 2 * 2 / (3 + 5) == pytest.approx(2 / (3 / 2 + 5 / 2))


def test_an_empty_prediction_has_recall_but_no_precision():
    state = ClassPresence()
    state.accumulate([], (5,))
    assert (state.precision(), state.recall(), state.f1()) == (None, 0.0, 0.0)
