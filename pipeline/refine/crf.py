"""Dense CRF: pixels of similar color and position get similar labels.

`DenseCRF` is the model of one image. A backend (`BACKENDS`) does the arithmetic of the two kernels and the iterations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.core.images import average_areas, resize, resize_image
from pipeline.core.progress import progress
from pipeline.refine.inputs import check_image, check_probabilities
from pipeline.refine.settings import ColorKernelSettings, CrfSettings, KernelSettings

SMALLEST = 1.0e-5  # the smallest probability of a unary: -log 0 is infinite
MOST_PIXELS = 4_000_000  # of the image that the kernels are built on: larger ones are computed at a smaller size


@dataclass(frozen=True, slots=True)
class Kernels:
    """The two pairwise terms; one whose compat is 0 is left out."""

    gaussian: KernelSettings
    bilateral: ColorKernelSettings

    @property
    def are_zero(self) -> bool:
        """Whether no pairwise term is left."""
        return not (self.gaussian.compat or self.bilateral.compat)

    def scaled(self, scale: float) -> "Kernels":
        """The same kernels on an image resized by `scale`: positions shrink with it, colors do not."""
        gaussian, bilateral = self.gaussian, self.bilateral
        return Kernels(
            replace(gaussian, spatial_std=gaussian.spatial_std * scale),
            replace(bilateral, spatial_std=bilateral.spatial_std * scale),
        )


def kernels_of(settings: CrfSettings) -> Kernels:
    """The kernels of a section `refine.crf`."""
    return Kernels(settings.gaussian, settings.bilateral)


class Backend(Protocol):
    """The kernels of one image, for any number of unaries; building them takes much of the time."""

    def infer(self, unary: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """Marginals after so many mean-field iterations; can be called again. Shapes: (L, H, W) and (L, H, W)"""


def make_lattice(image: NDArray[np.uint8], kernels: Kernels) -> Backend:
    """The permutohedral lattices of this package; numba is imported when they are first asked for."""
    from pipeline.refine.mean_field import LatticeCrf

    return LatticeCrf(image, kernels)


class PyDenseCrf:
    """The permutohedral lattices of pydensecrf; its models have a fixed number of labels.

    Raises:
        MapError: if pydensecrf is not installed
    """

    def __init__(self, image: NDArray[np.uint8], kernels: Kernels) -> None:
        try:
            from pydensecrf.densecrf import DenseCRF2D
        except ImportError:
            raise MapError(
                "refine.crf.backend 'pydensecrf': expected the package pydensecrf2, which is not installed; "
                "pip install --editable '.[pydensecrf]' builds it with a C++ compiler, or use backend 'auto'"
            ) from None
        self.library, self.image, self.kernels = DenseCRF2D, image, kernels
        self._models: dict[int, Any] = {}  # by number of labels

    def infer(self, unary: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """See `Backend`."""
        labels = len(unary)
        if labels not in self._models:
            self._models[labels] = self._model(labels)
        self._models[labels].setUnaryEnergy(np.ascontiguousarray(unary.reshape(labels, -1), np.float32))
        return np.array(self._models[labels].inference(iterations), np.float32).reshape(unary.shape)

    def _model(self, labels: int) -> Any:
        height, width = self.image.shape[:2]
        gaussian, bilateral = self.kernels.gaussian, self.kernels.bilateral
        model = self.library(width, height, labels)  # the library counts in (width, height)
        if gaussian.compat:
            model.addPairwiseGaussian(sxy=gaussian.spatial_std, compat=gaussian.compat)
        if bilateral.compat:
            colors = np.ascontiguousarray(self.image)
            model.addPairwiseBilateral(
                sxy=bilateral.spatial_std, srgb=bilateral.color_std, rgbim=colors, compat=bilateral.compat
            )
        return model


# `auto` is the first
BACKENDS: dict[str, Callable[[NDArray[np.uint8], Kernels], Backend]] = {
    "lattice": make_lattice,
    "pydensecrf": PyDenseCrf,
}


def prepare(settings: CrfSettings) -> None:
    """Compile what `infer` needs, for any number of labels, before processes are started that would each do it."""
    if settings.enabled and settings.backend in ("auto", "lattice"):
        from pipeline.refine.lattice import WIDTHS

        black, labels = np.zeros((2, 2, 3), np.uint8), 1 + sum(WIDTHS)  # one channel less than labels
        for _ in progress(range(1), title="compile the CRF", unit="program"):  # seconds, the first time
            make_lattice(black, kernels_of(settings)).infer(np.zeros((labels, 2, 2), np.float32), 1)


class DenseCRF:
    """The fully connected CRF of one image: `infer` gives the marginals of one unary after another.

        E(x) = sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] * k(i, j)
        k(i, j) = w1 * exp(-|s_i - s_j|^2 / (2 a^2) - |c_i - c_j|^2 / (2 b^2)) + w2 * exp(-|s_i - s_j|^2 / (2 g^2))

    with positions s, colors c, the bilateral kernel (w1 = compat, a = spatial_std, b = color_std) and the Gaussian
    kernel (w2, g). Kernels are normalized symmetrically. They are built at the first unary and used again for every
    further one.

    With a scale s below 1, the CRF of the image of s H x s W pixels is computed: image and probabilities are averaged
    over areas, standard deviations of positions times s, marginals resized bilinearly. Images that still have more than
    `MOST_PIXELS` are computed at that many, because memory grows with the pixels.

    Args:
        image: the original colors. Shape: (H, W, 3), uint8 RGB
        kernels: the two pairwise terms
        backend: a key of `BACKENDS`; `auto` is the first of them
        scale: of width and height, above 0, at most 1

    Raises:
        MapError: if the image is of another type or shape, there is no such backend, or the scale is out of range

    Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS
    2011
    """

    def __init__(self, image: NDArray[np.uint8], kernels: Kernels, backend: str = "auto", scale: float = 1.0) -> None:
        check_image(image)
        backend = next(iter(BACKENDS)) if backend == "auto" else backend
        if backend not in BACKENDS:
            raise MapError(f"expected a CRF backend among {sorted(BACKENDS)}, got {backend!r}")
        if not 0 < scale <= 1:
            raise MapError(f"expected a scale above 0, at most 1, got {scale}")
        self.image, self.kernels, self.backend = image, kernels, backend
        self.shape = computed_shape((image.shape[0], image.shape[1]), scale)
        self._model: Backend | None = None

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
        if self._model is None:
            self._model = self._build()
        marginals = self._model.infer(unary_energy(_shrink(probabilities, self.shape)), iterations)
        return _enlarge(marginals, (self.image.shape[0], self.image.shape[1]))

    def _build(self) -> Backend:
        small = resize_image(self.image, self.shape)
        longer = int(self.image.shape[1] > self.image.shape[0])  # rounding to whole pixels hardly changes this side
        scale = small.shape[longer] / self.image.shape[longer]
        return BACKENDS[self.backend](small, self.kernels if scale == 1 else self.kernels.scaled(scale))


def computed_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size at which the CRF of an image is computed, (H, W).

    >>> computed_shape((375, 500), 1.0), computed_shape((375, 500), 0.5), computed_shape((4000, 6000), 1.0)
    ((375, 500), (188, 250), (1633, 2449))
    """
    height, width = shape
    scale = min(scale, math.sqrt(MOST_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _shrink(probabilities: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Means over areas; as given where the shape is the same."""
    if probabilities.shape[1:] == shape:
        return probabilities
    return np.stack([average_areas(level, shape) for level in probabilities])


def _enlarge(marginals: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinearly, so that they add up to 1 again; as given where the shape is the same."""
    return marginals if marginals.shape[1:] == shape else np.stack([resize(level, shape) for level in marginals])


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
