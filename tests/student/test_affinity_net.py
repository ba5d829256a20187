"""The affinity net: its grid, its pairs by brute force, its loss against a slow reference, and that it learns."""

import math
from itertools import product

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.helpers import student_settings
from torch import Tensor

from pipeline.student.affinity_net import (
    AffinityNet,
    affinity_loss,
    distance,
    grid_labels,
    half_offsets,
    pair_kinds,
    pairs,
)
from pipeline.student.targets import IGNORED

SHAPES = [(1, 1), (1, 4), (5, 2), (4, 6)]


def random_embedding(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_labels(*shape: int, seed: int = 0) -> Tensor:
    values = torch.tensor([0, 0, 1, 1, 2, 255], dtype=torch.uint8)
    return values[torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))]


def slow_pairs(shape: tuple[int, int], radius: int) -> set[frozenset[tuple[int, int]]]:
    """All sets of two cells within the radius."""
    cells = list(np.ndindex(*shape))
    return {frozenset((a, b)) for a, b in product(cells, cells) if a != b and math.dist(a, b) <= radius}


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_pair_within_the_radius_is_met_once(shape: tuple[int, int], radius: int) -> None:
    positions = torch.arange(math.prod(shape)).view(shape)
    met = []
    for offset in half_offsets(radius):
        here, there = pairs(positions, offset)
        assert here.shape == there.shape
        met += [frozenset((divmod(a, shape[1]), divmod(b, shape[1]))) for a, b in zip(
            here.flatten().tolist(), there.flatten().tolist(), strict=True
        )]  # fmt: skip
    assert len(met) == len(set(met))
    assert set(met) == slow_pairs(shape, radius)


@hypothesis.settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_kinds_of_pairs_equal_brute_force(height: int, width: int, radius: int, seed: int) -> None:
    labels = random_labels(2, height, width, seed=seed)
    for dy, dx in half_offsets(radius):
        expected = []
        for n, y, x in np.ndindex(2, height, width):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                a, b = int(labels[n, y, x]), int(labels[n, y + dy, x + dx])
                expected.append(255 if 255 in (a, b) else 0 if a != b else 1 if a == 0 else 2)
        assert pair_kinds(labels, (dy, dx)).flatten().tolist() == expected


def test_distances_are_mean_differences() -> None:
    embedding = random_embedding(2, 3, 4, 5)
    found = distance(embedding, (2, -1))
    assert found.shape == (2, 2, 4)
    for n, y, x in np.ndindex(2, 2, 4):
        differences = embedding[n, :, y, x + 1] - embedding[n, :, y + 2, x]
        assert found[n, y, x].item() == pytest.approx(differences.abs().sum().item() / 3, rel=1e-5)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_four_cells_of_one_label_are_one_cell() -> None:
    targets = student_settings().targets
    cells = torch.tensor([[[2, 2, 0, 0, 255, 255], [2, 2, 0, 1, 255, 255]]], dtype=torch.uint8)
    assert grid_labels(cells, targets).tolist() == [[[2, 255, 255]]]
    shares = torch.tensor([[[0.5, 0.9, 0.0, 0.49, 0.9, 0.1, IGNORED, 0.9], [1.0, 0.7, 0.1, 0.2, 0.9, 0.9, 0.9, 0.9]]])
    assert grid_labels(shares, targets).tolist() == [[[1, 0, 255, 255]]]


def test_cells_without_a_target_have_no_label() -> None:
    assert grid_labels(torch.full((1, 2, 2), IGNORED), student_settings().targets).tolist() == [[[255]]]


def test_shares_between_the_bounds_have_no_label() -> None:
    cells = torch.tensor([[[0.2, 0.2, 0.3, 0.3, 0.8, 0.8, 0.7, 0.7]] * 2])
    assert grid_labels(cells, student_settings(targets={"low": 0.2, "high": 0.8}).targets).tolist() == [
        [[0, 255, 1, 255]]
    ]


# --- loss -------------------------------------------------------------------------------------------------------------


