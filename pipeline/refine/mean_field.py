"""Mean-field inference of the dense CRF with both kernels on permutohedral lattices of our own.

Potts penalties and a softmax do not change if the same is subtracted from all labels. With L labels, the first one is
therefore subtracted, and L - 1 differences are left, one for two labels:

    x_l = log p_l - log p_0 + sum_k K_k (q_l - q_0),    q = softmax(0, x_1, ..., x_(L-1))
"""

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.refine.compiled import compiled_fast
from pipeline.refine.crf import Kernels
from pipeline.refine.lattice import Lattice

Floats = NDArray[np.float32]

BLOCK = 1024  # pixels; their scratch arrays fit into the first-level cache
LARGEST = np.float32(80)  # exp of it is finite in float32
LOG2_E, LN_2 = np.float32(math.log2(math.e)), np.float32(math.log(2))
# of exp on [-ln 2 / 2, ln 2 / 2], relative error below 2e-7
TAYLOR = tuple(np.float32(1 / math.factorial(power)) for power in range(7))


class LatticeCrf:
    """The lattices of one image, for any number of unaries and of labels: see `pipeline.refine.crf.Backend`."""

    def __init__(self, image: NDArray[np.uint8], kernels: Kernels) -> None:
        gaussian, bilateral = kernels.gaussian, kernels.bilateral
        self.lattices: list[Lattice] = []
        if gaussian.compat:
            self.lattices.append(Lattice(_features(image, gaussian.spatial_std), gaussian.compat))
        if bilateral.compat:
            features = _features(image, bilateral.spatial_std, bilateral.color_std)
            self.lattices.append(Lattice(features, bilateral.compat))

    def infer(self, unary: Floats, iterations: int) -> Floats:
        """See `pipeline.refine.crf.Backend`."""
        flat = np.ascontiguousarray(unary, np.float32).reshape(len(unary), -1)
        first = flat[:1] - flat[1:]  # (L - 1, N)
        logits, marginals = first.copy(), np.empty_like(flat)
        _softmax(logits, marginals)
        for _ in range(iterations):
            differences = marginals[1:] - marginals[0]
            logits[:] = first
            for lattice in self.lattices:
                lattice.add(differences, logits)
            _softmax(logits, marginals)
        return marginals.reshape(unary.shape)


def _features(image: NDArray[np.uint8], spatial_std: float, color_std: float | None = None) -> Floats:
    """x, y and the three colors of every pixel, in standard deviations. Shape: (2, N) or (5, N)"""
    height, width = image.shape[:2]
    features = np.empty((2 if color_std is None else 5, height, width), np.float32)
    features[0] = np.arange(width, dtype=np.float32) / np.float32(spatial_std)
    features[1] = (np.arange(height, dtype=np.float32) / np.float32(spatial_std))[:, None]
    if color_std is not None:
        np.divide(image.transpose(2, 0, 1), np.float32(color_std), out=features[2:], dtype=np.float32)
    return features.reshape(len(features), -1)


@compiled_fast
def _exp(x: np.float32) -> np.float32:
    """e^x of -80 to 80, clipped: 2^k times a polynomial, which several pixels at once can pass."""
    scaled = min(max(x, -LARGEST), LARGEST) * LOG2_E
    power = np.rint(scaled)
    rest = (scaled - power) * LN_2
    total = TAYLOR[6]
    for i in range(5, -1, -1):
        total = total * rest + TAYLOR[i]
    return total * np.int32((np.int32(power) + 127) << 23).view(np.float32)


@compiled_fast
def _softmax(logits: Floats, marginals: Floats) -> None:
    """q of all labels, with 0 before the logits. Shapes: (L - 1, N) and (L, N)

    Loops run over the pixels of a block, innermost, so that the processor computes several of them at once.
    """
    for start in range(0, logits.shape[1], BLOCK):
        stop = min(start + BLOCK, logits.shape[1])
        size = stop - start
        zeros, largest, total = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        for label in range(len(logits)):
            _keep_larger(logits[label, start:stop], largest)
        _add_exp(zeros, largest, marginals[0, start:stop], total)
        for label in range(len(logits)):
            _add_exp(logits[label, start:stop], largest, marginals[label + 1, start:stop], total)
        for label in range(len(marginals)):
            _divide(marginals[label, start:stop], total)


@compiled_fast
def _keep_larger(values: Floats, largest: Floats) -> None:
    for i in range(len(values)):
        largest[i] = max(largest[i], values[i])


@compiled_fast
def _add_exp(values: Floats, largest: Floats, out: Floats, total: Floats) -> None:
    for i in range(len(values)):
        out[i] = _exp(values[i] - largest[i])
        total[i] += out[i]


@compiled_fast
def _divide(values: Floats, total: Floats) -> None:
    for i in range(len(values)):
        values[i] /= total[i]
