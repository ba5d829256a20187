"""Mean field on our lattices against pydensecrf, and what has to hold without it."""

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.crf import needs_pydensecrf
from support.helpers import ROOT

from pipeline.core.images import read_rgb
from pipeline.refine.crf import Kernels, PyDenseCrf, unary_energy
from pipeline.refine.mean_field import LatticeCrf, _exp, _features, _softmax
from pipeline.refine.settings import ColorKernelSettings, KernelSettings

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
PHOTOGRAPHS = ROOT / "../shared/data/butterflies/images"
BOTH = Kernels(KernelSettings(3.0, 3.0), ColorKernelSettings(80.0, 13.0, 6.0))
MOST_DIFFERENT = 2e-4  # share of the pixels whose label may differ


def smooth_image(seed: int, shape: tuple[int, int], noise: float) -> Bytes:
    """Colors that change slowly, with edges and noise."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
    image[shape[0] // 4 : shape[0] // 2, shape[1] // 3 :] += 60
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def smooth_unary(labels: int, seed: int, shape: tuple[int, int]) -> Floats:
    """-log of probabilities that are as smooth as class activation maps."""
    rng = np.random.default_rng(seed)
    levels = [cv2.resize(rng.random((5, 7)).astype(np.float32) ** 2 + 0.02, shape[::-1]) for _ in range(labels)]
    probabilities = np.stack(levels)
    return unary_energy(probabilities / probabilities.sum(axis=0))


def compare(image: Bytes, unary: Floats, kernels: Kernels, iterations: int = 10) -> tuple[float, float]:
    """Share of the pixels with another label, and the largest difference of a marginal."""
    ours = LatticeCrf(image, kernels).infer(unary, iterations)
    theirs = PyDenseCrf(image, kernels).infer(unary, iterations)
    return float((ours.argmax(axis=0) != theirs.argmax(axis=0)).mean()), float(np.abs(ours - theirs).max())


@needs_pydensecrf
@pytest.mark.parametrize("labels", [2, 3, 5, 9])
@pytest.mark.parametrize("noise", [0.0, 4.0, 25.0])
def test_marginals_are_those_of_pydensecrf(labels: int, noise: float) -> None:
    shape = (120, 160)  # a multiple of four pixels: others have a vertex more in pydensecrf
    image, unary = smooth_image(labels, shape, noise), smooth_unary(labels, labels, shape)
    different, apart = compare(image, unary, BOTH)
    assert different <= MOST_DIFFERENT
    assert apart < 1e-3


@needs_pydensecrf
@pytest.mark.parametrize(
    "kernels",
    [
        Kernels(KernelSettings(1.5, 4.0), ColorKernelSettings(80.0, 13.0, 0.0)),
        Kernels(KernelSettings(3.0, 0.0), ColorKernelSettings(30.0, 5.0, 8.0)),
        Kernels(KernelSettings(0.7, 2.0), ColorKernelSettings(200.0, 40.0, 3.0)),
    ],
    ids=["position", "color", "both"],
)
def test_each_kernel_is_that_of_pydensecrf(kernels: Kernels) -> None:
    image, unary = smooth_image(3, (90, 64), 6.0), smooth_unary(2, 3, (90, 64))
    different, apart = compare(image, unary, kernels)
    assert different <= MOST_DIFFERENT
    assert apart < 1e-3


@needs_pydensecrf
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (3, 5), (61, 83)])
def test_small_and_odd_images_are_those_of_pydensecrf(shape: tuple[int, int]) -> None:
    image, unary = smooth_image(7, (64, 96), 5.0)[: shape[0], : shape[1]], smooth_unary(2, 7, (64, 96))
    different, apart = compare(image, np.ascontiguousarray(unary[:, : shape[0], : shape[1]]), BOTH)
    assert different <= MOST_DIFFERENT
    assert apart < 0.02  # pydensecrf fills up to four pixels with black ones


@needs_pydensecrf
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="needs photographs in ../shared/data/butterflies")
@pytest.mark.parametrize("noise", [0.0, 10.0])
def test_photographs_get_the_labels_of_pydensecrf(noise: float) -> None:
    rng = np.random.default_rng(0)
    files = sorted(PHOTOGRAPHS.rglob("*.jpg"))
    for number in rng.choice(len(files), 3, replace=False):
        image = cv2.resize(read_rgb(files[number]), (500, 375), interpolation=cv2.INTER_AREA)
        image = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
        different, apart = compare(image, smooth_unary(2, int(number), (375, 500)), BOTH)
        assert different <= MOST_DIFFERENT
        assert apart < 0.02


@pytest.mark.parametrize("color", [0, 128, 255])
def test_a_constant_image_keeps_a_constant_unary_constant(color: int) -> None:
    image, unary = np.full((20, 30, 3), color, np.uint8), unary_energy(np.full((2, 20, 30), 0.5, np.float32))
    np.testing.assert_allclose(LatticeCrf(image, BOTH).infer(unary, 10), 0.5, atol=1e-6)


@pytest.mark.parametrize("labels", [1, 2, 4])
def test_no_iteration_is_the_softmax_of_the_unary(labels: int) -> None:
    unary = smooth_unary(labels, 5, (9, 7))
    expected = np.exp(-unary) / np.exp(-unary).sum(axis=0)
    found = LatticeCrf(smooth_image(5, (9, 7), 1.0), BOTH).infer(unary, 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_labels_swapped_are_the_marginals_swapped() -> None:
    model, unary = LatticeCrf(smooth_image(6, (40, 50), 5.0), BOTH), smooth_unary(2, 6, (40, 50))
    np.testing.assert_allclose(model.infer(unary[::-1], 10), model.infer(unary, 10)[::-1], atol=1e-5)


def test_features_are_in_standard_deviations() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_allclose(_features(image, 2.0), [[0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(_features(image, 2.0, 4.0)[2:], np.arange(12).reshape(4, 3).T / 4)


def test_softmax_of_large_and_small_logits() -> None:
    logits = np.array([[0.0, 1.0, 500.0, -500.0, 70.0], [0.0, 2.0, 0.0, -500.0, 71.0]], np.float32)
    marginals = np.empty((3, 5), np.float32)
    _softmax(logits, marginals)
    whole = np.concatenate([np.zeros((1, 5)), logits.astype(float)])
    expected = np.exp(whole - whole.max(axis=0))
    np.testing.assert_allclose(marginals, expected / expected.sum(axis=0), rtol=1e-6, atol=1e-30)


def test_exp_is_exact_to_float32_and_clipped() -> None:
    values = np.linspace(-80, 80, 4001, dtype=np.float32)
    found = np.array([_exp(value) for value in values])
    np.testing.assert_allclose(found, np.exp(values.astype(float)), rtol=6e-6)
    near = values[np.abs(values) <= 1]
    np.testing.assert_allclose([_exp(value) for value in near], np.exp(near.astype(float)), rtol=3e-7)
    assert _exp(np.float32(1000)) == pytest.approx(math.exp(80), rel=1e-5)
    assert _exp(np.float32(-1000)) == pytest.approx(math.exp(-80), rel=1e-5)
