"""Random and plain views of an image."""

import numpy as np
import pytest
from support.coordinates import SIDE, coordinates, place
from support.helpers import squared_ramp, striped_ramp

from pipeline.train.augment import View, plain_view, random_view


def test_a_view_is_a_random_part_of_the_image_mirrored_one_time_in_two() -> None:
    view = random_view(SIDE, 32, flip=True)
    seen = [place(view(coordinates(), seed)) for seed in range(400)]
    # 200 expected, standard deviation 10: five of them
    assert abs(sum(mirrored for *_, mirrored in seen) - 200) < 50
    for axis in (0, 1):  # 9 places each: all are met, the outermost too
        assert {spot[axis] for spot in seen} == set(range(SIDE - 32 + 1))
    assert len({(top, left) for top, left, _ in seen}) > 60, "rows and columns move together"
    # place and mirroring are independent: of some 178 views from the upper four places half are mirrored, deviation 6.7
    upper = [mirrored for top, _, mirrored in seen if top < 4]
    assert abs(sum(upper) - len(upper) / 2) < 5 * 6.7, "crop and flip hang on the same random number"


def test_without_flip_nothing_is_mirrored() -> None:
    view = random_view(SIDE, 32, flip=False)
    assert not any(place(view(coordinates(), seed))[2] for seed in range(100))


@pytest.mark.parametrize("shape", [(30, 50), (80, 20)])
def test_an_image_is_made_square_whatever_its_shape(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    image[: shape[0] // 2] = (200, 0, 0)
    assert random_view(SIDE, 32, flip=True)(image, 0).shape == (32, 32, 3)
    square = plain_view(SIDE)(image, 0)
    assert square.shape == (SIDE, SIDE, 3)
    assert square[: SIDE // 2 - 2].min(axis=(0, 1)).tolist() == [200, 0, 0]  # rows stay rows, red stays red
    assert not square[SIDE // 2 + 2 :].any()


@pytest.mark.parametrize("view", [plain_view(SIDE), random_view(SIDE, 32, flip=False)])
def test_a_shrunk_image_is_averaged_not_sampled(view: View) -> None:
    stripes = np.zeros((4 * SIDE, 4 * SIDE, 3), np.uint8)
    stripes[::4] = 200  # one row of four; picked rows would be all or nothing
    assert np.unique(view(stripes, 0)).tolist() == [50]


@pytest.mark.parametrize("view", [plain_view(64), random_view(64, 64, flip=False)])
def test_each_axis_is_resized_by_its_own_rule(view: View) -> None:
    """Enlarged by area, as near to copied pixels as it is, the ramp would have steps of 6 levels."""
    np.testing.assert_allclose(view(striped_ramp(), 0), squared_ramp(64), rtol=0, atol=1)


def test_a_view_that_shrinks_a_little_is_interpolated_in_training_and_averaged_in_validation() -> None:
    rows = np.zeros((3 * SIDE // 2, SIDE, 3), np.uint8)
    rows[::3] = 240  # shrunk by 3 / 2: new rows lie at 0.25, 1.75, 3.25 of the old ones
    assert np.unique(random_view(SIDE, SIDE, flip=False)(rows, 0)).tolist() == [0, 180]
    assert np.unique(plain_view(SIDE)(rows, 0)).tolist() == [0, 160]


def test_validation_sees_the_whole_image_unchanged() -> None:
    view = plain_view(SIDE)
    for seed in range(5):
        np.testing.assert_array_equal(view(coordinates(), seed), coordinates())
