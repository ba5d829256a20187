"""One image as every format gets it: its names, its size and its instances."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.predict.instances import Instance, instances_of_labels, instances_of_scores, large_enough


@dataclass(frozen=True, slots=True, eq=False)
class ExportImage:
    """What is written of one image.

    Attributes:
        name: of its files, and in tables: the image id
        file_name: of the image, as a reader looks for it below its folder of images
        file: where the image lies; None where that is not known
        shape: (H, W)
        instances: the largest first; `score` is a share in [0, 1]
        left_out: how many instances were smaller than the least area
    """

    name: str
    file_name: str
    file: Path | None
    shape: tuple[int, int]
    instances: tuple[Instance, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """What is known of an image beside its pixels; as in `ExportImage`."""

    name: str
    file_name: str
    file: Path | None = None


def localized(
    named: Named,
    score: NDArray[np.uint8],
    threshold: int,
    class_index: int,
    class_names: Sequence[str],
    min_area: float = 0,
) -> ExportImage:
    """Track 3: the components of {score >= threshold}, all of one class; their score is the mean inside, over 255.

    Args:
        named: names of the image
        score: 0..255. Shape: (H, W)
        threshold: 0..256; 256 selects nothing
        class_index: of the image
        class_names: of all K classes
        min_area: of an instance, see `least_pixels`
    """
    found = instances_of_scores(score, score >= threshold, class_index, class_names)
    return _image(named, score.shape, [replace(one, score=one.score / 255) for one in found], min_area)


def segmented(
    named: Named,
    label_map: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    min_area: float = 0,
) -> ExportImage:
    """Track 1: the components of each class; their score is the probability of the class in the image.

    Args:
        named: names of the image
        label_map: 0..K. Shape: (H, W)
        probabilities: of each class, in [0, 1]. Shape: (K,)
        class_names: of the K classes
        min_area: of an instance, see `least_pixels`
    """
    return _image(named, label_map.shape, instances_of_labels(label_map, probabilities, class_names), min_area)


def _image(named: Named, shape: tuple[int, int], found: Sequence[Instance], min_area: float) -> ExportImage:
    kept, left_out = large_enough(found, min_area, shape)
    return ExportImage(named.name, named.file_name, named.file, shape, kept, left_out)
