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

import math
import shutil
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import explained, sha256
from pipeline.core.images import encode_png
from pipeline.core.manifest import Manifest, Split
from pipeline.core.truth import IGNORE_INDEX
from pipeline.preprocess.coco_annotations import Instances, complete, read_content, region_of
from pipeline.preprocess.folders import Problems, common_root, files_by_id, find_file, find_folder, rows_of_splits, stem
from pipeline.preprocess.held_out import halves
from pipeline.preprocess.settings import CocoSource

RENDERER = 1  # counts up whenever the same polygons give other pixels


def list_images(source: CocoSource, jobs: int = 1) -> Manifest:
    """List train, val and test.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = common_root(Path(source.root), Path(source.mask_cache)) if source.truth == "masks" else Path(source.root)
    problems = Problems(root)
    train = Instances(_find(source, "instances_train2017"), "none", problems)
    val = Instances(_find(source, "instances_val2017"), source.truth, problems, train.position)
    splits: dict[Split, Sequence[str]] = {"train": [*train.ids.values()], "val": [*val.ids.values()]}
    if source.test == "official":
        path = _find(source, "image_info_test2017")
        listed = complete(read_content(path, ("images",))["images"], ("id", "file_name"), path, "image", problems)
        splits["test"] = [stem(str(image["file_name"])) for image in listed]
    else:
        splits["val"], splits["test"] = halves(splits["val"])
    images = _images(source, problems)
    problems.stop_if_any()  # before masks are drawn
    table = rows_of_splits(
        splits,
        root,
        images,
        problems,
        labels=train.labels(train.position) | val.labels(train.position),
        masks=_draw_all(source, val, train.position) if source.truth == "masks" else None,
        boxes=val.boxes(box_of) if source.truth == "boxes" else None,
    )
    problems.stop_if_any()
    return Manifest(table, train.classes, root, "labels" if source.truth == "masks" else "foreground")


def box_of(corner_and_size: Sequence[float], width: int, height: int) -> list[int]:
    """x0 y0 x1 y1, inclusive, of x y width height with decimals: all pixels that it touches, at least one.

    >>> box_of([1.5, 2.0, 3.0, 0.0], 10, 10)
    [1, 2, 4, 2]
    """
    x, y, w, h = corner_and_size
    x0, y0 = min(math.floor(x), width - 1), min(math.floor(y), height - 1)
    return [x0, y0, max(x0, min(math.ceil(x + w), width) - 1), max(y0, min(math.ceil(y + h), height) - 1)]


def _find(source: CocoSource, name: str) -> Path:
    return find_file(Path(source.root), (f"annotations/{name}.json", f"{name}.json"), f"COCO 2017, {name}.json,")


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


def _draw_all(source: CocoSource, val: Instances, position: Mapping[int, int]) -> dict[str, Path]:
    """Draw the label maps of val into the cache, and return them by image id.

    Those of an earlier run are used again.
    """
    path = _find(source, "instances_val2017")
    folder = Path(source.mask_cache) / f"coco_val2017_{RENDERER}_{sha256(path)[:12]}"
    if not folder.is_dir():
        building = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        building.mkdir(parents=True)
        try:
            for n, image_id in val.ids.items():
                label_map = draw_label_map(val.annotations[n], *val.sizes[n], position)
                with explained(folder):
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
        annotations: of COCO: `category_id`, `segmentation` (polygons, or run lengths), perhaps `iscrowd` and `area`
        width, height: of the image
        position: class index by category id
    """
    label_map = np.zeros((height, width), np.uint8)
    regions = [region_of(each["segmentation"], width, height) for each in annotations]
    pairs = list(zip(annotations, regions, strict=True))
    for each, region in sorted(pairs, key=lambda pair: -(pair[0].get("area") or pair[1].sum())):
        if not each.get("iscrowd"):
            label_map[region] = position[each["category_id"]] + 1
    for each, region in pairs:
        if each.get("iscrowd"):
            label_map[region & (label_map == 0)] = IGNORE_INDEX
    return label_map
