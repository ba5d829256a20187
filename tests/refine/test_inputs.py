"""What is refused, and what is not; that both users refuse it is tested with them."""

import numpy as np
import pytest

from pipeline.core.errors import MapError
from pipeline.refine.inputs import check_image, check_probabilities

GOOD = np.full((2, 3, 4), 0.5, np.float32)


def test_what_fits_passes():
    check_image(np.zeros((3, 4, 3), np.uint8))
    check_probabilities(GOOD, (3, 4), 0, "averages")


@pytest.mark.parametrize("image", [np.zeros((3, 4, 3)), np.zeros((3, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)])
def test_an_image_of_another_kind_is_refused(image):
    with pytest.raises(MapError, match=r"expected a uint8 image of shape \(H, W, 3\), got "):
        check_image(image)


@pytest.mark.parametrize(
    ("probabilities", "iterations", "message"),
    [
        (GOOD[0], 1, r"expected probabilities of shape \(L, 3, 4\), as the image has, got \(3, 4\)"),
        (GOOD[:, :, :3], 1, r"got \(2, 3, 3\)"),
        (GOOD, -1, "expected 0 or more averages, got -1"),
        (np.where(np.arange(4) == 2, np.nan, GOOD), 1, "got NaN or infinity"),
        (np.where(np.arange(4) == 2, np.inf, GOOD), 1, "got NaN or infinity"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(probabilities, iterations, message):
    with pytest.raises(MapError, match=message):
        check_probabilities(probabilities, (3, 4), iterations, "averages")
