"""The demo's own arithmetic against the libraries that it does without, whose last bits depend on the machine."""

import colorsys
import math

import cv2
import numpy as np
import pytest

from pipeline.preprocess.demo.arithmetic import (
    blur,
    cosine,
    cubic,
    depth,
    exponential,
    halve,
    linear,
    normal,
    quarter,
    resample,
    rgb,
    sine,
    slopes,
    times,
)

SHAPES = [(1, 1), (1, 7), (6, 1), (5, 9), (40, 23)]


def _values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def test_sine_and_cosine():
    angles = np.concatenate([np.linspace(-40, 40, 4001), np.arange(-8, 9) * math.pi / 4])
    np.testing.assert_allclose(sine(angles), [math.sin(angle) for angle in angles], rtol=0, atol=1e-10)
    np.testing.assert_allclose(cosine(angles), [math.cos(angle) for angle in angles], rtol=0, atol=1e-10)


@pytest.mark.parametrize("x", [-100.0, -8.0, -0.16, 0.0, 0.16, 1.0])
def test_exponential(x: float):
    assert exponential(x) == pytest.approx(math.exp(x), rel=1e-9)


def test_normal_numbers_have_mean_0_deviation_1_and_a_normal_share_beyond_2():
    drawn = normal(np.random.default_rng(0), 400, 500)
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 4 / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(1, abs=4 / math.sqrt(2 * drawn.size))
    assert (np.abs(drawn) > 2).mean() == pytest.approx(
        0.0455, abs=0.003
    )  # 0.0455 of a normal, 0.0459 of 12 uniform numbers


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 9)])
def test_normal_numbers_are_sums_of_bytes_drawn_one_by_one(shape: tuple[int, ...]):
    rng, slow = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(2):  # an odd number of draws leaves half of a random word for the next
        bytes_ = slow.integers(0, 256, (12, *shape), np.uint8).astype(np.float64)
        np.testing.assert_array_equal(normal(rng, *shape), (bytes_.sum(axis=0) - 1530) / 256)


def test_times_is_the_matrix_product():
    points, matrix = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]]), np.array([[2.0, 10.0], [1.0, 100.0]])
    assert times(points, matrix).tolist() == [[4.0, 210.0], [5.0, -70.0], [1.0, 5.0]]


def test_rgb_agrees_with_the_standard_library():
    hues, saturations, values = np.arange(-370.0, 740.0, 17.0), np.linspace(0, 1, 66), np.linspace(255, 10, 66)
    for color, hue, saturation, value in zip(rgb(hues, saturations, values), hues, saturations, values, strict=True):
        assert color.tolist() == pytest.approx(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.3, 0.8, 2.05])
def test_blur_agrees_with_opencv(shape: tuple[int, ...], sigma: float):
    values, side = _values(*shape), 2 * max(1, int(4 * sigma + 0.5)) + 1
    slow = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101).reshape(shape)
    np.testing.assert_allclose(blur(values, sigma), slow, rtol=0, atol=1e-3)
    assert blur(values, sigma).dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 9), (40, 23)])
def test_slopes_agree_with_opencv(shape: tuple[int, int]):
    values = _values(*shape)
    for slope, (x, y) in zip(slopes(values), ((1, 0), (0, 1)), strict=True):
        np.testing.assert_allclose(slope, cv2.Sobel(values, cv2.CV_32F, x, y, scale=0.125), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(9, 30), (30, 9), (40, 40)])
def test_depth_agrees_with_opencv(shape: tuple[int, int]):
    inside = (np.random.default_rng(1).random(shape) < 0.97).astype(np.uint8)
    np.testing.assert_allclose(depth(inside), cv2.distanceTransform(inside, cv2.DIST_L2, 3), rtol=0, atol=1e-3)


def _every_path(inside: np.ndarray) -> np.ndarray:
    """The shortest way from every pixel to every 0, in whole 1/65536 pixels."""
    rows, columns = np.indices(inside.shape)
    best = np.full(inside.shape, 1 << 30)
    for row, column in np.argwhere(inside == 0):
        far, near = np.abs(rows - row), np.abs(columns - column)
        straight, diagonal = np.abs(far - near), np.minimum(far, near)
        best = np.minimum(best, 62587 * straight + 89738 * diagonal)
    return best


@pytest.mark.parametrize("shape", [*SHAPES, (3, 30), (31, 33)])
@pytest.mark.parametrize("share", [0.5, 0.97, 0.998, 1.0])
@pytest.mark.parametrize("edge", [0, 1])  # where it is 0, no margin keeps rows apart
def test_depth_is_the_shortest_of_all_paths(shape: tuple[int, int], share: float, edge: int):
    inside = (np.random.default_rng(2).random(shape) < share).astype(np.uint8)
    inside[:, [0, -1]] &= edge
    np.testing.assert_array_equal(depth(inside), (_every_path(inside) / 65536).astype(np.float32))


def test_depth_by_hand():
    inside = np.array([[0, 1, 1, 1], [1, 1, 1, 1]], np.uint8)
    slow = [[0, 0.955, 1.91, 2.865], [0.955, 1.3693, 2.3243, 3.2793]]
    np.testing.assert_allclose(depth(inside), slow, atol=1e-4)
    np.testing.assert_allclose(depth(inside[::-1, ::-1].T), np.array(slow)[::-1, ::-1].T, atol=1e-4)


def test_halve_rounds_half_up():
    values = np.array([[0, 1, 255, 255], [0, 1, 255, 254], [1, 0, 2, 2], [0, 0, 2, 4]], np.uint8)
    half = halve(np.stack([values, values * 0, 255 - values, values], axis=2))
    assert half[..., 0].tolist() == half[..., 3].tolist() == [[1, 255], [0, 3]]
    assert half[..., 1:3].tolist() == [[[0, 255], [0, 0]], [[0, 255], [0, 253]]]


def test_halve_and_quarter_are_block_means():
    colors, values = _values(8, 12, 4).astype(np.uint8), _values(8, 12)
    np.testing.assert_array_equal(halve(colors), cv2.resize(colors, (6, 4), interpolation=cv2.INTER_AREA))
    np.testing.assert_allclose(quarter(values), values.reshape(2, 4, 3, 4).mean(axis=(1, 3)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (6, 11)])
@pytest.mark.parametrize("target", [(33, 17), (16, 64)])
def test_resample_agrees_with_opencv(shape: tuple[int, int], target: tuple[int, int]):
    values = _values(*shape)
    for kernel, flag in ((linear, cv2.INTER_LINEAR), (cubic, cv2.INTER_CUBIC)):
        np.testing.assert_allclose(
            resample(values, target, kernel), cv2.resize(values, target[::-1], interpolation=flag), rtol=0, atol=1e-2
        )
