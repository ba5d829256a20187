"""GAP and TAP against plain loops, numbers that a reader can redo, and the properties that the formula promises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.helpers import random_features
from torch import Tensor

from pipeline.models.pooling import (
    GlobalAveragePool,
    ThresholdedAveragePool,
    global_average_pool,
    make_pool,
    thresholded_average_pool,
)

THETAS = [0.0, 0.05, 0.25, 0.75, 0.999]
SHAPES = [(1, 1, 1, 1), (2, 3, 5, 4), (1, 4, 1, 7)]
# (1, 1, 2, 3); its maximum is 8
KNOWN = torch.tensor([[[[8.0, 4.0, 2.0], [1.0, 0.0, 2.0]]]])

maps = arrays.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    elements=st.floats(0, 1024, width=32, allow_subnormal=False),
)


def slow_tap(features: Tensor, theta: float) -> Tensor:
    """Written from the formula, one position at a time."""
    pooled = torch.zeros(features.shape[:2])
    for n, image in enumerate(features):
        for c, channel in enumerate(image):
            values = channel.flatten().tolist()
            kept = [value for value in values if value > theta * max(values)]
            pooled[n, c] = math.fsum(kept) / len(kept) if kept else 0.0
    return pooled


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_tap_equals_a_plain_loop(shape: tuple[int, ...], theta: float) -> None:
    features = random_features(*shape)
    torch.testing.assert_close(thresholded_average_pool(features, theta), slow_tap(features, theta))


@pytest.mark.parametrize(
    ("theta", "expected"),
    [
        (0.0, (8 + 4 + 2 + 1 + 2) / 5),  # the positive ones; the zero does not count
        (0.125, (8 + 4 + 2 + 2) / 4),  # 1 is not above 0.125 * 8: the comparison is strict
        (0.25, (8 + 4) / 2),
        (0.5, 8.0),
        (0.9, 8.0),
    ],
)
def test_tap_exact_values(theta: float, expected: float) -> None:
    assert thresholded_average_pool(KNOWN, theta).item() == pytest.approx(expected, rel=1e-7)


def test_the_threshold_is_per_image_and_per_channel() -> None:
    # beside a channel a hundred times as strong, and an image a hundred times as strong, nothing changes
    both = torch.cat([torch.cat([KNOWN, 100 * KNOWN], dim=1), torch.cat([1000 * KNOWN, KNOWN], dim=1)])
    assert thresholded_average_pool(both, 0.25).tolist() == [[6.0, 600.0], [6000.0, 6.0]]


def test_theta_0_is_not_gap() -> None:
    assert thresholded_average_pool(KNOWN, 0.0).item() != global_average_pool(KNOWN).item() == pytest.approx(17 / 6)


@pytest.mark.parametrize("theta", [0.999999, 1 - 2**-24, 1 - 2**-30, float(np.nextafter(1, 0))])
@pytest.mark.parametrize("top", [8.0, 0.3, 1e-6, 3e38])
def test_just_below_1_the_maximum_is_still_kept(theta: float, top: float) -> None:
    """In float32 such a theta, or theta times the maximum, may round up.

    Then nothing would be kept and the channel be dead.
    """
    features = torch.tensor([[[[top, top / 2, 0.0]]]])
    assert thresholded_average_pool(features, theta).item() == features.max().item()


@pytest.mark.parametrize("theta", THETAS)
def test_a_dead_channel_pools_to_zero_and_has_no_gradient(theta: float) -> None:
    features = torch.stack([torch.zeros(4, 3), torch.ones(4, 3)])[None].requires_grad_()
    pooled = thresholded_average_pool(features, theta)
    assert pooled.tolist() == [[0.0, 1.0]]
    pooled.sum().backward()
    assert features.grad is not None
    assert features.grad[0, 0].tolist() == torch.zeros(4, 3).tolist()


def test_gradient_exact_values() -> None:
    features = KNOWN.clone().requires_grad_()
    (3 * thresholded_average_pool(features, 0.2)).sum().backward()  # keeps 8, 4, 2, 2
    assert features.grad is not None
    assert features.grad.tolist() == [[[[0.75, 0.75, 0.75], [0.0, 0.0, 0.75]]]]  # 3 * 1 / count


@pytest.mark.parametrize("theta", [0.0, 0.05, 0.3])
def test_gradient_equals_finite_differences(theta: float) -> None:
    """As long as no position crosses the threshold the pooled value is linear in every kept one, so that a difference
    quotient is exact but for rounding: 2^-24 of a pooled value below 1, over a step of 2^-6, is 4e-6."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randint(0, 8, (2, 3, 3, 4), generator=generator) / 8
    features[:, :, 0, 0] = 1.0  # thresholds 0, 0.05 and 0.3: no multiple of 1/8 but 0 lies within a step of them
    step, positive = 2.0**-6, features > 0
    weights = torch.rand(2, 3, generator=generator)
    (thresholded_average_pool(features.requires_grad_(), theta) * weights).sum().backward()
    assert features.grad is not None
    for index in positive.nonzero().tolist():
        n, c, h, w = index
        up, down = features.detach().clone(), features.detach().clone()
        up[n, c, h, w] += step
        down[n, c, h, w] -= step
        slope = (
            (thresholded_average_pool(up, theta) - thresholded_average_pool(down, theta))[n, c]
            / (2 * step)
            * weights[n, c]
        )
        assert features.grad[n, c, h, w].item() == pytest.approx(slope.item(), abs=1e-5), index
    assert not features.grad[~positive].any()


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("value", [1e-6, 0.5, 7.25, 1e6])
def test_on_a_constant_map_tap_is_gap(value: float, theta: float) -> None:
    features = torch.full((1, 2, 3, 5), value)
    torch.testing.assert_close(thresholded_average_pool(features, theta), global_average_pool(features))


