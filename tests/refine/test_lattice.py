"""The compiled lattice against one of dictionaries, whose vertices are tuples of coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.refine.lattice import (
    GOLDEN,
    ORDER_MULTIPLIER,
    Lattice,
    _connect,
    _elevate,
    _locate,
    _multipliers,
    _scales,
)

Doubles = NDArray[np.float64]
Vertex = tuple[int, ...]


def elevated(feature: Doubles) -> Doubles:
    """One point on the plane whose coordinates add up to 0, by the matrix of the paper. Shapes: (d,) and (d + 1,)"""
    d = len(feature)
    matrix = np.array([[1.0 if i <= k else -float(i) if i == k + 1 else 0.0 for k in range(d)] for i in range(d + 1)])
    scale = np.sqrt(2 / 3) * (d + 1) / np.sqrt([(k + 1) * (k + 2) for k in range(d)])
    return np.asarray(matrix @ (scale * feature))


def simplex(point: Doubles) -> list[tuple[Vertex, float]]:
    """The vertices around a point, with its barycentric weights."""
    unit = len(point)
    nearest = np.rint(point / unit) * unit
    by_rest = sorted(range(unit), key=lambda i: point[i] - nearest[i])
    while (excess := round(nearest.sum() / unit)) != 0:
        axis = by_rest.pop(0) if excess > 0 else by_rest.pop()
        nearest[axis] -= unit * np.sign(excess)
    rest = point - nearest
    order = sorted(range(unit), key=lambda i: -rest[i])  # the largest first
    found, vertex = [], nearest.astype(int)
    for r in range(unit):
        before = rest[order[unit - r]] if r else rest[order[0]] - unit  # the simplex closes around the origin
        weight = (rest[order[unit - 1 - r]] - before) / unit
        found.append((tuple(int(value) for value in vertex), weight if r else (rest[order[-1]] - before) / unit))
        vertex = vertex + 1
        vertex[order[unit - 1 - r]] -= unit
    return found


def slow_kernel(features: Doubles, weight: float) -> Doubles:
    """K as a matrix: splat, blur and slice of every unit vector, normalized symmetrically. Shape: (N, N)"""
    located = [simplex(elevated(feature)) for feature in features.T]
    names = sorted({vertex for found in located for vertex, _ in found})
    place = {vertex: index for index, vertex in enumerate(names)}
    weights = np.zeros((len(located), len(names)))
    for row, found in enumerate(located):
        for vertex, share in found:
            weights[row, place[vertex]] += share
    blurred = weights.T.copy()
    for axis in range(len(features) + 1):
        step = -np.ones(len(features) + 1, int)
        step[axis] += len(features) + 1
        once = blurred.copy()
        for vertex, index in place.items():
            for sign in (1, -1):
                other = tuple(int(value) for value in np.array(vertex) + sign * step)
                if other in place:
                    once[index] += blurred[place[other]] / 2
        blurred = once
    kernel = weights @ blurred
    norm = 1 / np.sqrt(kernel.sum(axis=1))
    return np.asarray(weight * norm[:, None] * kernel * norm)


def points(d: int, count: int, spread: float, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, spread, (d, count)).astype(np.float32)


def applied(lattice: Lattice, values: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.zeros((1, len(values)), np.float32)
    lattice.add(values[None], out)
    return out[0]


@pytest.mark.parametrize(("d", "spread"), [(2, 0.3), (2, 4.0), (3, 1.0), (5, 0.5), (5, 3.0)])
def test_filtering_equals_the_lattice_of_dictionaries(d: int, spread: float) -> None:
    features = points(d, 40, spread, seed=d)
    values = np.random.default_rng(1).normal(size=40).astype(np.float32)
    expected = slow_kernel(features.astype(float), 2.5) @ values
    np.testing.assert_allclose(applied(Lattice(features, 2.5), values), expected, atol=2e-5)


def test_more_points_than_a_block_and_than_the_first_hash_table() -> None:
    """Tables grow; rows of a large lattice equal those of the small one of the points near them."""
    near = points(2, 50, 1.0, seed=3)
    far = points(2, 9000, 1.0, seed=4) * 200 + np.float32(2000)
    values = np.random.default_rng(5).normal(size=9050).astype(np.float32)
    both = applied(Lattice(np.concatenate([near, far], axis=1)), values)
    np.testing.assert_allclose(both[:50], applied(Lattice(near), values[:50]), atol=1e-6)
    np.testing.assert_allclose(both[50:], applied(Lattice(far), values[50:]), atol=1e-6)


def test_values_are_added_and_left_alone() -> None:
    lattice, values = Lattice(points(2, 30, 1.0, seed=6)), points(1, 30, 1.0, seed=7)[0]
    before, out = values.copy(), np.full((1, 30), 4.0, np.float32)
    lattice.add(values[None], out)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_allclose(out[0] - 4, applied(lattice, values), atol=1e-6)


@pytest.mark.parametrize("channels", [2, 3, 7])
def test_channels_are_filtered_as_if_each_were_alone(channels: int) -> None:
    lattice, values = Lattice(points(5, 300, 1.0, seed=6)), points(channels, 300, 1.0, seed=7)
    out = np.zeros_like(values)
    lattice.add(values, out)
    np.testing.assert_allclose(out, [applied(lattice, one) for one in values], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(d=st.sampled_from([2, 5]), count=st.integers(1, 300), spread=st.floats(0.01, 30), seed=st.integers(0, 10_000))
def test_weights_are_those_of_a_point_in_its_simplex(d: int, count: int, spread: float, seed: int) -> None:
    """Not negative, adding up to 1, and the weighted mean of the vertices is the point."""
    features = points(d, count, spread, seed)
    simplices, weights, keys, orders = _locate(features, _scales(d), _multipliers(d))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights.min() > -1e-4 * max(1, spread)
    expected = np.stack([elevated(feature) for feature in features.T.astype(float)])
    fast = np.empty((d + 1, count), np.float32)
    _elevate(features, _scales(d), fast)
    np.testing.assert_allclose(fast.T, expected, atol=1e-4 * max(1, spread))
    assert simplices.max() == len(keys) - 1 == len(orders) - 1


def test_vertices_are_as_many_as_tuples_of_coordinates() -> None:
    """Two vertices with one key would be counted once."""
    features = np.random.default_rng(8).uniform(0, 40, (5, 20_000)).astype(np.float32)
    multipliers = _multipliers(5)
    _, _, keys, orders = _locate(features, _scales(5), multipliers)
    steps = multipliers.sum(dtype=np.uint64) - np.uint64(6) * multipliers
    vertices, neighbors = _connect(keys, orders, steps)
    found = {vertex for feature in features.T.astype(float) for vertex, _ in simplex(elevated(feature))}
    assert vertices.max() == neighbors.shape[1] - 1
    assert abs(len(found) - int(vertices.max())) <= 3  # float32 and float64 differ at faces
    for axis in range(6):  # each is the other's neighbor
        has_next = np.flatnonzero(neighbors[axis, :, 1])
        np.testing.assert_array_equal(neighbors[axis, neighbors[axis, has_next, 1], 0], has_next)
    assert not neighbors[:, 0].any()  # the vertex that does not exist


def test_what_is_equal_stays_nearly_equal_away_from_the_edges() -> None:
    grid = np.stack(np.meshgrid(np.arange(60.0), np.arange(60.0))).reshape(2, -1).astype(np.float32) / 3
    constant = applied(Lattice(grid), np.ones(3600, np.float32)).reshape(60, 60)
    np.testing.assert_allclose(constant[15:-15, 15:-15], 1, atol=0.01)


def test_the_kernel_falls_off_as_a_gaussian() -> None:
    """From the middle of a dense row of points on a plane, against exp(-x^2 / 2)."""
    places = np.arange(-400, 401, dtype=np.float32) / 50
    impulse = (places == 0).astype(np.float32)
    found = applied(Lattice(np.stack([places, 0 * places])), impulse)
    expected = np.exp(-(places**2) / 2) / np.exp(-(places**2) / 2).sum()
    # an approximation: 0.13 as measured; a standard deviation half as large again would be off by 0.33
    assert np.abs(found - expected).max() < 0.2 * expected.max()


@pytest.mark.parametrize("d", [0, 8])
def test_a_number_of_features_out_of_range_is_refused(d: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 7 features, got {d}"):
        Lattice(np.zeros((d, 4), np.float32))


def test_multipliers_are_odd_and_differ() -> None:
    values = [int(value) for value in _multipliers(7)]
    assert values[0] == GOLDEN
    assert values[-1] == 0
    assert all(value % 2 for value in [*values[:-1], int(ORDER_MULTIPLIER)])
    assert len({*values, int(ORDER_MULTIPLIER)}) == 9
