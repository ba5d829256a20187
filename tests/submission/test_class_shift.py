"""Class ids that are off by one, and scores that only look like it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import jaccard_score

from pipeline.evaluate.mean_iou import confusion_matrix
from pipeline.submission.class_shift import shift_warning, shifted_iou

K = 4


def _matrix(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    return confusion_matrix(truth.astype(np.uint8)[None], prediction.astype(np.uint8)[None], K, "a")


TRUTH = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3])


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (TRUTH, None),
        (
            np.maximum(TRUTH - 1, 0),
            "0.67 with 1 added to every predicted id, 0.00 without: every class id is one too low",
        ),
        (TRUTH + 1, "1.00 with 1 taken from every predicted id, 0.00 without: every class id is one too high"),
        (np.minimum(TRUTH, 2) * (TRUTH != 1), None),  # misses class 1, which is called background
        (np.zeros(9), None),  # says nothing, with any shift
        (np.array([0, 0, 1, 1, 2, 2, 0, 0, 0]), None),  # finds two classes of three
    ],
)
def test_a_shift_is_named(prediction: np.ndarray, said: str | None) -> None:
    found = shift_warning(_matrix(TRUTH, prediction))
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_without_a_class_in_the_truth_there_is_no_shift() -> None:
    assert shift_warning(_matrix(np.zeros(3), np.ones(3))) is None


@settings(max_examples=60, deadline=None)
@given(
    truth=arrays.arrays(np.int64, 20, elements=st.integers(0, K)),
    prediction=arrays.arrays(np.int64, 20, elements=st.integers(0, K)),
    shift=st.integers(-1, 1),
)
def test_the_shifted_iou_is_that_of_shifted_predictions(truth: np.ndarray, prediction: np.ndarray, shift: int) -> None:
    present = sorted(set(truth.tolist()) - {0})
    shifted = np.where(prediction > 0, prediction + shift, 0)  # K + 1 is no class
    expected = jaccard_score(truth, shifted, labels=present, average="macro", zero_division=0) if present else 0
    assert shifted_iou(_matrix(truth, prediction), shift) == pytest.approx(expected, abs=1e-12)
