"""Random views of a picture; the one module that knows albumentations."""

import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for a newer release at import

import albumentations

View = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


def random_view(resize: int, crop: int, flip: bool) -> View:
    """Resize to `resize` x `resize` pixels, take a random square of side `crop`, mirror one time in two.

    The aspect ratio is not kept, as in the published setting (resize 384 x 384, crop 336 x 336). The view depends on the
    picture and the seed alone, so that it is the same in any process and any order.
    """
    steps: list[Any] = [_resize(resize), albumentations.RandomCrop(crop, crop)]
    steps += [albumentations.HorizontalFlip(p=0.5)] if flip else []
    compose = albumentations.Compose(steps, seed=0)

    return partial(_look, compose)


def plain_view(resize: int) -> View:
    """Resize to `resize` x `resize` pixels and nothing else: what validation looks at."""
    return partial(_look, albumentations.Compose([_resize(resize)]))


def _resize(side: int) -> Any:
    # averaging over the area, as at extraction: a shrunk picture without aliases
    return albumentations.Resize(side, side, interpolation=cv2.INTER_AREA)


def _look(compose: Any, picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    # bound by `partial`, not by a closure: reading processes that are spawned (macOS) get a copy
    # one stream for all steps: `set_random_seed` would give each step the same numbers, and crop and flip would agree
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    seen: NDArray[np.uint8] = compose(image=picture)["image"]
    return seen
