"""A random walk of scores over the affinities of neighboring cells: what is one thing gets one score.

The matrix T of an image has a row and a column for each cell, of which only those of pairs within the radius are not 0.
It is kept as these alone, and applied again and again; no power of it is computed, so that memory does not grow.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.student.affinity_net import distance, half_offsets, regions


def transitions(embedding: Tensor, radius: int, exponent: float) -> Tensor:
    """The probabilities of a step from each cell to each cell within the radius, itself among them.

    With a_ij = exp(-|f_i - f_j|_1 / C), a_ii = 1:

        T_ij = a_ij ^ exponent / sum over l of a_il ^ exponent

    Args:
        embedding: f. Shape: (C, h, w)
        radius: in cells, 1 or more
        exponent: beta; a large one leaves nothing of affinities below 1

    Returns:
        T_ij of i = (y, x), j = (y + v - radius, x + u - radius) at [v, u, y, x]; 0 outside the grid; they add up to 1
        over v and u. Shape: (2 radius + 1, 2 radius + 1, h, w)

    Source: Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
    Semantic Segmentation", CVPR 2018, section 3.3

    >>> transitions(torch.zeros(1, 1, 2), 1, 1.0)[1].tolist()  # left, stay, right; of both cells
    [[[0.0, 0.5]], [[0.5, 0.5]], [[0.5, 0.0]]]
    """
    shape = (embedding.shape[1], embedding.shape[2])
    weights = embedding.new_zeros(2 * radius + 1, 2 * radius + 1, *shape)
    weights[radius, radius] = 1
    for dy, dx in half_offsets(radius):
        found = torch.exp(-exponent * distance(embedding[None], (dy, dx)))[0]
        here, there = regions(shape, (dy, dx))
        weights[radius + dy, radius + dx][here] = found
        weights[radius - dy, radius - dx][there] = found  # affinities are symmetric
    return weights / weights.sum(dim=(0, 1))


def walk(scores: Tensor, transition: Tensor, log_steps: int) -> Tensor:
    """T^(2^log_steps) times the scores: each becomes the mean of what a walk of 2^log_steps steps meets.

    Scores stay between the smallest and the largest of their map; maps that add up to 1 keep doing so.

    Args:
        scores: (L, h, w)
        transition: T, of `transitions`. Shape: (k, k, h, w)
        log_steps: t of 2^t steps, 0 or more; 0 is one step

    Returns:
        (L, h, w)

    >>> spot, transition = torch.tensor([[[1.0, 0.0]]]), transitions(torch.zeros(1, 1, 2), 1, 1.0)
    >>> walk(spot, transition, 0)
    tensor([[[0.5000, 0.5000]]])
    """
    radius, (height, width) = len(transition) // 2, scores.shape[1:]
    for _ in range(2**log_steps):
        padded = functional.pad(scores, [radius] * 4)
        moved = padded.unfold(1, height, 1).unfold(2, width, 1)  # (L, k, k, h, w), a view
        scores = (moved * transition).sum(dim=(1, 2))
    return scores
