"""Random views of an image together with its target."""

import math
from collections.abc import Callable, Sequence
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
        random = np.random.default_rng((self.seed, self.epoch, position))
        pair = read_rgb(self.files[position]), self.target(position)
        return (*random_pair(*pair, self.is_label, self.settings, random), position)


def random_pair(
    image: Pixels, target: Pixels, is_label: bool, settings: ViewSettings, random: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """The same random crop of both, resized to `size` x `size` pixels, mirrored one time in two; the image in other
    colors.

    Shapes: (H, W, 3) and (H, W) to (S, S, 3) and (S, S)
    """
    top, left, height, width = random_crop((image.shape[0], image.shape[1]), settings.min_area, random)
    part = (slice(top, top + height), slice(left, left + width))
    shape = (settings.size, settings.size)
    view = resize_image(np.ascontiguousarray(image[part]), shape)
    cut = np.ascontiguousarray(target[part])
    label = cv2.resize(cut, shape, interpolation=cv2.INTER_NEAREST_EXACT) if is_label else resize_image(cut, shape)
    if settings.flip and random.random() < 0.5:
        view, label = view[:, ::-1], label[:, ::-1]
    if settings.color:
        view = jitter_color(view, settings.color, int(random.integers(2**31)))
    return np.ascontiguousarray(view), np.ascontiguousarray(label).astype(np.uint8, copy=False)


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
