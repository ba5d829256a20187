"""Dense CRF: pixels of similar color and position get similar labels."""

import numpy as np
from numpy.typing import NDArray
from pydensecrf.densecrf import DenseCRF2D

from pipeline.core.errors import MapError
from pipeline.refine.settings import CrfSettings

SMALLEST = 1.0e-5  # the smallest probability of a unary: -log 0 is infinite


def unary_energy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """-log p, with p not below `SMALLEST`. Shape: (L, H, W)"""
    return -np.log(np.clip(probabilities, SMALLEST, 1.0))


def refine_probabilities(
    image: NDArray[np.uint8], probabilities: NDArray[np.float32], settings: CrfSettings
) -> NDArray[np.float32]:
    """Mean-field inference in a fully connected CRF with Gaussian edge potentials.

        E(x) = sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] * k(i, j)
        k(i, j) = w1 * exp(-|s_i - s_j|^2 / (2 a^2) - |c_i - c_j|^2 / (2 b^2)) + w2 * exp(-|s_i - s_j|^2 / (2 g^2))

    with positions s, colors c, the bilateral kernel (w1 = compat, a = spatial_std, b = color_std) and the Gaussian
    kernel (w2, g). Kernels are normalized symmetrically. With 0 iterations, or no kernel, the probabilities are
    returned as given.

    Args:
        image: the original colors. Shape: (H, W, 3), uint8 RGB
        probabilities: of L labels, adding up to 1 at every pixel. Shape: (L, H, W)
        settings: iterations and kernels

    Returns:
        marginals Q, adding up to 1 at every pixel. Shape: (L, H, W), float32

    Raises:
        MapError: if the shapes differ, or a probability is not finite (one NaN would spread over the whole image)

    Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS
    2011
    """
    labels, height, width = probabilities.shape
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise MapError(f"expected a uint8 image of shape {(height, width, 3)}, got {image.dtype} {image.shape}")
    if not np.isfinite(probabilities).all():
        raise MapError("expected finite probabilities, got NaN or infinity")
    if changes_nothing(settings):
        return np.asarray(probabilities, np.float32)
    return infer(make_crf(image, labels, settings), probabilities, settings.iterations)


def changes_nothing(settings: CrfSettings) -> bool:
    """Whether the marginals are the probabilities: no iterations, or no kernel."""
    return not settings.iterations or not (settings.gaussian.compat or settings.bilateral.compat)


def make_crf(image: NDArray[np.uint8], labels: int, settings: CrfSettings) -> DenseCRF2D:
    """The model of one image with its kernels, whose lattices take most of the time; it has no unary yet."""
    height, width = image.shape[:2]
    gaussian, bilateral = settings.gaussian, settings.bilateral
    crf = DenseCRF2D(width, height, labels)  # the library counts in (width, height)
    if gaussian.compat:
        crf.addPairwiseGaussian(sxy=gaussian.spatial_std, compat=gaussian.compat)
    if bilateral.compat:
        colors = np.ascontiguousarray(image)
        crf.addPairwiseBilateral(
            sxy=bilateral.spatial_std, srgb=bilateral.color_std, rgbim=colors, compat=bilateral.compat
        )
    return crf


def infer(crf: DenseCRF2D, probabilities: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
    """Marginals after mean-field inference from these probabilities; the model can be used again. Shape: (L, H, W)"""
    unary = unary_energy(probabilities).reshape(len(probabilities), -1)
    crf.setUnaryEnergy(np.ascontiguousarray(unary, np.float32))
    return np.array(crf.inference(iterations), np.float32).reshape(probabilities.shape)
