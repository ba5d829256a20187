"""Affinities between neighboring cells, learned from pairs of cells whose targets agree or differ.

A pair is two cells at a distance of `radius` cells at most. Its affinity is high where both show one thing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.core.truth import BACKGROUND, IGNORE_INDEX
from pipeline.student.target_settings import TargetSettings
from pipeline.student.targets import IGNORED, label_cells

CELLS_PER_SIDE = 2  # of the finest features, of 4 x 4 pixels, along a side of a cell here, of 8 x 8 pixels
SMALLEST = 1e-5  # added to 1 - a before its logarithm, as published
DIFFERENT, BACKGROUNDS, FOREGROUNDS = range(3)  # kinds of pairs: two classes; twice the background; twice a class

Offset = tuple[int, int]  # from one cell of a pair to the other: rows, columns
Region = tuple[slice, slice]


class AffinityNet(nn.Module):
    """Feature maps of several strides to an embedding of each cell of 8 x 8 pixels.

    Each map passes a 1 x 1 convolution, a group norm and a ReLU, and is brought to the grid; a last 1 x 1 convolution
    makes the embedding of all of them together.

    Args:
        channels: of each feature map
        width: channels of the embedding, and of each map after its convolution

    Source: Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
    Semantic Segmentation", CVPR 2018, section 3.2; the norms of Ahn, Cho and Kwak, CVPR 2019
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU())
            for count in channels
        )
        self.embed = nn.Conv2d(width * len(channels), width, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps of the strides 4, 8, …, (N, C_s, H / s, W / s), to embeddings (N, width, H / 8, W / 8)."""
        height, width = (side // CELLS_PER_SIDE for side in features[0].shape[2:])
        reduced = [layer(level) for layer, level in zip(self.reduce, features, strict=True)]
        embedding: Tensor = self.embed(torch.cat([_to_grid(level, (height, width)) for level in reduced], dim=1))
        return embedding.float()

    def parameter_count(self) -> int:
        """Trained numbers; they predict nothing and do not count beside those of the other networks."""
        return sum(parameter.numel() for parameter in self.parameters())


def _to_grid(level: Tensor, shape: tuple[int, int]) -> Tensor:
    """Means where the map is finer than the grid, bilinear values where it is coarser. Shape: (N, C, h, w)"""
    if level.shape[2] > shape[0]:
        return functional.adaptive_avg_pool2d(level, shape)
    return functional.interpolate(level, shape, mode="bilinear")


# --- pairs ------------------------------------------------------------------------------------------------------------


def half_offsets(radius: int) -> list[Offset]:
    """The offsets (dy, dx) with dy^2 + dx^2 <= radius^2, one of each two that are opposite, without (0, 0).

    >>> half_offsets(1), len(half_offsets(5))
    ([(0, 1), (1, 0)], 40)
    """
    return [
        (dy, dx)
        for dy in range(radius + 1)
        for dx in range(-radius, radius + 1)
        if (dy or dx > 0) and dy * dy + dx * dx <= radius * radius
    ]


def regions(shape: tuple[int, int], offset: Offset) -> tuple[Region, Region]:
    """Where on a grid the first cells of all pairs of this offset lie, and where the second ones; both can be empty.

    >>> regions((3, 4), (1, -1))
    ((slice(0, 2, None), slice(1, 4, None)), (slice(1, 3, None), slice(0, 3, None)))
    """
    spans = [
        (slice(max(0, -step), max(0, length - max(0, step))), slice(max(0, step), max(0, length + min(0, step))))
        for length, step in zip(shape, offset, strict=True)
    ]
    (here_y, there_y), (here_x, there_x) = spans
    return (here_y, here_x), (there_y, there_x)


def pairs(values: Tensor, offset: Offset) -> tuple[Tensor, Tensor]:
    """The values of the first and of the second cell of each pair of this offset. Shape: (…, h, w) to two of
    (…, h - |dy|, w - |dx|)"""
    here, there = regions((values.shape[-2], values.shape[-1]), offset)
    return values[(..., *here)], values[(..., *there)]


def distance(embedding: Tensor, offset: Offset) -> Tensor:
    """d_ij = |f_i - f_j|_1 / C of each pair (i, j) of this offset; its affinity is a_ij = exp(-d_ij).

    Args:
        embedding: f. Shape: (N, C, h, w)

    Returns:
        0 or more. Shape: (N, h - |dy|, w - |dx|)

    >>> distance(torch.tensor([[[[1.0, 3.0, 3.0]], [[0.0, 1.0, 1.0]]]]), (0, 1))
    tensor([[[1.5000, 0.0000]]])
    """
    here, there = pairs(embedding, offset)
    return (here - there).abs().mean(dim=1)


# --- what is learned --------------------------------------------------------------------------------------------------


def grid_labels(cells: Tensor, settings: TargetSettings) -> Tensor:
    """The targets of cells of 4 x 4 pixels to labels of cells of 8 x 8 pixels, 255 where the four are not of one label.

    Of Track 3, a cell with p <= low is background (0), one with p >= high is foreground (1), another has no label.

    Args:
        cells: class ids or 255, uint8 (Track 1); or shares in [0, 1] or `IGNORED`, float32 (Track 3). Shape: (N, h, w)

    Returns:
        (N, h / 2, w / 2), uint8

    >>> soft = TargetSettings(soft=True, low=0.3, high=0.7)
    >>> grid_labels(torch.tensor([[[0.9, 0.7, 0.1, 0.9], [0.8, 1.0, 0.1, 0.1]]]), soft)
    tensor([[[  1, 255]]], dtype=torch.uint8)
    """
    labels = cells
    if cells.is_floating_point():
        labels = torch.full_like(cells, IGNORE_INDEX, dtype=torch.uint8)
        labels[(cells <= settings.low) & (cells != IGNORED)] = BACKGROUND
        labels[cells >= settings.high] = BACKGROUND + 1
    return label_cells(labels, CELLS_PER_SIDE)


def pair_kinds(labels: Tensor, offset: Offset) -> Tensor:
    """`DIFFERENT`, `BACKGROUNDS` or `FOREGROUNDS` of each pair of this offset; 255 where a cell has no label.

    Args:
        labels: class ids, or 255. Shape: (N, h, w), uint8

    Returns:
        (N, h - |dy|, w - |dx|), uint8

    >>> pair_kinds(torch.tensor([[[0, 0, 2, 2, 1, 255]]], dtype=torch.uint8), (0, 1))
    tensor([[[  1,   0,   2,   0, 255]]], dtype=torch.uint8)
    """
    here, there = pairs(labels, offset)
    kinds = torch.where(here == BACKGROUND, BACKGROUNDS, FOREGROUNDS)
    kinds = torch.where(here == there, kinds, DIFFERENT)
    unknown = (here == IGNORE_INDEX) | (there == IGNORE_INDEX)
    return torch.where(unknown, IGNORE_INDEX, kinds).to(torch.uint8)


def affinity_loss(embedding: Tensor, labels: Tensor, radius: int) -> Tensor:
    """The cross entropy of the affinities of all pairs, each kind with a weight of its own however many pairs it has:

        L = mean_F(-log a) / 4 + mean_B(-log a) / 4 + mean_D(-log(1 - a)) / 2

    F are the pairs of one class, B those of background, D those of different labels; a kind without pairs adds 0.

    Args:
        embedding: (N, C, h, w)
        labels: class ids, or 255. Shape: (N, h, w), uint8

    Source: Ahn and Kwak, CVPR 2018, section 3.2
    """
    offsets = half_offsets(radius)
    distances = torch.cat([distance(embedding, offset).flatten() for offset in offsets])
    kinds = torch.cat([pair_kinds(labels, offset).flatten() for offset in offsets])
    apart = -torch.log(1 + SMALLEST - torch.exp(-distances))
    return (
        _mean_where(distances, kinds == FOREGROUNDS) / 4
        + _mean_where(distances, kinds == BACKGROUNDS) / 4
        + _mean_where(apart, kinds == DIFFERENT) / 2
    )


def _mean_where(values: Tensor, kept: Tensor) -> Tensor:
    return (values * kept).sum() / kept.sum().clamp(min=1)
