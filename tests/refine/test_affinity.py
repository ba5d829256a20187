"""Averages over neighbors of similar color, by hand and against loops over pixels and neighbors."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.refine.affinity import LocalAffinity

Floats = NDArray[np.float32]

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 7), st.just(3)))
FEW_COLORS = arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 7), st.just(3)), elements=st.sampled_from([9, 10, 200])
)
DILATIONS = st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True)


def noise(shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def guess(labels: int, shape: tuple[int, int], seed: int = 0) -> Floats:
    values = np.random.default_rng(seed).random((labels, *shape)) + 0.01
    return (values / values.sum(axis=0)).astype(np.float32)


def slow_average(image: NDArray[np.uint8], probabilities: Floats, dilations: Sequence[int]) -> NDArray[np.float64]:
    """One average, pixel by pixel, from the formula in the docstring."""
    height, width, _ = image.shape
    means = np.zeros(probabilities.shape)
    for y in range(height):
        for x in range(width):
            window = []  # 9 positions of each dilation
            for d in dilations:
                for row in (y - d, y, y + d):
                    for column in (x - d, x, x + d):
                        inside = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
                        window.append((inside, (row, column) == (y, x)))
            colors = [[float(value) for value in image[position]] for position, _ in window]
            stds = [float(np.std([color[channel] for color in colors], ddof=1)) for channel in range(3)]
            weights = []
            for color, (_, is_center) in zip(colors, window, strict=True):
                parts = [
                    abs(color[channel] - float(image[y, x, channel])) / (0.1 * stds[channel]) if stds[channel] else 0.0
                    for channel in range(3)
                ]
                weights.append(0.0 if is_center else math.exp(-sum(parts) / 3))
            for weight, (position, _) in zip(weights, window, strict=True):
                means[:, y, x] += weight / sum(weights) * probabilities[(slice(None), *position)]
    return means


# --- values -----------------------------------------------------------------------------------------------------------


def test_two_pixels_by_hand() -> None:
    """Black and gray 100. Of 9 positions around each, 6 are its own color and 3 the other: the mean is a third of the
    way, the sum of squares 6 * 33.3^2 + 3 * 66.7^2 = 20000, s = sqrt(20000 / 8) = 50, k = -100 / 5 = -20."""
    image = np.array([[[0, 0, 0], [100, 100, 100]]], np.uint8)
    found = LocalAffinity(image, [1]).affinities[:, 0, 0]  # of the black pixel; every third neighbor lies on the right
    total = 5 + 3 * math.exp(-20)
    right = [False, False, True, False, True, False, False, True]
    np.testing.assert_allclose(found, [math.exp(-20) / total if is_gray else 1 / total for is_gray in right], rtol=1e-5)


def test_channels_are_averaged() -> None:
    """Only red differs: a third of the energy."""
    image = np.array([[[0, 7, 9], [100, 7, 9]]], np.uint8)
    found = LocalAffinity(image, [1]).average(np.array([[[0.0, 1.0]]], np.float32), 1)
    other = math.exp(-20 / 3)
    np.testing.assert_allclose(found, [[[3 * other / (5 + 3 * other), 5 / (5 + 3 * other)]]], rtol=1e-5)


def test_in_a_flat_image_all_neighbors_count_the_same() -> None:
    flat, spot = np.full((5, 7, 3), 77, np.uint8), np.zeros((1, 5, 7), np.float32)
    spot[0, 2, 3] = 1
    found = LocalAffinity(flat, [1, 2]).average(spot, 1)[0]
    expected = np.zeros((5, 7))
    expected[1:4, 2:5] = 1 / 16
    expected[::2, 1:6:2] = 1 / 16
    expected[2, 3] = 0  # a pixel is no neighbor of its own
    np.testing.assert_allclose(found, expected, atol=1e-7)


@settings(deadline=None)  # the machine may be busy
@given(st.one_of(IMAGES, FEW_COLORS), DILATIONS, st.integers(1, 3))
def test_an_average_equals_plain_loops(image: NDArray[np.uint8], dilations: list[int], labels: int) -> None:
    probabilities = guess(labels, image.shape[:2])
    found = LocalAffinity(image, dilations).average(probabilities, 1)
    np.testing.assert_allclose(found, slow_average(image, probabilities, dilations), atol=2e-5)


def test_several_iterations_are_several_averages() -> None:
    image, probabilities = noise((6, 9)), guess(3, (6, 9))
    model, expected = LocalAffinity(image, [1, 3]), probabilities.astype(np.float64)
    for _ in range(4):
        expected = slow_average(image, expected, [1, 3])
    np.testing.assert_allclose(model.average(probabilities, 4), expected, atol=1e-5)
    assert model.average(model.average(probabilities, 1), 3).tobytes() == model.average(probabilities, 4).tobytes()


# --- properties -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(IMAGES, DILATIONS, st.integers(0, 5))
def test_probabilities_stay_probabilities(image: NDArray[np.uint8], dilations: list[int], iterations: int) -> None:
    probabilities = guess(3, image.shape[:2], seed=iterations)
    model = LocalAffinity(image, dilations)
    np.testing.assert_allclose(model.affinities.sum(axis=0), 1, atol=1e-5)
    found = model.average(probabilities, iterations)
    assert (found.shape, found.dtype) == (probabilities.shape, np.float32)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    for label, before in zip(found, probabilities, strict=True):
        assert before.min() - 1e-6 <= label.min() <= label.max() <= before.max() + 1e-6


@settings(deadline=None)
@given(IMAGES, DILATIONS)
def test_a_turned_image_gives_the_turned_averages(image: NDArray[np.uint8], dilations: list[int]) -> None:
    probabilities = guess(2, image.shape[:2])
    upright = LocalAffinity(image, dilations).average(probabilities, 2)
    lying = LocalAffinity(image.transpose(1, 0, 2), dilations).average(probabilities.transpose(0, 2, 1), 2)
    np.testing.assert_allclose(lying.transpose(0, 2, 1), upright, atol=1e-5)


def test_contrast_and_brightness_change_nothing() -> None:
    """Differences are compared with the local standard deviation."""
    image = noise((8, 11)) // 3
    brighter = (2 * image + 40).astype(np.uint8)
    np.testing.assert_allclose(
        LocalAffinity(image, [1, 2]).affinities, LocalAffinity(brighter, [1, 2]).affinities, rtol=1e-3, atol=1e-7
    )


def test_labels_flow_within_an_object_and_not_over_its_edge() -> None:
    """One certain pixel in each half; all others are undecided."""
    image = np.full((12, 20, 3), 40, np.uint8)
    image[:, 10:] = 200
    probabilities = np.full((2, 12, 20), 0.5, np.float32)
    probabilities[:, 3, 4], probabilities[:, 8, 15] = (1, 0), (0, 1)
    left, right = np.split(LocalAffinity(image, [1, 2, 4]).average(probabilities, 30), 2, axis=2)
    assert (left[0] > 0.5 + 1e-4).all()
    assert (right[1] > 0.5 + 1e-4).all()


def test_no_iteration_returns_what_was_given_and_nothing_is_written_into() -> None:
    image, probabilities = noise((4, 6)), guess(2, (4, 6))
    before, model = (image.copy(), probabilities.copy()), LocalAffinity(image, [1, 2])
    assert model.average(probabilities, 0).tobytes() == probabilities.tobytes()
    first = model.average(probabilities, 3)
    assert first.tobytes() == model.average(probabilities, 3).tobytes()
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(probabilities, before[1])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [noise((4, 6))[:, :, 0], noise((4, 6)) / 255, noise((4, 6))[:, :, :2]])
def test_an_image_of_another_kind_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(MapError, match=r"expected a uint8 image of shape \(H, W, 3\), got "):
        LocalAffinity(image, [1])


@pytest.mark.parametrize("dilations", [[], [0], [1, -2]])
def test_dilations_that_reach_no_neighbor_are_refused(dilations: list[int]) -> None:
    with pytest.raises(MapError, match=r"expected dilations of 1 or more, got \["):
        LocalAffinity(noise((4, 6)), dilations)


@pytest.mark.parametrize("probabilities", [guess(2, (6, 4)), guess(2, (4, 6))[0]])
def test_probabilities_of_another_shape_are_refused(probabilities: Floats) -> None:
    with pytest.raises(MapError, match=r"expected probabilities of shape \(L, 4, 6\), as the image has, got "):
        LocalAffinity(noise((4, 6)), [1]).average(probabilities, 1)


def test_negative_iterations_and_bad_probabilities_are_refused() -> None:
    model, probabilities = LocalAffinity(noise((4, 6)), [1]), guess(2, (4, 6))
    with pytest.raises(MapError, match="expected 0 or more averages over neighbors, got -1"):
        model.average(probabilities, -1)
    probabilities[1, 2, 3] = math.nan
    with pytest.raises(MapError, match="expected finite probabilities, got NaN or infinity"):
        model.average(probabilities, 1)
