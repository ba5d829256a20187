"""The sample of the diagnostics: images, each of their classes, and the truth at the size of features and of maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.core.errors import ScoreError
from pipeline.core.images import resize
from pipeline.core.manifest import Manifest, MaskKind, Record
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.core.truth import IGNORE_INDEX, has_foreground, has_label_map, read_foreground, read_label_map
from pipeline.evaluate.phenomena import Array, Floats, Mask, Truth
from pipeline.extract.scale import raw_maps

SMALL = 160  # pixels, the longer side at which maps are looked at


@dataclass(frozen=True, slots=True)
class Example:
    """One image and one of its classes, whose pixels are known."""

    record: Record
    class_index: int


@dataclass(frozen=True, slots=True, eq=False)
class StoredMap:
    """The raw map of one example, and the truth, both at most `SMALL` pixels long. Shapes: (H, W)"""

    name: str
    cam: Floats
    inside: Mask
    ignored: Mask

    @property
    def has_object(self) -> bool:
        """Whether any pixel of the object counts."""
        return bool((self.inside & ~self.ignored).any())


def choose_examples(val: Manifest, features: Store, track: Track) -> list[Example]:
    """The images of the sample that have labels and truth, by class; one of several classes counts once for each.

    Raises:
        ScoreError: if there is none
    """

    def usable(record: Record) -> bool:
        if record.id not in features:
            return False
        if track.task == "localization":
            return has_foreground(record) and len(record.labels) == 1
        return has_label_map(record, val.mask_kind)

    every = [Example(record, label) for record in val if usable(record) for label in record.labels]
    if not every:
        raise ScoreError("expected val images with labels, truth and kept features to look at, got none")
    return sorted(every, key=lambda example: (example.class_index, example.record.id))


def read_pixels(example: Example, mask_kind: MaskKind, classes: int, track: Track) -> tuple[Mask, Mask]:
    """Which pixels are the object, and which are ignored. Shapes: (H, W)"""
    if track.task == "localization":
        return read_foreground(example.record, mask_kind)
    values = read_label_map(example.record, mask_kind, classes)
    return values == example.class_index + 1, values == IGNORE_INDEX


def read_truth(
    example: Example, manifest: Manifest, track: Track, shape: tuple[int, int], offset: tuple[float, float]
) -> Truth:
    """The object at feature resolution, by averaging over each cell where it looks; `offset` (y, x) is in cells."""
    inside, ignored = read_pixels(example, manifest.mask_kind, len(manifest.classes), track)
    return Truth(*(cell_means(mask, shape, offset) for mask in (inside & ~ignored, ~ignored)))


def cell_means(mask: Mask, shape: tuple[int, int], offset: tuple[float, float]) -> Floats:
    """Share of each cell that the mask covers, cells moved by `offset` (y, x) cells; what lies outside the image is
    left out.

    Raises:
        ScoreError: if a cell lies outside the image altogether

    >>> cell_means(np.array([[False, False, True, True]]), (1, 2), (0.0, -0.25)).tolist()
    [[0.0, 0.75]]
    """
    rows, columns = (_stretches(mask.shape[axis], shape[axis], offset[axis]) for axis in (0, 1))
    return np.asarray(rows @ mask.astype(np.float64) @ columns.T, np.float32)


def _stretches(length: int, cells: int, offset: float) -> Array:
    """How much each pixel counts in the mean of each cell along one axis; rows sum to 1. Shape: (cells, length)"""
    starts = (np.arange(cells) + offset)[:, None] * length / cells
    pixels = np.arange(length)
    covered = (np.minimum(starts + length / cells, pixels + 1) - np.maximum(starts, pixels)).clip(0)
    total = covered.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise ScoreError(
            f"expected cells that look at the image, got an offset of {offset} cells; likely of another store"
        )
    return np.asarray(covered / total)


def stored_maps(examples: Sequence[Example], manifest: Manifest, maps: Store, track: Track) -> Iterator[StoredMap]:
    """The maps of the examples' classes, where they were kept."""
    for example in examples:
        if example.record.id not in maps:
            continue
        arrays = maps.read(example.record.id)
        kept = np.flatnonzero(arrays["classes"] == example.class_index)
        if len(kept):  # else the classifier did not see this class
            inside, ignored = read_pixels(example, manifest.mask_kind, len(manifest.classes), track)
            shape = _small((inside.shape[0], inside.shape[1]))
            name = f"{example.record.id} {example.class_index}"
            yield StoredMap(name, resize(raw_maps(arrays)[kept[0]], shape), *_shrink(shape, inside, ignored))


def _small(shape: tuple[int, int]) -> tuple[int, int]:
    """The shape, shrunk so that the longer side is at most `SMALL`.

    >>> _small((100, 320)), _small((48, 64))
    ((50, 160), (48, 64))
    """
    scale = min(1.0, SMALL / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _shrink(shape: tuple[int, int], *masks: Mask) -> Iterator[Mask]:
    """Masks at another shape: set where more than half of the area is."""
    for mask in masks:
        covered = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        yield np.asarray(covered > 0.5)
