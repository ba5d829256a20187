"""The most probable class, and classes in answers against labels."""

import numpy as np
import pytest

from pipeline.errors import ScoreError
from pipeline.score.classification import Classification, ClassPresence, top_class


def pick(classes, probabilities):
    return top_class(np.array(classes, np.int32), np.array(probabilities, np.float16), len(probabilities), "a")


@pytest.mark.parametrize(
    ("classes", "probabilities", "expected"),
    [
        ([1], [0.1, 0.8, 0.1], 1),
        ([0], [0.1, 0.8, 0.1], 1),  # maps of the labels: probabilities decide
        ([2, 1], [0.2, 1.0, 0.9999], 2),  # both are 1 in float16: the order of the maps decides
        ([], [0.2, 0.9, 0.9], 1),
        ([0, 2], [0.1, 0.9, 0.9], 2),  # among the best two, the one that has a map
    ],
)
def test_top_class(classes, probabilities, expected):
    assert pick(classes, probabilities) == expected


def test_top_class_refuses_other_classes_and_nan():
    with pytest.raises(
        ScoreError, match=r"^a: expected the probabilities of 3 classes, got shape \(2,\); likely maps of another"
    ):
        top_class(np.array([0], np.int32), np.array([0.5, 0.5], np.float16), 3, "a")
    with pytest.raises(ScoreError, match=r"^a: expected probabilities, got NaN for class indices \[1, 2\]$"):
        pick([0], [0.5, np.nan, np.nan])


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
    assert (state.precision(), state.recall()) == (None, None)
    state.accumulate([0, 1], (1, 2, 3))  # 1 shared
    state.accumulate([4], ())  # no labels: does not count
    other.accumulate([], (5,))
    other.accumulate([2], (2,))  # 1 shared
    state.merge(other)
    assert (state.precision(), state.recall(), state.images) == (2 / 3, 2 / 5, 3)


def test_an_empty_answer_has_recall_but_no_precision():
    state = ClassPresence()
    state.accumulate([], (5,))
    assert (state.precision(), state.recall()) == (None, 0.0)
