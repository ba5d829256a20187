"""Paint a prediction or the truth over its image."""

import colorsys
from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.truth import IGNORE_INDEX

Pixels = NDArray[np.uint8]

HIT, MISSED, FALSE, IGNORED = 1, 2, 3, 4
# blue, yellow, vermilion (Okabe and Ito): told apart by hue in every color blindness, and by lightness without any hue
OVERLAP_COLORS = {"hit": (0, 114, 178), "missed": (240, 228, 66), "false": (213, 94, 0), "ignored": (128, 128, 128)}
FIRST_COLORS = (  # of class ids 1 to 12
    (240, 140, 40), (64, 150, 230), (96, 190, 80), (225, 70, 90), (160, 100, 220), (250, 215, 60),
    (60, 200, 190), (245, 130, 190), (165, 110, 70), (150, 215, 250), (205, 220, 90), (190, 160, 245),
)  # fmt: skip
PAINT = 0.7  # how much of a painted pixel is paint
HEAT = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_INFERNO)[0, :, ::-1].astype(
    np.uint8
)  # RGB, (256, 3)
JPEG_QUALITY = 80


def overlap(truth: Pixels, prediction: Pixels, ignored: NDArray[np.bool_]) -> Pixels:
    """Compare two label maps, or two masks of 0 and 1, pixel by pixel.

    Returns:
        HIT: the same class; MISSED: the truth has a class, the prediction background; FALSE: the prediction has a class
        where the truth has another one or background; IGNORED; 0: background in both. Shape: (H, W)

    >>> truth, prediction = np.array([[0, 1, 1, 0, 2, 1]], np.uint8), np.array([[0, 1, 0, 1, 1, 0]], np.uint8)
    >>> overlap(truth, prediction, np.array([[False] * 5 + [True]])).tolist()
    [[0, 1, 2, 3, 3, 4]]
    """
    codes = np.zeros(truth.shape, np.uint8)
    codes[(truth != 0) & (prediction == truth)] = HIT
    codes[(truth != 0) & (prediction == 0)] = MISSED
    codes[(prediction != 0) & (prediction != truth)] = FALSE
    codes[ignored] = IGNORED
    return codes


def paint(image: Pixels, codes: Pixels, colors: Pixels) -> Pixels:
    """Paint the pixels of an image by their code; code 0 leaves them, all turns grey below the paint.

    Args:
        image: RGB. Shape: (H, W, 3)
        codes: rows of `colors`. Shape: (H, W)
        colors: RGB by code. Shape: (codes, 3)

    Returns:
        RGB. Shape: (H, W, 3)
    """
    grey = _grey(image)
    painted = cv2.addWeighted(grey, 1 - PAINT, colors[codes], PAINT, 0)
    return np.asarray(np.where(codes[..., None] > 0, painted, grey), np.uint8)


def paint_heat(image: Pixels, score: NDArray[np.float32]) -> Pixels:
    """Lay a score in [0, 1] over an image, dark where it is low. Shapes: (H, W, 3) and (H, W) to (H, W, 3)"""
    colors = HEAT[np.rint(255 * score).astype(np.uint8)]
    return cv2.addWeighted(_grey(image), 1 - PAINT, colors, PAINT, 0).astype(np.uint8)


def cut_out(image: Pixels, mask: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> Pixels:
    """Keep the foreground of an image, darken the rest, and cover what is ignored. Shapes: (H, W, 3) and (H, W)"""
    dark = cv2.addWeighted(_grey(image), 0.25, np.zeros_like(image), 0.75, 0)
    kept: Pixels = np.where(mask[..., None], image, dark).astype(np.uint8)
    kept[ignored] = OVERLAP_COLORS["ignored"]
    return kept


def _grey(image: Pixels) -> Pixels:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


@lru_cache(maxsize=1)
def class_colors() -> Pixels:
    """A color for every value of a label map: chosen ones, then hues that keep their distance; 255 is grey.

    Shape: (256, 3)
    """
    colors = np.empty((256, 3), np.uint8)
    for value in range(256):
        hue = (0.618034 * value) % 1  # the golden ratio: neighbors are far apart, and no hue returns
        colors[value] = np.rint([255 * part for part in colorsys.hsv_to_rgb(hue, 0.75 - 0.25 * (value % 2), 0.95)])
    colors[1 : len(FIRST_COLORS) + 1] = FIRST_COLORS
    colors[IGNORE_INDEX] = OVERLAP_COLORS["ignored"]
    return colors


def css_color(color: Iterable[int]) -> str:
    """RGB as CSS.

    >>> css_color((0, 114, 178))
    '#0072b2'
    """
    return "#" + "".join(f"{int(part):02x}" for part in color)


def shrink(pixels: Pixels, most: int) -> Pixels:
    """Make the longer side at most `most` pixels by averaging; a small image stays as it is."""
    height, width = pixels.shape[:2]
    scale = most / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
