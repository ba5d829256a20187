"""Random views of an image; the only module that uses albumentations."""

import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import resize_image
from pipeline.models.backbones import Normalization, normalization_of
from pipeline.models.methods.base import TrainingMethod
from pipeline.train.settings import TrainSettings

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for a newer release at import

import albumentations

View = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
AVERAGED_FROM = 2  # times that a random view shrinks; interpolation takes a third of the time (docs/performance.md)


def training_view(settings: TrainSettings, method: TrainingMethod) -> View:
    """A random view as the settings say, changed as the method does it."""
    color = mean_color(normalization_of(settings.backbone))
    return partial(_changed, random_view(settings.resize, settings.crop, settings.flip), method, color)


def mean_color(normalization: Normalization) -> NDArray[np.uint8]:
    """The color that normalization brings to 0, up to rounding. Shape: (3,), uint8"""
    return np.round(255 * np.array(normalization.mean)).astype(np.uint8)


def random_view(resize: int, crop: int, flip: bool) -> View:
    """Resize to `resize` x `resize` pixels, take a random square of side `crop`, mirror one time in two.

    The aspect ratio is not kept, as in the published setting (resize 384 x 384, crop 336 x 336). The view depends on
    the image and the seed alone, so it is the same in any process and any order.
    """
    steps: list[Any] = [albumentations.RandomCrop(crop, crop)]
    steps += [albumentations.HorizontalFlip(p=0.5)] if flip else []
    return partial(_cut, albumentations.Compose(steps, seed=0), resize)


def plain_view(resize: int) -> View:
    """Resize to `resize` x `resize` pixels and nothing else, for validation."""
    return partial(_whole, resize)


def jitter_color(image: NDArray[np.uint8], most: float, seed: int) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation changed by factors from [1 - most, 1 + most]. Shape: (H, W, 3)"""
    factors = (1 - most, 1 + most)
    jitter = albumentations.Compose([albumentations.ColorJitter(factors, factors, factors, 0, p=1)])
    jitter.set_random_state(np.random.default_rng(seed), random.Random(seed))
    changed: NDArray[np.uint8] = jitter(image=np.ascontiguousarray(image))["image"]
    return changed


# bound by `partial`, not by closures: reading processes that are spawned (macOS) get a copy


def _changed(
    view: View, method: TrainingMethod, color: NDArray[np.uint8], image: NDArray[np.uint8], seed: int
) -> NDArray[np.uint8]:
    random = np.random.default_rng((seed, 1))  # not the numbers of crop and flip
    return method.change_image(view(image, seed), random, color)


def _whole(side: int, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    return resize_image(image, (side, side))


def _cut(compose: Any, side: int, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    # one stream for all steps: `set_random_seed` would give each step the same numbers, and crop and flip would agree
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    seen: NDArray[np.uint8] = compose(image=resize_image(image, (side, side), AVERAGED_FROM))["image"]
    return seen
