"""The walk by hand, against powers of a dense matrix, and what no walk may change."""

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pipeline.student.random_walk import transitions, walk

SHAPES = [(1, 1), (1, 5), (4, 1), (3, 4), (6, 5)]  # never square; smaller than the radius, too


def random_embedding(shape: tuple[int, int], seed: int = 0, channels: int = 3) -> Tensor:
    return torch.randn((channels, *shape), generator=torch.Generator().manual_seed(seed))


def random_scores(shape: tuple[int, int], maps: int = 2, seed: int = 1) -> Tensor:
    raw = torch.rand((maps, *shape), generator=torch.Generator().manual_seed(seed))
    return raw / raw.sum(dim=0)


def dense(embedding: Tensor, radius: int, exponent: float) -> NDArray[np.float64]:
    """T as a matrix of all cells, from the formula, one pair of cells at a time."""
    f = embedding.double().numpy()
    cells = list(np.ndindex(*f.shape[1:]))
    matrix = np.zeros((len(cells), len(cells)))
    for i, (y, x) in enumerate(cells):
        for j, (v, u) in enumerate(cells):
            if math.hypot(y - v, x - u) <= radius:
                matrix[i, j] = math.exp(-np.abs(f[:, y, x] - f[:, v, u]).mean()) ** exponent
    return matrix / matrix.sum(axis=1, keepdims=True)


def as_matrix(transition: Tensor) -> NDArray[np.float64]:
    """What `transitions` returns, as a matrix of all cells; a step off the grid would be an index error or be lost."""
    radius, shape = len(transition) // 2, transition.shape[2:]
    matrix = np.zeros((math.prod(shape), math.prod(shape)))
    for v, u, y, x in np.argwhere(transition.numpy() > 0):
        there = (y + v - radius, x + u - radius)
        assert min(there) >= 0
        matrix[y * shape[1] + x, there[0] * shape[1] + there[1]] = transition[v, u, y, x]
    return matrix


def test_a_walk_over_two_times_two_cells_by_hand() -> None:
    """The upper left cell has an affinity of 1/2 to its neighbors, these have 1 to the last cell, whose weight is 1.

    Rows of T: (2, 1, 1, 0) / 4, (1, 2, 0, 2) / 5, (1, 0, 2, 2) / 5, (0, 1, 1, 1) / 3.
    """
    embedding = torch.tensor([[[0.0, math.log(2)], [math.log(2), math.log(2)]]])
    transition = transitions(embedding, 1, 1.0)
    rows = [[1 / 2, 1 / 4, 1 / 4, 0], [1 / 5, 2 / 5, 0, 2 / 5], [1 / 5, 0, 2 / 5, 2 / 5], [0, 1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(as_matrix(transition), rows, rtol=1e-6)
    spot = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(walk(spot, transition, 0), torch.tensor([[[0.5, 0.2], [0.2, 0.0]]]))
    # once more: 1/2 * 1/2 + 2 * 1/4 * 1/5; 1/5 * 1/2 + 2/5 * 1/5; 2 * 1/3 * 1/5
    torch.testing.assert_close(walk(spot, transition, 1), torch.tensor([[[0.35, 0.18], [0.18, 2 / 15]]]))


def test_the_exponent_sharpens_affinities_by_hand() -> None:
    """1/2 to the third power is 1/8: the two cells stay with 8/9."""
    transition = transitions(torch.tensor([[[0.0, math.log(2)]]]), 1, 3.0)
    np.testing.assert_allclose(as_matrix(transition), [[8 / 9, 1 / 9], [1 / 9, 8 / 9]], rtol=1e-6)


@pytest.mark.parametrize("radius", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_walks_equal_powers_of_a_dense_matrix(shape: tuple[int, int], radius: int) -> None:
    embedding, scores = random_embedding(shape), random_scores(shape)
    transition = transitions(embedding, radius, 2.5)
    assert transition.shape == (2 * radius + 1, 2 * radius + 1, *shape)
    matrix = dense(embedding, radius, 2.5)
    np.testing.assert_allclose(as_matrix(transition), matrix, atol=1e-6)
    for log_steps in (0, 1, 4):
        power = np.linalg.matrix_power(matrix, 2**log_steps)
        expected = (power @ scores.double().numpy().reshape(2, -1).T).T.reshape(2, *shape)
        np.testing.assert_allclose(walk(scores, transition, log_steps).numpy(), expected, atol=1e-5)


grids = st.tuples(st.integers(1, 7), st.integers(1, 7))


@hypothesis.settings(deadline=None, max_examples=40)
@given(grids, st.integers(1, 5), st.floats(0.1, 12), st.integers(0, 2**31))
def test_steps_are_probabilities_and_affinities_are_symmetric(
    shape: tuple[int, int], radius: int, exponent: float, seed: int
) -> None:
    transition = transitions(random_embedding(shape, seed), radius, exponent)
    torch.testing.assert_close(transition.sum(dim=(0, 1)), torch.ones(shape))
    assert (transition >= 0).all()
    matrix = as_matrix(transition)
    affinities = matrix / np.diag(matrix)[:, None]  # that of a cell with itself is 1
    np.testing.assert_allclose(affinities, affinities.T, rtol=1e-4, atol=1e-7)


@hypothesis.settings(deadline=None, max_examples=40)
@given(grids, st.integers(1, 4), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_a_walk_keeps_sums_constants_and_bounds(
    shape: tuple[int, int], radius: int, log_steps: int, maps: int, seed: int
) -> None:
    transition, scores = transitions(random_embedding(shape, seed), radius, 4.0), random_scores(shape, maps, seed)
    walked = walk(scores, transition, log_steps)
    torch.testing.assert_close(walked.sum(dim=0), torch.ones(shape), rtol=1e-4, atol=1e-4)
    flat = torch.full((1, *shape), 0.3)
    torch.testing.assert_close(walk(flat, transition, log_steps), flat, rtol=1e-4, atol=1e-4)
    low, high = scores.amin(dim=(1, 2)), scores.amax(dim=(1, 2))
    assert (walked.amin(dim=(1, 2)) >= low - 1e-4).all()
    assert (walked.amax(dim=(1, 2)) <= high + 1e-4).all()


def test_cells_that_differ_keep_their_scores_and_those_that_agree_share_them() -> None:
    """Two halves with an affinity of e^-3 to the 8th power; of each half, one column is marked."""
    embedding = torch.zeros(1, 4, 6)
    embedding[:, :, 3:] = 3.0
    scores = torch.zeros(1, 4, 6)
    scores[:, :, 0], scores[:, :, 5] = 1.0, 0.1
    walked = walk(scores, transitions(embedding, 2, 8.0), 6)[0]
    torch.testing.assert_close(walked[:, :3], walked[0, 0].expand(4, 3), rtol=1e-3, atol=1e-3)
    assert walked[:, :3].min() > 0.25
    assert walked[:, 3:].max() < 0.04
