"""Connected components of a prediction, each with its class, score, box and mask."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import SettingsError
from pipeline.core.manifest import Box
from pipeline.core.truth import BACKGROUND

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One 8-connected component of the mask of one class. Touching objects of a class are one instance.

    Attributes:
        class_name: of the component
        class_id: 1..K, as in a label map
        score: Track 3: mean score inside, 0..255; Track 1: probability of the class, 0..1
        box: x0 y0 x1 y1, inclusive pixels
        area: pixels
        crop: the component inside its box. Shape: (y1 - y0 + 1, x1 - x0 + 1)
        shape: of the image, (H, W)
    """

    class_name: str
    class_id: int
    score: float
    box: Box
    area: int
    crop: Mask = field(repr=False)
    shape: tuple[int, int]

    @property
    def mask(self) -> Mask:
        """The component at the size of the image; made anew at every call. Shape: (H, W)"""
        x0, y0, x1, y1 = self.box
        whole = np.zeros(self.shape, np.bool_)
        whole[y0 : y1 + 1, x0 : x1 + 1] = self.crop
        return whole


def instances_of_scores(
    score: NDArray[np.uint8], mask: Mask, class_index: int, class_names: Sequence[str]
) -> tuple[Instance, ...]:
    """Track 3: the components of the mask, all of one class, the largest first. Shapes: (H, W) and (H, W)"""
    found = []
    for box, area, crop in components(mask):
        x0, y0, x1, y1 = box
        mean = float(score[y0 : y1 + 1, x0 : x1 + 1][crop].mean())
        found.append(Instance(class_names[class_index], class_index + 1, mean, box, area, crop, score.shape))
    return _largest_first(found)


def instances_of_labels(
    label_map: NDArray[np.uint8], probabilities: NDArray[np.float32], class_names: Sequence[str]
) -> tuple[Instance, ...]:
    """Track 1: the components of each class of a label map, the largest first. Shapes: (H, W) and (K,)"""
    found = []
    for class_id in np.unique(label_map[label_map != BACKGROUND]).tolist():
        name, probability = class_names[class_id - 1], float(probabilities[class_id - 1])
        for box, area, crop in components(label_map == class_id):
            found.append(Instance(name, class_id, probability, box, area, crop, label_map.shape))
    return _largest_first(found)


def components(mask: Mask) -> Iterator[tuple[Box, int, Mask]]:
    """The 8-connected components of a mask: box in inclusive pixels, area in pixels, the component inside its box.

    >>> [(box, area) for box, area, _ in components(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool))]
    [((0, 0, 1, 1), 2), ((3, 0, 3, 1), 2)]
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for part in range(1, count):
        x, y, width, height, area = stats[part].tolist()
        yield (x, y, x + width - 1, y + height - 1), area, parts[y : y + height, x : x + width] == part


def least_pixels(min_area: float, shape: tuple[int, int]) -> float:
    """How many pixels an instance has at least: below 1 `min_area` is a share of the image's pixels, else pixels.

    Args:
        min_area: 0 leaves nothing out
        shape: of the image, (H, W)

    Raises:
        SettingsError: if it is negative, no number or infinite

    >>> least_pixels(0.0005, (375, 500)), least_pixels(30, (375, 500)), least_pixels(0, (375, 500))
    (93.75, 30, 0)
    """
    if not 0 <= min_area < math.inf:
        raise SettingsError(
            f"min_area: expected pixels, or below 1 a share of the image, 0 for every instance, got {min_area}"
        )
    return min_area * shape[0] * shape[1] if min_area < 1 else min_area


def large_enough(
    found: Sequence[Instance], min_area: float, shape: tuple[int, int]
) -> tuple[tuple[Instance, ...], int]:
    """The instances of an image with area >= `least_pixels`, in their order, and how many are left out."""
    least = least_pixels(min_area, shape)
    kept = tuple(one for one in found if one.area >= least)
    return kept, len(found) - len(kept)


def _largest_first(found: Sequence[Instance]) -> tuple[Instance, ...]:
    return tuple(sorted(found, key=lambda one: (-one.area, one.class_id, one.box)))
