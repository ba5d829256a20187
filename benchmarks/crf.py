"""The CRF of one image: our lattice beside a plain call of pydensecrf, interleaved in one process.

    python -m benchmarks.crf [--rounds 15]

A round times both on the same image, one after the other, in seconds of the processor, from the pixels to the
marginals: kernels are built anew each time. Its ratio is time of pydensecrf / time of ours. Images are rendered, 375 x
500, with textures that fill about as many vertices of the lattice as photographs do (10,000); two labels, 10
iterations, kernels of track3 in params.yaml. The first round, which compiles, is dropped.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.skipped import Skipped
from pipeline.refine.crf import DenseCRF, Kernels
from pipeline.refine.settings import ColorKernelSettings, KernelSettings

SHAPE = (375, 500)
ITERATIONS = 10
KERNELS = Kernels(KernelSettings(3.0, 3.0), ColorKernelSettings(80.0, 13.0, 6.0))
ROUNDS = 15
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def crf_same(rounds: int = ROUNDS) -> list[float]:
    """Ratios at full resolution, where labels are those of pydensecrf.

    Raises:
        Skipped: without pydensecrf2, as `crf_fast`
    """
    return _ratios(1.0, rounds)


def crf_fast(rounds: int = ROUNDS) -> list[float]:
    """Ratios at half resolution: `refine.crf.scale: 0.5`."""
    return _ratios(0.5, rounds)


def example(seed: int) -> tuple[Bytes, Floats]:
    """An image, and probabilities of background and foreground as smooth as a map. Shapes: (H, W, 3) and (2, H, W)"""
    rng = np.random.default_rng(seed)
    image = _smooth(rng.uniform(60, 200, (4, 5, 3)))
    for cells, strength in ((24, 12), (75, 5)):  # textures, coarse and fine
        image = image + _smooth(rng.normal(0, strength, (cells, cells * 4 // 3, 1)))[..., None]
    image = image + rng.normal(0, 2, image.shape)
    foreground = np.clip(_smooth(rng.uniform(-0.3, 1.2, (6, 8))), 0.02, 0.98)
    return np.clip(image, 0, 255).astype(np.uint8), np.stack([1 - foreground, foreground]).astype(np.float32)


def _smooth(values: NDArray[np.float64]) -> Floats:
    enlarged = cv2.resize(values.astype(np.float32), SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, np.float32)


def ours(image: Bytes, probabilities: Floats, scale: float) -> Floats:
    return DenseCRF(image, KERNELS, "lattice", scale).infer(probabilities, ITERATIONS)


def theirs(image: Bytes, probabilities: Floats) -> Floats:
    """The calls of the README of pydensecrf."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    gaussian, bilateral = KERNELS.gaussian, KERNELS.bilateral
    model = DenseCRF2D(SHAPE[1], SHAPE[0], len(probabilities))
    model.setUnaryEnergy(unary_from_softmax(probabilities))
    model.addPairwiseGaussian(sxy=gaussian.spatial_std, compat=gaussian.compat)
    model.addPairwiseBilateral(
        sxy=bilateral.spatial_std, srgb=bilateral.color_std, rgbim=image, compat=bilateral.compat
    )
    return np.array(model.inference(ITERATIONS), np.float32).reshape(probabilities.shape)


def _ratios(scale: float, rounds: int) -> list[float]:
    if find_spec("pydensecrf") is None:
        raise Skipped("pydensecrf2 is not installed")
    found = []
    for seed in range(rounds + 1):
        image, probabilities = example(seed)
        reference = _seconds(partial(theirs, image, probabilities))
        found.append(reference / _seconds(partial(ours, image, probabilities, scale)))
    return found[1:]


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    for work in (crf_same, crf_fast):
        lower, middle, upper = statistics.quantiles(work(rounds), n=4)
        print(f"{work.__name__}: {middle:.2f} (quartiles {lower:.2f} to {upper:.2f})")
    pairs = [(ours(*example(seed), 1.0), theirs(*example(seed))) for seed in range(rounds)]
    print(f"largest difference of a marginal: {max(np.abs(one - other).max() for one, other in pairs):.1e}")
    changed = [np.mean(one.argmax(axis=0) != other.argmax(axis=0)) for one, other in pairs]
    print(
        f"pixels with another label: {100 * np.mean(changed):.4f} %, at most {100 * np.max(changed):.4f} % of an image"
    )


if __name__ == "__main__":
    main()
