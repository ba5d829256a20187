"""Dense CRF: pixels of similar color and position get similar labels.

`DenseCRF` is the model of one image. A backend (`BACKENDS`) does the arithmetic of the two kernels and the iterations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydensecrf.densecrf import DenseCRF2D

from pipeline.core.errors import MapError
from pipeline.refine.inputs import check_image, check_probabilities
from pipeline.refine.settings import ColorKernelSettings, CrfSettings, KernelSettings

SMALLEST = 1.0e-5  # the smallest probability of a unary: -log 0 is infinite


@dataclass(frozen=True, slots=True)
class Kernels:
    """The two pairwise terms; one whose compat is 0 is left out."""

    gaussian: KernelSettings
    bilateral: ColorKernelSettings

    @property
    def are_zero(self) -> bool:
        """Whether no pairwise term is left."""
        return not (self.gaussian.compat or self.bilateral.compat)


def kernels_of(settings: CrfSettings) -> Kernels:
    """The kernels of a section `refine.crf`."""
    return Kernels(settings.gaussian, settings.bilateral)


class Backend(Protocol):
    """The kernels of one image for a number of labels; building them takes most of the time."""

    def infer(self, unary: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """Marginals after so many mean-field iterations; can be called again. Shapes: (L, H, W) and (L, H, W)"""


class PyDenseCrf:
    """The permutohedral lattices of pydensecrf, on the CPU."""

    def __init__(self, image: NDArray[np.uint8], labels: int, kernels: Kernels) -> None:
        height, width = image.shape[:2]
        gaussian, bilateral = kernels.gaussian, kernels.bilateral
        self.model = DenseCRF2D(width, height, labels)  # the library counts in (width, height)
        if gaussian.compat:
            self.model.addPairwiseGaussian(sxy=gaussian.spatial_std, compat=gaussian.compat)
        if bilateral.compat:
            colors = np.ascontiguousarray(image)
            self.model.addPairwiseBilateral(
                sxy=bilateral.spatial_std, srgb=bilateral.color_std, rgbim=colors, compat=bilateral.compat
            )

    def infer(self, unary: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """See `Backend`."""
        self.model.setUnaryEnergy(np.ascontiguousarray(unary.reshape(len(unary), -1), np.float32))
        return np.array(self.model.inference(iterations), np.float32).reshape(unary.shape)


# the fastest first
BACKENDS: dict[str, Callable[[NDArray[np.uint8], int, Kernels], Backend]] = {"pydensecrf": PyDenseCrf}


class DenseCRF:
    """The fully connected CRF of one image: `infer` gives the marginals of one unary after another.

        E(x) = sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] * k(i, j)
        k(i, j) = w1 * exp(-|s_i - s_j|^2 / (2 a^2) - |c_i - c_j|^2 / (2 b^2)) + w2 * exp(-|s_i - s_j|^2 / (2 g^2))

    with positions s, colors c, the bilateral kernel (w1 = compat, a = spatial_std, b = color_std) and the Gaussian
    kernel (w2, g). Kernels are normalized symmetrically. They are built at the first unary with a number of labels, and
    used again for every further one.

    Args:
        image: the original colors. Shape: (H, W, 3), uint8 RGB
        kernels: the two pairwise terms
        backend: a key of `BACKENDS`; `auto` is the first of them

    Raises:
        MapError: if the image is of another type or shape, or there is no such backend

    Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS
    2011
    """

    def __init__(self, image: NDArray[np.uint8], kernels: Kernels, backend: str = "auto") -> None:
        check_image(image)
        backend = next(iter(BACKENDS)) if backend == "auto" else backend
        if backend not in BACKENDS:
            raise MapError(f"expected a CRF backend among {sorted(BACKENDS)}, got {backend!r}")
        self.image, self.kernels, self.backend = image, kernels, backend
        self._models: dict[int, Backend] = {}  # by number of labels

    def infer(self, probabilities: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """Mean-field inference from the probabilities of L labels.

        With 0 iterations, or no kernel, the probabilities are returned as given. Mean field oscillates, so the number
        of iterations is a convention and not a limit.

        Args:
            probabilities: adding up to 1 at every pixel. Shape: (L, H, W)
            iterations: 0 or more

        Returns:
            marginals Q, adding up to 1 at every pixel. Shape: (L, H, W), float32

        Raises:
            MapError: if the shape is not that of the image, the number of iterations is negative, or a probability is
                not finite (one NaN would spread over the whole image)
        """
        check_probabilities(probabilities, self.image.shape[:2], iterations, "mean-field iterations")
        if not iterations or self.kernels.are_zero:
            return np.asarray(probabilities, np.float32)
        return self._model(len(probabilities)).infer(unary_energy(probabilities), iterations)

    def _model(self, labels: int) -> Backend:
        if labels not in self._models:
            self._models[labels] = BACKENDS[self.backend](self.image, labels, self.kernels)
        return self._models[labels]


def unary_energy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """-log p, with p not below `SMALLEST`. Shape: (L, H, W)"""
    return -np.log(np.clip(probabilities, SMALLEST, 1.0))


def dense_crf(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    *,
    iterations: int = 10,
    gaussian_std: float = 3.0,
    gaussian_compat: float = 3.0,
    spatial_std: float = 80.0,
    color_std: float = 13.0,
    compat: float = 6.0,
) -> NDArray[np.float32]:
    """The dense CRF without a params file: see `DenseCRF`.

    The defaults are those of `tracks.track3.refine.crf` in params.yaml.

    Args:
        image: the original colors. Shape: (H, W, 3), uint8 RGB
        probabilities: of L labels, adding up to 1 at every pixel. Shape: (L, H, W)
        iterations: of mean field; 0 returns the probabilities
        gaussian_std: of the position kernel, in pixels
        gaussian_compat: its weight; 0 leaves it out
        spatial_std: of the position and color kernel, in pixels
        color_std: of the same, in gray levels 0..255
        compat: its weight; 0 leaves it out

    Returns:
        marginals, adding up to 1 at every pixel. Shape: (L, H, W), float32

    Raises:
        MapError: as `DenseCRF`; or if a standard deviation is not above 0, or a weight is negative

    >>> image, foreground = np.full((4, 6, 3), 99, np.uint8), np.full((4, 6), 0.6, np.float32)
    >>> bool((dense_crf(image, np.stack([1 - foreground, foreground]))[1] > 0.9).all())  # neighbors agree
    True
    """
    if min(gaussian_std, spatial_std, color_std) <= 0 or min(gaussian_compat, compat) < 0:
        raise MapError(
            "expected standard deviations above 0 and weights of 0 or more, got "
            f"{gaussian_std=}, {spatial_std=}, {color_std=}, {gaussian_compat=}, {compat=}"
        )
    kernels = Kernels(
        KernelSettings(gaussian_std, gaussian_compat), ColorKernelSettings(spatial_std, color_std, compat)
    )
    return DenseCRF(image, kernels).infer(probabilities, iterations)
