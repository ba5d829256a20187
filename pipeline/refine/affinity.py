"""Local affinity: neighbors of similar color get similar probabilities, before the CRF and without any training.

In NumPy, as everything that the processes of the CRF run: the work is sums of shifted arrays, and torch would take
seconds to load in each process.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.refine.inputs import check_image, check_probabilities

TEMPERATURE = 0.1  # of the softmax, as published: differences count in tenths of the local standard deviation
STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]  # to the 8 neighbors

Floats = NDArray[np.float32]
Offset = tuple[int, int]


class LocalAffinity:
    """The affinities of one image; `average` refines one array of probabilities after another.

    With colors c (channels r, g, b) and N(i) the 8 neighbors of pixel i at each of D dilations:

        k(i, j) = -mean over channels of |c_i - c_j| / (0.1 * s_i)
        a(i, j) = exp k(i, j) / sum_{l in N(i)} exp k(i, l)
        P_i <- sum_{j in N(i)} a(i, j) * P_j,    again and again

    s_i is the sample standard deviation of a channel over the 9 D positions of the windows around i, in which i itself
    counts once for each dilation. A channel that is constant there adds nothing to k, so that in a flat region all
    neighbors count the same. A neighbor outside the image is the nearest pixel inside.

    Attributes:
        affinities: a(i, j), adding up to 1 at every pixel; 32 bytes a pixel for each dilation. Shape: (8 D, H, W)

    Args:
        image: the original colors. Shape: (H, W, 3), uint8 RGB
        dilations: pixels, 1 or more; D of them

    Raises:
        MapError: if the image is of another type or shape, or a dilation is below 1, or there is none

    Source: pixel-adaptive mask refinement (PAMR) of Araslanov and Roth, "Single-Stage Semantic Segmentation from Image
    Labels", CVPR 2020
    """

    def __init__(self, image: NDArray[np.uint8], dilations: Sequence[int]) -> None:
        check_image(image)
        if not dilations or min(dilations) < 1:
            raise MapError(f"expected dilations of 1 or more, got {list(dilations)}")
        self.offsets = [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in STEPS]
        colors = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)  # (3, H, W)
        self.affinities = _softmax(_energies(colors, self.offsets, len(dilations)))

    def average(self, probabilities: Floats, iterations: int) -> Floats:
        """Replace probabilities by their mean over the neighbors, so many times.

        They stay between the smallest and the largest of their label, and keep adding up to 1.

        Args:
            probabilities: of L labels. Shape: (L, H, W)
            iterations: 0 or more; 0 returns the probabilities

        Returns:
            means. Shape: (L, H, W), float32

        Raises:
            MapError: if the shape is not that of the image, the number of iterations is negative, or a probability is
                not finite

        >>> spot = np.zeros((1, 3, 4), np.float32)
        >>> spot[0, 1, 1] = 8  # where all colors are the same, an eighth goes to each of its neighbors
        >>> LocalAffinity(np.zeros((3, 4, 3), np.uint8), [1]).average(spot, 1)
        array([[[1., 1., 1., 0.],
                [1., 0., 1., 0.],
                [1., 1., 1., 0.]]], dtype=float32)
        """
        check_probabilities(probabilities, self.affinities.shape[1:], iterations, "averages over neighbors")
        means = np.asarray(probabilities, np.float32)
        for _ in range(iterations):
            means = self._average_once(means)
        return means

    def _average_once(self, values: Floats) -> Floats:
        total, product = np.zeros_like(values), np.empty_like(values)
        for weight, moved in zip(self.affinities, neighbors(values, self.offsets), strict=True):
            total += np.multiply(weight, moved, out=product)
        return total


def neighbors(values: Floats, offsets: Sequence[Offset]) -> Iterator[Floats]:
    """Views of the values at y + dy, x + dx, for each offset (dy, dx); outside, the nearest inside. Shapes: (C, H, W)

    >>> [moved.tolist() for moved in neighbors(np.array([[[1, 2, 3]]], np.float32), [(0, 1), (-2, -2)])]
    [[[[2.0, 3.0, 3.0]]], [[[1.0, 1.0, 1.0]]]]
    """
    height, width = values.shape[1:]
    reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    for dy, dx in offsets:
        yield padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width]


def _energies(colors: Floats, offsets: Sequence[Offset], dilations: int) -> Floats:
    """k(i, j) of each neighbor j. Shapes: (3, H, W) to (8 D, H, W)"""
    scale = TEMPERATURE * _local_std(colors, [*offsets, *[(0, 0)] * dilations])
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)  # 0: all differences are 0, too
    found = np.empty((len(offsets), *colors.shape[1:]), np.float32)
    for energy, moved in zip(found, neighbors(colors, offsets), strict=True):
        energy[:] = -(np.abs(moved - colors) * inverse).mean(axis=0)
    return found


def _local_std(colors: Floats, offsets: Sequence[Offset]) -> Floats:
    """The sample standard deviation over the positions at these offsets. Shape: (3, H, W)

    In two passes: the difference of two large sums would not be exactly 0 where a channel is constant.
    """
    mean, square = np.zeros_like(colors), np.zeros_like(colors)
    for moved in neighbors(colors, offsets):
        mean += moved
    mean /= len(offsets)
    for moved in neighbors(colors, offsets):
        square += (moved - mean) ** 2
    return np.asarray(np.sqrt(square / (len(offsets) - 1)), np.float32)


def _softmax(energies: Floats) -> Floats:
    """Over the first axis, in place: the array is the largest one of an image."""
    energies -= energies.max(axis=0)
    np.exp(energies, out=energies)
    energies /= energies.sum(axis=0)
    return energies
