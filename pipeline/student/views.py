"""Random views of an image together with its target."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pipeline.core.images import read_rgb, resize_image
from pipeline.student.settings import ViewSettings
from pipeline.train.augment import jitter_color

Pixels = NDArray[np.uint8]
Item = tuple[Pixels, Pixels, int]  # image (S, S, 3), target (S, S), position
RATIOS = (3 / 4, 4 / 3)  # of the width of a crop to its height


class PairDataset(Dataset[Item]):
    """Views of images with their targets, by position; a view depends on seed, epoch and position alone.

    Args:
        files: of the images
        target: the target of the image at a position, (H, W)
        is_label: whether the targets are class ids, which cannot be averaged
    """

    def __init__(
        self,
        files: Sequence[Path],
        target: Callable[[int], Pixels],
        is_label: bool,
        settings: ViewSettings,
        seed: int,
        epoch: int,
    ) -> None:
        self.files, self.target, self.is_label = files, target, is_label
        self.settings, self.seed, self.epoch = settings, seed, epoch

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Item:
        pair = read_rgb(self.files[position]), self.target(position)
        return (*random_pair(*pair, self.is_label, self.settings, self._random(position)), position)

    def target_view(self, position: int) -> Pixels:
        """The target of a view alone; its image is not read. Shape: (S, S)"""
        return random_target(self.target(position), self.is_label, self.settings, self._random(position))

    def _random(self, position: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.epoch, position))


class TargetDataset(Dataset[Pixels]):
    """The targets of views without their images, by position."""

    def __init__(self, pairs: PairDataset) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> Pixels:
        return self.pairs.target_view(position)


@dataclass(frozen=True, slots=True)
class Cut:
    """A rectangle of an image, and whether it is mirrored."""

    part: tuple[slice, slice]
    mirrored: bool

    def of(self, pixels: Pixels, resized: Callable[[Pixels], Pixels]) -> Pixels:
        """What is cut out of an image or a target of it, resized and then mirrored."""
        view = resized(np.ascontiguousarray(pixels[self.part]))
        return np.ascontiguousarray(view[:, ::-1] if self.mirrored else view).astype(np.uint8, copy=False)


def random_pair(
    image: Pixels, target: Pixels, is_label: bool, settings: ViewSettings, random: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """The same random crop of both, resized to `size` x `size` pixels, mirrored one time in two; the image in other
    colors.

    Shapes: (H, W, 3) and (H, W) to (S, S, 3) and (S, S)
    """
    cut = random_cut((image.shape[0], image.shape[1]), settings, random)
    view = cut.of(image, partial(resize_image, shape=(settings.size, settings.size)))
    if settings.color:
        view = jitter_color(view, settings.color, int(random.integers(2**31)))
    return np.ascontiguousarray(view), _cut_target(target, cut, is_label, settings.size)


def random_target(target: Pixels, is_label: bool, settings: ViewSettings, random: np.random.Generator) -> Pixels:
    """The target that `random_pair` gives beside an image. Shape: (H, W) to (S, S)"""
    cut = random_cut((target.shape[0], target.shape[1]), settings, random)
    return _cut_target(target, cut, is_label, settings.size)


def _cut_target(target: Pixels, cut: Cut, is_label: bool, side: int) -> Pixels:
    return cut.of(target, partial(_resize_labels if is_label else resize_image, shape=(side, side)))


def _resize_labels(labels: Pixels, shape: tuple[int, int]) -> Pixels:
    resized = cv2.resize(labels, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False)


def random_cut(shape: tuple[int, int], settings: ViewSettings, random: np.random.Generator) -> Cut:
    """A random crop of an image of this shape, mirrored one time in two; the same for the image and its target."""
    top, left, height, width = random_crop(shape, settings.min_area, random)
    part = (slice(top, top + height), slice(left, left + width))
    return Cut(part, settings.flip and random.random() < 0.5)


def random_crop(
    shape: tuple[int, int], min_area: float, random: np.random.Generator, tries: int = 10
) -> tuple[int, int, int, int]:
    """A rectangle (top, left, height, width) with a share of the area drawn evenly from [min_area, 1], and a ratio of
    width to height drawn evenly in its logarithm from [3/4, 4/3].

    One that does not fit into the image is drawn again, `tries` times; then it is the whole image.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6; here with a smallest area of choice
    """
    height, width = shape
    for _ in range(tries):
        area = height * width * random.uniform(min_area, 1)
        ratio = math.exp(random.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w
    return 0, 0, height, width
