"""The truth of a set of images as one folder: `<id>.png` masks, and `boxes.csv`, beside them or alone."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.images import read_mask, read_size
from pipeline.core.manifest import Box, MaskKind, MaskTurn, Record
from pipeline.core.pixel_counts import value_counts
from pipeline.core.tracks import Track
from pipeline.package.png import Size
from pipeline.preprocess.folders import MASK_SUFFIXES, ProblemsError, files_by_id
from pipeline.preprocess.known_defects import kind_of_masks
from pipeline.preprocess.layouts.folder import parse_boxes, read_table
from pipeline.preprocess.layouts.ilsvrc_cls import SWAPPED_MASKS

BOXES = "boxes.csv"
Masks = Literal["auto", "foreground", "labels"]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is true of a set of images.

    Attributes:
        masks: by image id
        boxes: by image id; inclusive pixels
        mask_kind: how masks are to be read
        assumed: whether the first mask alone says so: the others are still to be looked at
        sizes: (width, height) of each image by id; None where no mask says it
        labels: class indices of every image: known if there is one class only
        folder: named in messages
    """

    masks: Mapping[str, Path]
    boxes: Mapping[str, tuple[Box, ...]]
    mask_kind: MaskKind
    sizes: Mapping[str, Size | None]
    labels: tuple[int, ...]
    folder: Path
    assumed: bool = False

    def select(self, image_ids: Collection[str]) -> "Truth":
        """The truth of some images: small enough to travel to another process."""
        wanted = set(image_ids)
        masks = {image_id: path for image_id, path in self.masks.items() if image_id in wanted}
        boxes = {image_id: found for image_id, found in self.boxes.items() if image_id in wanted}
        sizes = {image_id: size for image_id, size in self.sizes.items() if image_id in wanted}
        return replace(self, masks=masks, boxes=boxes, sizes=sizes)

    def record(self, image_id: str, shape: tuple[int, int]) -> Record:
        """What the scorers need of an image whose prediction is (H, W)."""
        height, width = shape
        mask = self.masks.get(image_id)
        named = mask or Path(f"{self.folder / BOXES}: {image_id}")  # in messages only: images are not opened
        turn = _turn(image_id, mask, (width, height))
        return Record(
            image_id, named, width, height, self.labels, "val", mask, self.boxes.get(image_id, ()), mask_turn=turn
        )


def read_truth(folder: Path, masks: Masks, track: Track, classes: int, *, assume: bool = False) -> Truth:
    """List the masks and read the boxes of a folder.

    `masks: auto` reads every mask once: if all together hold 0 and 255 only, they are foreground masks, else class ids,
    as in the layout `folder`. In Track 3 masks with values above `classes` are foreground masks too: gray ones.

    Args:
        folder: `<id>.png`, and `boxes.csv` with the columns `id` and `boxes`
        masks: what the values of the masks mean
        classes: K
        assume: in Track 3, whether a first mask that holds 0 and 255 may speak for all, for a caller that reads each
            of them anyway and checks it, see `is_binary`

    Raises:
        DataError: if there is neither a mask nor a table, the table is no such table, or a mask cannot be read
    """
    boxes = read_boxes(folder / BOXES) if (folder / BOXES).is_file() else {}
    paths = files_by_id([folder], MASK_SUFFIXES)
    if not paths and not boxes:
        kind = "neither" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: expected masks, <id>.png, or {BOXES}, found {kind}")
    sizes: dict[str, Size | None] = dict.fromkeys(boxes)
    sizes |= {image_id: read_size(path) for image_id, path in paths.items()}
    sizes |= dict.fromkeys(image_id for image_id in SWAPPED_MASKS if image_id in sizes)  # either way is right
    assumed = assume and masks == "auto" and track.task == "localization" and _first_has_both(paths)
    kind = "foreground" if assumed else _find_kind(paths, track, classes) if masks == "auto" else masks
    return Truth(paths, boxes, kind, sizes, (0,) if classes == 1 else (), folder, assumed)


def is_binary(values: NDArray[np.uint8]) -> bool:
    """Whether a mask holds nothing but 0 and 255.

    >>> [is_binary(np.array([[0, other, 255]], np.uint8)) for other in (0, 1, 254, 255)]
    [True, False, False, True]
    """
    return not (values + np.uint8(1) > 1).any()  # 255 + 1 is 0


def _first_has_both(paths: Mapping[str, Path]) -> bool:
    if not paths:
        return False
    values = read_mask(next(iter(paths.values())))
    return is_binary(values) and bool(values.any())


def _find_kind(paths: Mapping[str, Path], track: Track, classes: int) -> MaskKind:
    """What the masks are, by the values of all together; as soon as no further mask could change it."""
    values: set[int] = set()
    for path in paths.values():
        values |= set(np.flatnonzero(value_counts(read_mask(path))).tolist())
        if track.task == "localization" and any(classes < value < 255 for value in values):
            return "foreground"
        if track.task == "segmentation" and not values <= {0, 255}:
            break
    return kind_of_masks(values)


def read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """Read a table with the columns `id` and `boxes`: `x0 y0 x1 y1`, inclusive pixels, `;` between several.

    Rows without boxes are left out.

    Raises:
        DataError: if it is no such table, has an id twice, or a row that is no box; bad rows are named by their lines
    """
    found: dict[str, tuple[Box, ...]] = {}
    bad = []
    for row in read_table(path, ("id", "boxes"), (), "boxes are separated by `;`"):
        image_id, text = row.cells["id"], row.cells["boxes"]
        try:
            flat = parse_boxes(text) if text else []
        except ValueError as error:
            bad.append(f"line {row.line}, {image_id!r}: {error}")
            continue
        if image_id in found:
            bad.append(f"line {row.line}, {image_id!r}: expected each id once, got it a second time")
        found[image_id] = tuple((flat[n], flat[n + 1], flat[n + 2], flat[n + 3]) for n in range(0, len(flat), 4))
    if bad:
        raise ProblemsError(path, bad, what="mistakes")
    return {image_id: boxes for image_id, boxes in found.items() if boxes}


def _turn(image_id: str, mask: Path | None, size: Size) -> MaskTurn | None:
    """How the two masks of the challenge that have width and height swapped are to be turned."""
    is_swapped = image_id in SWAPPED_MASKS and mask is not None and read_size(mask) == size[::-1] != size
    return "transpose" if is_swapped else None
