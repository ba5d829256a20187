"""COCO 2017 in its official layout.

    <root>/annotations/instances_{train,val}2017.json     the first takes 3 GB of memory and 10 s to read
    <root>/annotations/image_info_test2017.json           with test: official
    <root>/{train,val,test}2017/<id>.jpg                  also below <root>/images/

Class index: the rank of the category id, which has gaps. Labels: the categories of all annotations, crowds too.
Truth is the boxes of val (crowds left out), or label maps that are drawn from the polygons, once, into `mask_cache`:
large objects first, so that small ones lie on top; what only a crowd covers is ignored (255). Outlines may differ from
those of pycocotools by a pixel.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014
"""

import json
import math
import shutil
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError, sample
from pipeline.core.files import sha256
from pipeline.core.images import encode_png
from pipeline.core.manifest import Manifest, Split
from pipeline.core.truth import IGNORE_INDEX
from pipeline.preprocess.folders import Problems, common_root, files_by_id, find_file, find_folder, rows_of_splits, stem
from pipeline.preprocess.held_out import halves
from pipeline.preprocess.settings import CocoSource

RENDERER = 1  # counts up whenever the same polygons give other pixels
FINER = 8  # steps a pixel when polygons are drawn: small ones come out 2 % too large, with 1 step 22 %


def list_images(source: CocoSource, jobs: int = 1) -> Manifest:
    """List train, val and test.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = common_root(Path(source.root), Path(source.mask_cache)) if source.truth == "masks" else Path(source.root)
    train, val = (_Instances(_json(source, f"instances_{split}2017")[1]) for split in ("train", "val"))
    splits: dict[Split, Sequence[str]] = {"train": [*train.ids.values()], "val": [*val.ids.values()]}
    if source.test == "official":
        splits["test"] = [stem(image["file_name"]) for image in _json(source, "image_info_test2017")[1]["images"]]
    else:
        splits["val"], splits["test"] = halves(splits["val"])
    problems = Problems(root)
    table = rows_of_splits(
        splits,
        root,
        _images(source, problems),
        problems,
        labels=train.labels(train.position) | val.labels(train.position),
        masks=_draw_all(source, val, train.position) if source.truth == "masks" else None,
        boxes=val.boxes() if source.truth == "boxes" else None,
    )
    problems.stop_if_any()
    return Manifest(table, train.classes, root, "labels" if source.truth == "masks" else "foreground")


class _Instances:
    """What an instances file says, by image."""

    def __init__(self, content: dict[str, Any]) -> None:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self.classes = tuple(category["name"] for category in categories)
        self.position = {category["id"]: k for k, category in enumerate(categories)}  # class index by category id
        self.ids = {image["id"]: stem(image["file_name"]) for image in content["images"]}
        self.sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        self.annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            self.annotations[annotation["image_id"]].append(annotation)

    def labels(self, position: Mapping[int, int]) -> dict[str, list[int]]:
        """Class indices by image id."""
        found = {self.ids[n]: {position[each["category_id"]] for each in here} for n, here in self.annotations.items()}
        return {image_id: sorted(labels) for image_id, labels in found.items()}

    def boxes(self) -> dict[str, list[int]]:
        """The boxes of all objects but crowds, by image id: x0 y0 x1 y1, inclusive, one after the other."""
        found: dict[str, list[int]] = {}
        for n, here in self.annotations.items():
            boxes = [_box(each["bbox"], *self.sizes[n]) for each in here if not each["iscrowd"]]
            if boxes:
                found[self.ids[n]] = [corner for box in boxes for corner in box]
        return found


def _box(corner_and_size: Sequence[float], width: int, height: int) -> list[int]:
    """x0 y0 x1 y1, inclusive, of x y width height with decimals: all pixels that it touches, at least one.

    >>> _box([1.5, 2.0, 3.0, 0.0], 10, 10)
    [1, 2, 4, 2]
    """
    x, y, w, h = corner_and_size
    x0, y0 = min(math.floor(x), width - 1), min(math.floor(y), height - 1)
    return [x0, y0, max(x0, min(math.ceil(x + w), width) - 1), max(y0, min(math.ceil(y + h), height) - 1)]


def _json(source: CocoSource, name: str) -> tuple[Path, dict[str, Any]]:
    path = find_file(Path(source.root), (f"annotations/{name}.json", f"{name}.json"), f"COCO 2017, {name}.json,")
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got {error}; likely a truncated download") from None
    return path, content


def _images(source: CocoSource, problems: Problems) -> dict[str, Path]:
    folders = []
    for split in ("train", "val", "test") if source.test == "official" else ("train", "val"):
        candidates = (f"{split}2017", f"images/{split}2017")
        folder = problems.attempt(
            partial(find_folder, Path(source.root), candidates, f"the {split} images of COCO 2017")
        )
        folders += [folder] if folder else []
    return files_by_id(folders)


# --- masks ------------------------------------------------------------------------------------------------------------


def _draw_all(source: CocoSource, val: _Instances, position: Mapping[int, int]) -> dict[str, Path]:
    """Draw the label maps of val into the cache, and return them by image id.

    Those of an earlier run are used again.
    """
    path, _ = _json(source, "instances_val2017")
    folder = Path(source.mask_cache) / f"coco_val2017_{RENDERER}_{sha256(path)[:12]}"
    if not folder.is_dir():
        building = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        building.mkdir(parents=True)
        try:
            for n, image_id in val.ids.items():
                label_map = draw_label_map(val.annotations[n], *val.sizes[n], position)
                (building / f"{image_id}.png").write_bytes(encode_png(label_map))
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return files_by_id([folder])


def draw_label_map(
    annotations: Sequence[Mapping[str, Any]], width: int, height: int, position: Mapping[int, int]
) -> NDArray[np.uint8]:
    """Draw the objects of one image: 0 background, class id 1..K, 255 where there is only a crowd. Shape: (H, W)

    Args:
        annotations: of COCO: `category_id`, `iscrowd`, `area`, `segmentation` (polygons, or run lengths)
        width, height: of the image
        position: class index by category id
    """
    label_map = np.zeros((height, width), np.uint8)
    for each in sorted(annotations, key=lambda each: -each["area"]):
        if not each["iscrowd"]:
            label_map[_region(each["segmentation"], width, height)] = position[each["category_id"]] + 1
    for each in annotations:
        if each["iscrowd"]:
            label_map[_region(each["segmentation"], width, height) & (label_map == 0)] = IGNORE_INDEX
    return label_map


def _region(segmentation: Any, width: int, height: int) -> NDArray[np.bool_]:
    """The pixels of one object. Shape: (H, W)"""
    if isinstance(segmentation, dict):
        return _decode_runs(segmentation["counts"], width, height)
    region = np.zeros((height, width), np.bool_)
    for polygon in segmentation:
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


def _decode_runs(counts: Sequence[int], width: int, height: int) -> NDArray[np.bool_]:
    """Pixels of uncompressed run lengths: off, on, off, … down the columns.

    >>> _decode_runs([1, 2, 3], width=3, height=2).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if isinstance(counts, str) or sum(counts) != width * height:
        raise DataError(f"expected run lengths that add up to {width}x{height} pixels, got {sample(counts)}")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(width, height).T
