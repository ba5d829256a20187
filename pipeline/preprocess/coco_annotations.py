"""The JSON of COCO as tools write it: what may be absent, what is wrong, and the pixels of an object.

`iscrowd` may be absent (0), `area` too (it is measured). Run lengths may be compressed, as pycocotools writes them.
Everything else that is absent or unknown is a problem, named by file and annotation.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError, sample
from pipeline.core.images import MAX_PIXELS
from pipeline.preprocess.folders import Problems, stem

FINER = 8  # steps a pixel when polygons are drawn: small ones come out 2 % too large, with 1 step 22 %
Truth = Literal["boxes", "masks", "none"]  # what is needed of each annotation beside its category


def read_content(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """The content of a file of COCO: a list under each of the keys.

    Raises:
        DataError: if it is no such file
    """
    try:
        content: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got {error}; likely a truncated download") from None
    found = sorted(content) if isinstance(content, dict) else type(content).__name__
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise DataError(f"{path}: expected a list under each of {list(keys)}, missing={missing}, got {found}")
    return dict(content)


class Instances:
    """What an instances file says, by image; annotations with a problem are left out, and named.

    Args:
        path: the file
        truth: what its annotations have to hold
        problems: gets a line for everything that is wrong
        categories: ids that may occur; None: those of the file itself
    """

    def __init__(self, path: Path, truth: Truth, problems: Problems, categories: Iterable[int] | None = None) -> None:
        content = read_content(path, ("categories", "images", "annotations"))
        named = complete(content["categories"], ("id", "name"), path, "category", problems)
        named.sort(key=lambda category: (isinstance(category["id"], str), category["id"]))
        self.classes = tuple(str(category["name"]) for category in named)
        self.position = {category["id"]: k for k, category in enumerate(named)}  # class index by category id
        needed = ("id", "file_name") if truth == "none" else ("id", "file_name", "width", "height")
        images = complete(content["images"], needed, path, "image", problems)
        images = images if truth == "none" else _with_size(images, path, problems)
        self.ids = {image["id"]: stem(str(image["file_name"])) for image in images}
        self.sizes = {} if truth == "none" else {image["id"]: (image["width"], image["height"]) for image in images}
        self.annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        known = frozenset(self.position if categories is None else categories)
        for number, annotation in enumerate(content["annotations"]):
            if problem := self._problem(annotation, truth, known):
                problems.add(f"{path}: {_name(annotation, number)}: {problem}")
            else:
                self.annotations[annotation["image_id"]].append(annotation)

    def _problem(self, each: Any, truth: Truth, categories: frozenset[int]) -> str:
        """What is wrong with an annotation; empty if nothing."""
        if not isinstance(each, dict):
            return f"expected keys and values, got {each!r:.60}"
        for key, known in (("image_id", self.ids.keys()), ("category_id", categories)):
            if not isinstance(each.get(key), int | str) or each[key] not in known:
                return f"expected {key} to be one of {len(known)} ids, got {each.get(key)!r:.60}"
        if truth == "boxes" and not each.get("iscrowd") and not _is_box(each.get("bbox")):
            return f"expected bbox, x y width height, got {each.get('bbox')!r:.60}"
        return _outline_problem(each, self.sizes[each["image_id"]]) if truth == "masks" else ""

    def labels(self, position: Mapping[int, int]) -> dict[str, list[int]]:
        """Class indices by image id."""
        found = {self.ids[n]: {position[each["category_id"]] for each in here} for n, here in self.annotations.items()}
        return {image_id: sorted(labels) for image_id, labels in found.items()}

    def boxes(self, to_corners: Callable[[Sequence[float], int, int], list[int]]) -> dict[str, list[int]]:
        """The boxes of all objects but crowds, by image id: x0 y0 x1 y1, inclusive, one after the other.

        Args:
            to_corners: corners of x y width height, in an image of this width and height
        """
        found: dict[str, list[int]] = {}
        for n, here in self.annotations.items():
            boxes = [to_corners(each["bbox"], *self.sizes[n]) for each in here if not each.get("iscrowd")]
            if boxes:
                found[self.ids[n]] = [corner for box in boxes for corner in box]
        return found


def complete(
    entries: Sequence[Any], keys: Sequence[str], path: Path, what: str, problems: Problems
) -> list[dict[str, Any]]:
    """The entries that have all keys and an id that is a number or text; a problem for each of the others."""
    good = []
    for number, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, dict) or entry.get(key) is None]
        if missing or not isinstance(entry["id"], int | str):
            problems.add(
                f"{path}: {what} {number} (from 0): expected {list(keys)}, missing={missing}, got {entry!r:.60}"
            )
        else:
            good.append(entry)
    return good


def _with_size(images: Sequence[dict[str, Any]], path: Path, problems: Problems) -> list[dict[str, Any]]:
    """The images whose size can be that of an image; a problem for each of the others."""
    good = []
    for image in images:
        size = (image["width"], image["height"])
        if all(map(_is_count, size)) and 0 < size[0] * size[1] <= MAX_PIXELS:
            good.append(image)
        else:
            problems.add(
                f"{path}: image {image['id']!r:.60}: expected width and height, whole numbers of 1 to {MAX_PIXELS} "
                f"pixels in all, got {size[0]!r:.20} and {size[1]!r:.20}; likely a fault of the program that wrote it"
            )
    return good


def _name(annotation: Any, number: int) -> str:
    if isinstance(annotation, dict) and annotation.get("id") is not None:
        return f"annotation {annotation['id']}"
    return f"annotation {number} (from 0, without an id)"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0


# --- outlines ---------------------------------------------------------------------------------------------------------


def _outline_problem(each: Mapping[str, Any], size: tuple[int, int]) -> str:
    """What is wrong with the outline of an object, before anything is drawn; empty if nothing."""
    outline = each.get("segmentation")
    if isinstance(outline, dict):
        try:
            decode_runs(outline, *size)
        except DataError as error:
            return str(error)
        return ""
    if not isinstance(outline, list) or not outline or not all(map(_is_polygon, outline)):
        return f"expected segmentation, polygons of 3 corners or more or run lengths, got {outline!r:.60}"
    return ""


def _is_polygon(corners: Any) -> bool:
    is_long = isinstance(corners, list) and len(corners) >= 6 and len(corners) % 2 == 0
    return is_long and all(map(_is_number, corners))


def region_of(outline: Any, width: int, height: int) -> NDArray[np.bool_]:
    """The pixels of one object: of polygons, or of run lengths. Shape: (H, W)"""
    if isinstance(outline, dict):
        return decode_runs(outline, width, height)
    region = np.zeros((height, width), np.bool_)
    for polygon in outline:
        _fill(region, np.asarray(polygon, np.float64).reshape(-1, 2))
    return region


def _fill(region: NDArray[np.bool_], corners: NDArray[np.float64]) -> None:
    """Add the pixels that lie in a polygon by half or more: OpenCV counts the outline in, so it draws on a finer
    grid."""
    height, width = region.shape
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int), (x0 + 1, y0 + 1), (width, height))
    fine = np.zeros(((y1 - y0) * FINER, (x1 - x0) * FINER), np.uint8)
    cv2.fillPoly(fine, [np.rint((corners - (x0, y0)) * FINER - 0.5).astype(np.int32)], 255)
    region[y0:y1, x0:x1] |= cv2.resize(fine, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA) >= 128


def decode_runs(outline: Mapping[str, Any], width: int, height: int) -> NDArray[np.bool_]:
    """Pixels of run lengths: off, on, off, … down the columns; as numbers, or as the text of pycocotools.

    Raises:
        DataError: if they do not add up to the pixels of the image

    >>> decode_runs({"counts": [1, 2, 3]}, width=3, height=2).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    counts, size = outline.get("counts"), outline.get("size", [height, width])
    if size != [height, width]:
        raise DataError(f"expected run lengths of size [{height}, {width}] (height, width), got {size!r}")
    runs = _unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(map(_is_count, runs)) or sum(runs) != width * height:
        found = sample(counts) if isinstance(counts, list) else f"{counts!r:.60}"
        raise DataError(f"expected run lengths that add up to {width}x{height} pixels, got {found}")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _unpack(text: str) -> list[int]:
    """The run lengths in a text of pycocotools: from the fourth on, as differences to the last but one.

    A character is 48 plus five bits, the lowest first, plus 32 where more follow; the highest bit of all is the sign.

    >>> _unpack("124"), _unpack("0Z1")
    ([1, 2, 4], [0, 42])
    """
    runs: list[int] = []
    value = shift = 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # two's complement
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
