"""Gaussian filtering of scattered values on a permutohedral lattice, compiled by numba.

A point with d features lies in a simplex of d + 1 vertices of the lattice A*_d, with barycentric weights. Filtering a
value of every point has three steps, each a loop over points or vertices:

    splat: every vertex sums up its points' values times their weights
    blur:  along each of the d + 1 axes, a vertex adds half of its two neighbors
    slice: every point sums up its vertices' values times its weights

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010

The d coordinates of a vertex are never stored. Its key is the sum of their products with fixed 64-bit multipliers,
modulo 2^64. Keys are linear, so that a step along an axis adds a constant, and two of M vertices share one by chance
with probability M^2 / 2^65, 3e-8 for a million. Neighboring points often lie in the same simplex: vertices are looked
up for each simplex, not for each point.

Arrays of indices are unsigned, because numba checks signed ones for negative values. Index 0 is a vertex that does not
exist; its value is 0.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.refine.compiled import compiled, compiled_fast

Floats = NDArray[np.float32]
Indices = NDArray[np.uint32]
Integers = NDArray[np.int32]
Keys = NDArray[np.uint64]

MOST_FEATURES = 7  # an axis takes 3 bits of an order
BLOCK = 256  # points that are located together; their scratch arrays fit into the first-level cache
GOLDEN = 0x9E3779B97F4A7C15  # odd, 2^64 over the golden ratio; its powers are the multipliers
ORDER_MULTIPLIER = np.uint64(pow(GOLDEN, MOST_FEATURES + 1, 2**64))
WIDTHS = (4, 2, 1)  # channels that are filtered together; each is compiled once
FIRST_BITS = 12  # of the size of a hash table


class Lattice:
    """The Gaussian kernel between N points, normalized symmetrically; built once, applied to any number of values.

        K = w n S B S' n,    n = 1 / sqrt(S B S' 1)

    with S the barycentric weights, B the blur and w the weight; a kernel between points with features f is
    exp(-|f_i - f_j|^2 / 2), which the lattice approximates.

    Args:
        features: in units of their standard deviation. Shape: (d, N), d from 1 to 7
        weight: by which filtered values are multiplied, 0 or more

    Raises:
        ValueError: if d is out of range
    """

    def __init__(self, features: Floats, weight: float = 1.0) -> None:
        count = len(features)
        if not 1 <= count <= MOST_FEATURES:
            raise ValueError(f"expected 1 to {MOST_FEATURES} features, got {count}")
        multipliers = _multipliers(count)
        steps = multipliers.sum(dtype=np.uint64) - np.uint64(count + 1) * multipliers
        features = np.ascontiguousarray(features, np.float32)
        self.simplices, self.weights, keys, orders = _locate(features, _scales(count), multipliers)
        self.vertices, self.neighbors = _connect(keys, orders, steps)
        self._corners = (0,) * (count + 1)  # a tuple's length is known to the compiler, which unrolls loops over it
        self._normalize(weight)

    def add(self, values: Floats, out: Floats) -> None:
        """Add K times `values` to `out`, some channels at once. Shapes: (C, N)"""
        start = 0
        while start < len(values):
            width = next(width for width in WIDTHS if width <= len(values) - start)
            self._add(values[start : start + width], out[start : start + width])
            start += width

    def _add(self, values: Floats, out: Floats) -> None:
        channels = (0,) * len(values)
        on_vertices, scratch = np.empty((2, self.neighbors.shape[1] * len(values)), np.float32)
        _splat(values, on_vertices, self.simplices, self.weights, self.vertices, self._corners, channels)
        blurred = _blur(on_vertices, scratch, self.neighbors, channels)
        _slice(blurred, out, self.simplices, self.weights, self.vertices, self._corners, channels)

    def _normalize(self, weight: float) -> None:
        """Multiply the barycentric weights by n and the root of w, so that splat and slice do the rest."""
        sums = np.zeros((1, len(self.simplices)), np.float32)
        self.add(np.ones_like(sums), sums)
        self.weights *= (np.float32(math.sqrt(weight)) / np.sqrt(sums[0]))[:, None]


def _multipliers(count: int) -> Keys:
    """What the coordinates of a vertex are multiplied by in its key; the last coordinate follows from the others."""
    powers = [pow(GOLDEN, power, 2**64) for power in range(1, count + 1)]
    return np.array([*powers, 0], np.uint64)


def _scales(count: int) -> Floats:
    """From features to the lattice whose blur has a standard deviation of 1 (Adams et al., section 3)."""
    spread = np.float32(math.sqrt(2 / 3) * (count + 1))
    return np.array([np.float32(1 / math.sqrt((i + 1) * (i + 2)) * spread) for i in range(count)], np.float32)


@compiled
def _slot(indices: Indices, keys: Keys, key: np.uint64, shift: np.uint64) -> np.uint64:
    """The slot of a hash table with the index of a key, counted from 1, or the free one for it, which holds 0."""
    last = np.uint64(len(indices) - 1)
    slot = key >> shift
    while indices[slot] != 0 and keys[indices[slot] - np.uint32(1)] != key:
        slot = (slot + np.uint64(1)) & last
    return slot


@compiled
def _hash_table(keys: Keys, count: int, bits: int) -> tuple[Indices, np.uint64]:
    """2^bits slots with the indices of the first keys, and the shift from a key to its slot."""
    indices, shift = np.zeros(1 << bits, np.uint32), np.uint64(64 - bits)
    for i in range(count):
        indices[_slot(indices, keys, keys[i], shift)] = np.uint32(i + 1)
    return indices, shift


@compiled
def _locate(features: Floats, scales: Floats, multipliers: Keys) -> tuple[Indices, Floats, Keys, Indices]:
    """The simplex of every point.

    Returns:
        index of the simplex of each point, (N,); barycentric weights, (N, d + 1); of each simplex its key and the order
        of its axes, 3 bits each, (S,)
    """
    d, n = len(scales), features.shape[1]
    simplices, weights = np.empty(n, np.uint32), np.empty((n, d + 1), np.float32)
    keys, orders = np.empty(n, np.uint64), np.empty(n, np.uint32)
    count, bits = 0, FIRST_BITS
    indices, shift = _hash_table(keys, count, bits)
    elevated = np.empty((d + 1, BLOCK), np.float32)
    corner, order = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)
    last, index = np.uint64(0), np.uint32(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        size = stop - start
        _elevate(features[:, start:stop], scales, elevated[:, :size])
        _enclose(elevated[:, :size], multipliers, weights[start:stop], corner[:size], order[:size])
        for b in range(size):
            key = corner[b] + order[b] * ORDER_MULTIPLIER
            if key != last or index == 0:  # mostly the simplex of the point before
                last, slot = key, _slot(indices, keys, key, shift)
                if indices[slot] == 0:
                    keys[count], orders[count] = key, np.uint32(order[b])
                    count += 1
                    indices[slot] = np.uint32(count)
                index = indices[slot]
                if 2 * count > len(indices):
                    bits += 2
                    indices, shift = _hash_table(keys, count, bits)
            simplices[start + b] = index - np.uint32(1)
    return simplices, weights, keys[:count], orders[:count]


@compiled
def _elevate(features: Floats, scales: Floats, elevated: Floats) -> None:
    """Points onto the plane in d + 1 dimensions whose coordinates add up to 0. Shapes: (d, B) and (d + 1, B)"""
    elevated[0] = 0
    for j in range(len(scales), 0, -1):
        _elevate_axis(features[j - 1], scales[j - 1], np.float32(j), elevated[0], elevated[j])


@compiled
def _elevate_axis(feature: Floats, scale: np.float32, j: np.float32, total: Floats, elevated: Floats) -> None:
    for b in range(len(feature)):
        scaled = feature[b] * scale
        elevated[b] = total[b] - j * scaled
        total[b] += scaled


@compiled
def _enclose(elevated: Floats, multipliers: Keys, weights: Floats, corner: Keys, order: Keys) -> None:
    """The simplex around each point of a block.

    The first vertex is the nearest point of which every coordinate is a multiple of d + 1. What remains, in order of
    size, says in which of the simplices around it a point lies.

    Args:
        elevated: the points. Shape: (d + 1, B)
        multipliers: of the coordinates, in a key. Shape: (d + 1,)
        weights: filled with the barycentric weights. Shape: (B, d + 1)
        corner: filled with the keys of the first vertices. Shape: (B,)
        order: filled with the orders of the axes, 3 bits each. Shape: (B,)
    """
    d, size = len(elevated) - 1, elevated.shape[1]
    rest, rank = np.empty((d + 1, size), np.float32), np.zeros((d + 1, size), np.int32)
    excess = np.zeros(size, np.int32)  # of the sum of the rounded coordinates, which has to be 0
    nearest = np.empty((d + 1, size), np.int32)
    corner[:] = 0
    order[:] = 0
    for i in range(d + 1):
        _round(elevated[i], np.float32(d + 1), nearest[i], rest[i], excess)
        for j in range(i):
            _rank(rest[j], rest[i], rank[j], rank[i])
    for i in range(d + 1):
        _wrap(rank[i], excess, nearest[i], d)
        _add_key(nearest[i], rank[i], multipliers[i] * np.uint64(d + 1), np.uint64(i), corner, order)
    _weigh(elevated, nearest, rank, weights)


@compiled
def _round(elevated: Floats, unit: np.float32, nearest: Integers, rest: Floats, excess: Integers) -> None:
    for b in range(len(elevated)):
        rounded = np.rint(elevated[b] * (np.float32(1) / unit))
        nearest[b] = np.int32(rounded)
        rest[b] = elevated[b] - rounded * unit
        excess[b] += nearest[b]


@compiled
def _rank(one: Floats, other: Floats, rank_of_one: Integers, rank_of_other: Integers) -> None:
    """Rank 0 is the largest."""
    for b in range(len(one)):
        is_less = np.int32(one[b] < other[b])
        rank_of_one[b] += is_less
        rank_of_other[b] += 1 - is_less


@compiled
def _wrap(rank: Integers, excess: Integers, nearest: Integers, d: int) -> None:
    """Bring rounded coordinates back to the plane: those with the last or the first ranks move by one."""
    for b in range(len(rank)):
        moved = rank[b] + excess[b]
        by = np.int32(moved < 0) - np.int32(moved > d)
        rank[b] = moved + by * np.int32(d + 1)
        nearest[b] += by


@compiled
def _add_key(
    nearest: Integers, rank: Integers, multiplier: np.uint64, axis: np.uint64, corner: Keys, order: Keys
) -> None:
    for b in range(len(rank)):
        corner[b] += np.uint64(np.int64(nearest[b])) * multiplier
        order[b] |= axis << np.uint64(3 * rank[b])


@compiled
def _weigh(elevated: Floats, nearest: Integers, rank: Integers, weights: Floats) -> None:
    """Barycentric weights: differences between what remains of one axis and of the next in order."""
    d = len(rank) - 1
    up, down = np.float32(d + 1), np.float32(1) / np.float32(d + 1)
    rest = np.empty(d + 1, np.float32)
    for b in range(rank.shape[1]):
        for i in range(d + 1):
            rest[d - rank[i, b]] = (elevated[i, b] - np.float32(nearest[i, b]) * up) * down
        weights[b, 0] = rest[0] + (np.float32(1) - rest[d])
        for i in range(1, d + 1):
            weights[b, i] = rest[i] - rest[i - 1]


@compiled
def _connect(simplices: Keys, orders: Indices, steps: Keys) -> tuple[Indices, Indices]:
    """The vertices of each simplex, and the two neighbors of each vertex along each axis.

    From vertex to vertex of a simplex it is one step along each of its axes, in its order.

    Args:
        simplices: their keys. Shape: (S,)
        orders: of their axes. Shape: (S,)
        steps: what a step along each axis adds to the key of a vertex. Shape: (d + 1,)

    Returns:
        index of each vertex, from 1 on, (S, d + 1); indices of the neighbors before and after, 0 where there is none,
        (d + 1, 1 + M, 2)
    """
    d = len(steps) - 1
    vertices = np.empty((len(simplices), d + 1), np.uint32)
    keys = np.empty(len(simplices) * (d + 1), np.uint64)
    count, bits = 0, FIRST_BITS
    indices, shift = _hash_table(keys, count, bits)
    for s in range(len(simplices)):
        order = np.uint64(orders[s])
        key = simplices[s] - order * ORDER_MULTIPLIER
        for i in range(d + 1):
            slot = _slot(indices, keys, key, shift)
            if indices[slot] == 0:
                keys[count] = key
                count += 1
                indices[slot] = np.uint32(count)
            vertices[s, i] = indices[slot]
            key += steps[(order >> np.uint64(3 * (d - i))) & np.uint64(7)]
        if 2 * (count + d + 1) > len(indices):
            bits += 2
            indices, shift = _hash_table(keys, count, bits)
    neighbors = np.zeros((d + 1, count + 1, 2), np.uint32)
    for j in range(d + 1):
        for v in range(count):
            after = indices[_slot(indices, keys, keys[v] + steps[j], shift)]
            neighbors[j, v + 1, 1] = after
            if after != 0:
                neighbors[j, after, 0] = np.uint32(v + 1)
    return vertices, neighbors


@compiled_fast
def _splat(
    values: Floats,
    on_vertices: Floats,
    simplices: Indices,
    weights: Floats,
    vertices: Indices,
    corners: tuple[int, ...],
    channels: tuple[int, ...],
) -> None:
    """From (C, N) to the channels of a vertex side by side."""
    width = np.uint64(len(channels))
    on_vertices[:] = 0
    for i in range(len(simplices)):
        for r in range(len(corners)):
            place = vertices[simplices[i], r] * width
            for c in range(len(channels)):
                on_vertices[place + np.uint64(c)] += weights[i, r] * values[c, i]


@compiled_fast
def _blur(on_vertices: Floats, scratch: Floats, neighbors: Indices, channels: tuple[int, ...]) -> Floats:
    """Along one axis after the other; returns the one of the two arrays that holds the result."""
    width = np.uint64(len(channels))
    for j in range(neighbors.shape[0]):
        scratch[: len(channels)] = 0
        for v in range(1, neighbors.shape[1]):
            place, before, after = np.uint64(v) * width, neighbors[j, v, 0] * width, neighbors[j, v, 1] * width
            for c in range(len(channels)):
                beside = on_vertices[before + np.uint64(c)] + on_vertices[after + np.uint64(c)]
                scratch[place + np.uint64(c)] = on_vertices[place + np.uint64(c)] + np.float32(0.5) * beside
        on_vertices, scratch = scratch, on_vertices
    return on_vertices


@compiled_fast
def _slice(
    on_vertices: Floats,
    out: Floats,
    simplices: Indices,
    weights: Floats,
    vertices: Indices,
    corners: tuple[int, ...],
    channels: tuple[int, ...],
) -> None:
    width = np.uint64(len(channels))
    for i in range(len(simplices)):
        for c in range(len(channels)):
            total = np.float32(0)
            for r in range(len(corners)):
                total += weights[i, r] * on_vertices[vertices[simplices[i], r] * width + np.uint64(c)]
            out[c, i] += total
