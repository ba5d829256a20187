"""MaS and PaS against the formula of the method, at the size of the image and at that of the features."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from support.finished_run import CELLS, SHAPE, cam_of, ellipse, stored

from pipeline.core.errors import MapError
from pipeline.core.images import resize, score_to_uint8
from pipeline.extract.scale import LARGEST, Standard, apply_standard, find_standard, raw_maps, rescale_arrays

Map = NDArray[np.float32]
SHAPES = [(1, 1), (1, 9), (7, 5), (24, 31)]

maps = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.floats(-8, 8, width=16)
)  # half precision values: sums and differences of them are exact in float32


def random_map(shape: tuple[int, int], seed: int = 0) -> Map:
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def slow_percentile(values: list[float], i: float) -> float:
    """Linear between the two nearest of the sorted values, as numpy has it."""
    ordered = sorted(values)
    at = i / 100 * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def slow_pas(cam: Map, i: float) -> NDArray[np.uint8]:
    """S = round(255 * clip((M' - min M') / per_i(M' - min M'), 0, 1)), pixel by pixel in float64."""
    low = min(cam.flatten().tolist())
    raised = [value - low for value in cam.flatten().tolist()]
    unit = slow_percentile(raised, i)
    scores = [round(255 * min(max(value / unit, 0.0), 1.0)) for value in raised]
    return np.array(scores, np.uint8).reshape(cam.shape)


def score(cam: Map, scale: str, i: float = 98.0) -> NDArray[np.uint8]:
    standard = find_standard(cam, scale, i)  # type: ignore[arg-type]
    return score_to_uint8(np.clip(apply_standard(cam, standard), 0.0, 1.0))


@pytest.mark.parametrize("i", [50.0, 90.0, 98.0, 99.9, 100.0])
@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("seed", range(3))
def test_pas_equals_the_formula(shape: tuple[int, int], i: float, seed: int) -> None:
    cam = random_map(shape, seed)
    difference = score(cam, "percentile", i).astype(int) - slow_pas(cam, i)
    # a score may round to the other side where float32 and float64 lie on both sides of a half
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() <= 0.01


def test_exact_values() -> None:
    cam = np.array([[1.0, 3.0, 5.0], [9.0, 21.0, 2.0]], np.float32)  # sorted above the minimum: 0 1 2 4 8 20
    assert find_standard(cam, "max", 50) == Standard(1.0, 20.0)
    assert find_standard(cam, "percentile", 60) == Standard(1.0, 4.0)
    assert find_standard(cam, "percentile", 70) == Standard(1.0, 6.0)  # halfway between 4 and 8
    assert score(cam, "percentile", 60).tolist() == [
        [0, 128, 255],
        [255, 255, 64],
    ]  # 127.5 and 63.75 round to 128 and 64
    assert score(cam, "max").tolist() == [[0, 26, 51], [102, 255, 13]]  # 25.5, 51, 102, 12.75


@settings(max_examples=100, deadline=None)
@given(maps)
def test_percentile_100_is_the_maximum(cam: Map) -> None:
    assert find_standard(cam, "percentile", 100.0) == find_standard(cam, "max", 98.0)


@settings(max_examples=100, deadline=None)
@given(
    maps,
    st.integers(-6, 6),
    st.integers(-16, 16),
    st.sampled_from([("max", 98.0), ("percentile", 98.0), ("percentile", 60.0)]),
)
def test_a_positive_affine_change_of_a_map_changes_nothing(
    cam: Map, power: int, offset: int, kind: tuple[str, float]
) -> None:
    """Factors are powers of two and values few, so that the changed map is exact.

    A map that is not must differ by rounding.
    """
    changed = (np.ldexp(cam, power) + np.float32(offset)).astype(np.float32)
    assume(np.array_equal((changed - np.float32(offset)) / np.float32(2.0**power), cam))
    # an offset that drowns the map in its rounding makes it constant, on purpose
    assume(np.ptp(changed) > 1e-4 * np.abs(changed).max() or np.ptp(cam) == 0)
    difference = score(changed, *kind).astype(int) - score(cam, *kind)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).sum() <= 1


@settings(max_examples=50, deadline=None)
@given(maps, st.floats(1, 99), st.floats(1, 99))
def test_a_lower_percentile_never_lowers_a_score(cam: Map, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assume(np.percentile(cam, low) > cam.min())  # below that, the maximum stands in
    assert (score(cam, "percentile", low) >= score(cam, "percentile", high)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e-20, 1e6])
@pytest.mark.parametrize("scale", ["max", "percentile"])
def test_a_constant_map_becomes_zeros_and_its_unit_tells(value: float, scale: str) -> None:
    cam = np.full((3, 5), value, np.float32)
    assert find_standard(cam, scale, 98.0).unit == 0  # type: ignore[arg-type]
    assert not score(cam, scale).any()


def test_a_constant_map_is_still_constant_after_a_resize() -> None:
    """Bilinear weights add up to 1 but for rounding: without a tolerance, that rounding would be stretched to
    0..255."""
    rng = np.random.default_rng(0)
    uneven = 0
    for _ in range(200):
        cam = np.full(rng.integers(1, 9, 2), rng.normal(), np.float32)
        large = resize(cam, tuple(rng.integers(2, 300, 2).tolist()))
        uneven += large.max() > large.min()
        assert find_standard(large, "percentile", 98.0).unit == 0
    assert uneven > 10, "nothing was tested: the resize no longer rounds"


def test_a_small_difference_is_no_rounding() -> None:
    cam = np.full((4, 5), 1.0, np.float32)
    cam[1, 2] += 1e-5  # 40 times what a resize may add
    assert score(cam, "max")[1, 2] == 255


def test_where_the_percentile_is_zero_the_maximum_stands_in() -> None:
    cam = np.zeros((10, 20), np.float32)
    cam[4, 7:10] = (2.0, 4.0, 1.0)  # 3 of 200: less than 2 percent
    assert find_standard(cam, "percentile", 98.0) == Standard(0.0, 4.0)
    assert score(cam, "percentile")[4, 6:11].tolist() == [0, 128, 255, 64, 0]
    cam[5, 0:3] = 4.0  # now 6 of 200
    assert find_standard(cam, "percentile", 98.0).unit < 4.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scale", ["max", "percentile"])
def test_a_bad_value_is_an_error(bad: float, scale: str) -> None:
    cam = random_map((5, 7))
    cam[2, 3] = bad
    with pytest.raises(
        MapError, match="expected finite values in a class activation map, got NaN or infinity; likely the training"
    ):
        find_standard(cam, scale, 98.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["max", "percentile"])
@pytest.mark.parametrize("shape", [(61, 97), (112, 40), (5, 4)])
def test_scaling_features_then_resizing_is_resizing_then_scaling(shape: tuple[int, int], scale: str) -> None:
    """The store keeps maps at feature resolution, scaled by a standard found at the size of the image.

    A resize is a weighted mean, so that it commutes with (M - low) / unit: to 1e-6 in float32, and to 5e-4 of the value
    in the stored float16, which is 2 of 65536 steps and less than a step of 1/255.
    """
    for seed in range(5):
        cam = random_map((7, 5), seed)
        large = resize(cam, shape)
        standard = find_standard(large, scale, 90.0)  # type: ignore[arg-type]
        direct = apply_standard(large, standard)
        stored = apply_standard(cam, standard)
        np.testing.assert_allclose(resize(stored, shape), direct, atol=2e-6)
        np.testing.assert_allclose(
            resize(stored.astype(np.float16).astype(np.float32), shape), direct, atol=5e-4 * np.abs(stored).max()
        )


def test_a_scaled_map_fits_half_precision() -> None:
    cam = np.array([[0.0, 1e-5, 1e4]], np.float32)
    scaled = apply_standard(cam, Standard(0.0, 1e-5))
    assert scaled.max() == LARGEST
    assert np.isfinite(scaled.astype(np.float16)).all()


def test_a_map_is_not_written_into() -> None:
    cam = random_map((4, 6))
    before = cam.copy()
    score(cam, "percentile")
    np.testing.assert_array_equal(cam, before)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (1.0, 255), (0.5 / 255, 0), (1.5 / 255, 2), (2.6 / 255, 3), (0.999, 255)]
)
def test_to_bytes_rounds(value: float, expected: int) -> None:
    assert score_to_uint8(np.array([[value]], np.float32)).tolist() == [[expected]]


@pytest.mark.parametrize("bad", [-1e-6, 1.0001, math.nan, math.inf])
def test_to_bytes_refuses_what_is_no_score(bad: float) -> None:
    with pytest.raises(MapError, match=r"expected scores in \[0, 1\], got "):
        score_to_uint8(np.array([[0.5, bad, 0.1]], np.float32))


# --- another scale from stored maps, against scaling the raw maps themselves ------------------------------------------


def _scores(maps):
    return [score_to_uint8(np.clip(resize(cam.astype(np.float32), SHAPE), 0.0, 1.0)) for cam in maps]


def _arrays(percentile, count=20):
    cams = np.stack([cam_of(ellipse(seed), seed) for seed in range(count)])
    return cams, stored(cams, list(range(count)), percentile, [0.5] * count)


@pytest.mark.parametrize("percentile", [80.0, 95.0, 100.0])
def test_scores_differ_by_at_most_one_step_from_those_of_the_raw_maps(percentile):
    cams, arrays = _arrays(90.0)
    scale = "max" if percentile == 100 else "percentile"
    rescaled = rescale_arrays(arrays, SHAPE, scale, percentile)
    direct = [apply_standard(cam, find_standard(resize(cam, SHAPE), scale, percentile)) for cam in cams]
    for got, expected in zip(_scores(rescaled["maps"]), _scores(direct), strict=True):
        difference = np.abs(got.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.1  # at rounding borders only


def test_raw_maps_come_back_up_to_half_precision():
    cams, arrays = _arrays(90.0)
    above = cams - np.array([resize(cam, SHAPE).min() for cam in cams])[:, None, None]
    assert np.abs(raw_maps(arrays) - cams).max() <= np.abs(above).max() * 2**-11


def test_the_same_percentile_changes_nothing_that_counts():
    _, arrays = _arrays(90.0)
    again = rescale_arrays(arrays, SHAPE, "percentile", 90.0)
    np.testing.assert_allclose(again["standard"], arrays["standard"], rtol=2e-3, atol=2e-3)
    for got, expected in zip(_scores(again["maps"]), _scores(arrays["maps"]), strict=True):
        assert np.abs(got.astype(int) - expected).max() <= 1


def test_a_constant_map_stays_zero():
    arrays = stored(np.full((1, *CELLS), 0.3, np.float32), [0], 90.0, [1.0])
    rescaled = rescale_arrays(arrays, SHAPE, "max", 90.0)
    assert not rescaled["maps"].any()
    assert rescaled["standard"][0, 1] == 0


def test_classes_and_probabilities_stay():
    _, arrays = _arrays(90.0, count=3)
    rescaled = rescale_arrays(arrays, SHAPE, "max", 90.0)
    for name in ("classes", "probabilities"):
        np.testing.assert_array_equal(rescaled[name], arrays[name])