def slow_loss(embedding: Tensor, labels: Tensor, radius: int) -> float:
    """Pair by pair, from the formula with affinities."""
    losses: dict[str, list[float]] = {"same": [], "background": [], "different": []}
    for n in range(len(labels)):
        for one, other in map(tuple, slow_pairs((labels.shape[1], labels.shape[2]), radius)):
            a, b = int(labels[n][one]), int(labels[n][other])
            affinity = math.exp(-float((embedding[n][:, *one] - embedding[n][:, *other]).abs().mean()))
            if 255 not in (a, b):
                kind = "different" if a != b else "background" if a == 0 else "same"
                losses[kind].append(-math.log(affinity if a == b else 1 + 1e-5 - affinity))
    means = {kind: sum(values) / len(values) if values else 0.0 for kind, values in losses.items()}
    return means["same"] / 4 + means["background"] / 4 + means["different"] / 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shape", "radius"), [((4, 5), 2), ((2, 6), 4)])
def test_the_loss_equals_plain_loops(shape: tuple[int, int], radius: int, seed: int) -> None:
    embedding, labels = random_embedding(2, 3, *shape, seed=seed), random_labels(2, *shape, seed=seed)
    found = affinity_loss(embedding, labels, radius).item()
    assert found == pytest.approx(slow_loss(embedding, labels, radius), rel=1e-4)


def test_the_loss_by_hand() -> None:
    """Pairs of neighbors: background twice at distance 1, background and class at ln 2, the class twice at 3."""
    embedding = torch.tensor([[[[0.0, 1.0, 1 + math.log(2), 4 + math.log(2)]]]])
    labels = torch.tensor([[[0, 0, 3, 3]]], dtype=torch.uint8)
    expected = 3 / 4 + 1 / 4 - math.log(0.5 + 1e-5) / 2
    assert affinity_loss(embedding, labels, 1).item() == pytest.approx(expected, rel=1e-5)


def test_without_a_pair_that_counts_there_is_no_loss_and_no_gradient() -> None:
    embedding = random_embedding(2, 3, 4, 4).requires_grad_()
    loss = affinity_loss(embedding, torch.full((2, 4, 4), 255, dtype=torch.uint8), 2)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, embedding)
    assert not gradient.any()


def test_equal_cells_of_different_labels_have_a_finite_gradient() -> None:
    embedding = torch.zeros(1, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 1], [1, 2]]], dtype=torch.uint8)
    loss = affinity_loss(embedding, labels, 2)
    assert loss.item() == pytest.approx(-math.log(1e-5) / 2, rel=1e-2)  # 1 + 1e-5 - 1 in float32
    (gradient,) = torch.autograd.grad(loss, embedding)
    assert torch.isfinite(gradient).all()


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 4])
def test_embeddings_have_a_cell_for_8_pixels(levels: int) -> None:
    """Of images of 64 x 96 pixels; at the strides 4 and 8, and at 4 to 32."""
    torch.manual_seed(0)
    features = [torch.randn(2, 3 + n, 16 >> n, 24 >> n) for n in range(levels)]
    net = AffinityNet([3 + n for n in range(levels)], 5)
    found = net(features)
    assert (found.shape, found.dtype) == ((2, 5, 8, 12), torch.float32)
    assert found.std() > 0
    assert net.parameter_count() == sum((3 + n) * 5 + 2 * 5 for n in range(levels)) + (5 * levels + 1) * 5


def test_an_embedding_lies_where_its_features_do() -> None:
    torch.manual_seed(0)
    net = AffinityNet([3, 3, 3], 4)
    for level in range(3):
        features = [torch.rand(1, 3, 16 >> n, 24 >> n) for n in range(3)]
        changed = [values.clone() for values in features]
        changed[level][:, :, -(4 >> level) :, -(4 >> level) :] += 5
        change = (net(changed) - net(features)).abs().sum(dim=1)[0]  # (8, 12)
        row, column = divmod(int(change.argmax()), 12)
        assert (row, column) >= (5, 9)
        assert column >= 9
