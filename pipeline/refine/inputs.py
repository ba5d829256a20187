"""What the CRF and the local affinity ask of an image and of probabilities."""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what is no image of shape (H, W, 3), uint8.

    Raises:
        MapError: with type and shape
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise MapError(f"expected a uint8 image of shape (H, W, 3), got {image.dtype} {image.shape}")


def check_probabilities(
    probabilities: NDArray[np.float32], shape: tuple[int, ...], iterations: int, repeated: str
) -> None:
    """Refuse probabilities that do not fit an image, and a number of iterations below 0.

    Args:
        probabilities: to be of shape (L, H, W)
        shape: of the image, (H, W)
        repeated: what is done `iterations` times

    Raises:
        MapError: naming what is wrong; one NaN would spread over the whole image
    """
    if probabilities.ndim != 3 or probabilities.shape[1:] != shape:
        raise MapError(
            f"expected probabilities of shape (L, {shape[0]}, {shape[1]}), as the image has, got {probabilities.shape}"
        )
    if iterations < 0:
        raise MapError(f"expected 0 or more {repeated}, got {iterations}")
    if not np.isfinite(probabilities).all():
        raise MapError("expected finite probabilities, got NaN or infinity")
