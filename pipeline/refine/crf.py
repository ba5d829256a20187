"""Dense CRF: let neighbors of similar color agree."""

import numpy as np
from numpy.typing import NDArray
from pydensecrf.densecrf import DenseCRF2D

from pipeline.core.errors import MapError
from pipeline.refine.settings import CrfSettings

SMALLEST = 1.0e-5  # probability that a unary is made of: -log 0 would decide for ever


def unary_energy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """-log p, with p not below `SMALLEST`. Shape: (L, H, W)"""
    return -np.log(np.clip(probabilities, SMALLEST, 1.0))


def refine_probabilities(
    image: NDArray[np.uint8], probabilities: NDArray[np.float32], settings: CrfSettings
) -> NDArray[np.float32]:
    """Mean-field inference in a fully connected CRF with Gaussian edge potentials.

        E(x) = sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] * (w1 * exp(-|s_i - s_j|^2 / (2 a^2) - |c_i - c_j|^2 / (2
        b^2))
                                                            + w2 * exp(-|s_i - s_j|^2 / (2 g^2)))

    with positions s, colors c, the bilateral kernel (w1 = compat, a = spatial_std, b = color_std) and the Gaussian
    kernel (w2, g). Kernels are normalized symmetrically. With 0 iterations, or no kernel, the probabilities come back
    as given.

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
    gaussian, bilateral = settings.gaussian, settings.bilateral
    if not settings.iterations or not (gaussian.compat or bilateral.compat):
        return np.asarray(probabilities, np.float32)
    crf = DenseCRF2D(width, height, labels)  # the library counts in (width, height)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_energy(probabilities).reshape(labels, -1), np.float32))
    if gaussian.compat:
        crf.addPairwiseGaussian(sxy=gaussian.spatial_std, compat=gaussian.compat)
    if bilateral.compat:
        crf.addPairwiseBilateral(
            sxy=bilateral.spatial_std,
            srgb=bilateral.color_std,
            rgbim=np.ascontiguousarray(image),
            compat=bilateral.compat,
        )
    return np.asarray(crf.inference(settings.iterations), np.float32).reshape(labels, height, width)