@settings(max_examples=150, deadline=None)
@given(maps, st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=5))
def test_tap_does_not_fall_with_theta_and_lies_between_mean_and_maximum(
    features: np.ndarray, thetas: list[float]
) -> None:
    given_features = torch.from_numpy(features)
    top, mean = given_features.amax(dim=(2, 3)), global_average_pool(given_features)
    rounding = 1e-6 * top  # of a mean of up to 20 float32 values: 20 * 2^-24
    pooled = [thresholded_average_pool(given_features, theta) for theta in sorted(thetas)]
    for lower, higher in zip([mean, *pooled], [*pooled, top], strict=True):
        assert (higher >= lower - rounding).all()


@settings(max_examples=50, deadline=None)
@given(maps, st.sampled_from(THETAS), st.integers(-8, 8))
def test_scaling_a_map_scales_its_pooled_value(features: np.ndarray, theta: float, power: int) -> None:
    """Powers of two are exact in float32, so that not one position may cross the threshold."""
    scaled = np.ldexp(features, power).astype(np.float32)
    torch.testing.assert_close(
        thresholded_average_pool(torch.from_numpy(scaled), theta),
        thresholded_average_pool(torch.from_numpy(features), theta) * 2.0**power,
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("pool", [global_average_pool, lambda features: thresholded_average_pool(features, 0.05)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(pool, dtype: torch.dtype) -> None:  # noqa: ANN001
    features = torch.full((1, 1, 24, 20), 60000.0, dtype=dtype)  # 480 times 60000: infinity in float16
    pooled = pool(features)
    assert pooled.dtype == torch.float32
    assert pooled.item() == features[0, 0, 0, 0].item()


def test_the_threshold_of_half_precision_is_not_rounded_to_half_precision() -> None:
    features = torch.tensor([[[[1024.0, 614.0, 0.0]]]], dtype=torch.float16)
    assert (
        thresholded_average_pool(features, 613.9 / 1024).item() == 819.0
    )  # in float16 613.9 would be 614: not below it


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_value_stays_visible_in_its_own_channel(bad: float, theta: float) -> None:
    features = random_features(2, 3, 4, 5)
    clean = thresholded_average_pool(features, theta)
    features[1, 2, 0, 3] = bad
    pooled = thresholded_average_pool(features, theta)
    assert not pooled[1, 2].isfinite()
    pooled[1, 2] = clean[1, 2]
    assert torch.equal(pooled, clean)


def test_gap_equals_a_plain_loop() -> None:
    features = random_features(2, 3, 5, 4)
    expected = [[math.fsum(channel.flatten().tolist()) / 20 for channel in image] for image in features]
    torch.testing.assert_close(global_average_pool(features), torch.tensor(expected))


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3), (1, 2, 3, 4, 5)])
def test_features_that_are_no_batch_of_maps_are_refused(shape: tuple[int, ...]) -> None:
    for pool in (global_average_pool, lambda features: thresholded_average_pool(features, 0.05)):
        with pytest.raises(ValueError, match=r"expected `features` of shape \(N, C, H, W\), got "):
            pool(torch.zeros(shape))


@pytest.mark.parametrize("theta", [1.0, 5.0, -0.01, math.nan])
def test_theta_outside_0_to_1_is_refused(theta: float) -> None:
    with pytest.raises(ValueError, match=r"`theta` in \[0, 1\), got .*not a percentage"):
        thresholded_average_pool(torch.zeros(1, 1, 1, 1), theta)


def test_the_layers_pool_as_settings_name_them() -> None:
    features = random_features(2, 3, 5, 4)
    tap, gap = make_pool("tap", 0.25), make_pool("gap", 0.25)
    assert isinstance(tap, ThresholdedAveragePool)
    assert isinstance(gap, GlobalAveragePool)
    torch.testing.assert_close(tap(features), slow_tap(features, 0.25))
    torch.testing.assert_close(gap(features), features.mean(dim=(2, 3)))
    assert "theta=0.25" in repr(tap)
