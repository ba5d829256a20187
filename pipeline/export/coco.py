"""COCO JSON with run-length encoded (RLE) masks: no pixel is lost, and holes are kept.

- `dataset.json`: `images`, `categories` and `annotations`, the instances, each with a `score`
- `results_segm.json`, `results_bbox.json`: the lists that `COCO.loadRes` and the COCO evaluation take

An image's number is its place in the order of the names, from 1; a category's is the class id, from 1. A box is
`[x, y, width, height]`: the inclusive corners x0 y0 x1 y1 give the width x1 - x0 + 1.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#format-results
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.export.images import ExportImage
from pipeline.predict.instances import Instance

DATASET, SEGM, BBOX = "dataset.json", "results_segm.json", "results_bbox.json"


class JsonList:
    """A JSON list that is written element by element, so that no more than one is in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("w", encoding="utf-8")
        self.count = 0

    def add(self, element: Any) -> None:
        self._stream.write(",\n" if self.count else "[\n")
        json.dump(element, self._stream, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self.count += 1

    def close(self) -> None:
        if not self._stream.closed:
            self._stream.write("\n]\n" if self.count else "[]\n")
            self._stream.close()


class CocoWriter:
    """Writes a folder in the COCO format."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder, self.class_names = folder, class_names
        self._parts = {name: JsonList(folder / f".{name}") for name in ("annotations", "images")}
        self._segm, self._bbox = JsonList(folder / SEGM), JsonList(folder / BBOX)

    def add(self, image: ExportImage) -> None:
        images, annotations = self._parts["images"], self._parts["annotations"]
        number, (height, width) = images.count + 1, image.shape
        images.add({"id": number, "file_name": image.file_name, "width": width, "height": height})
        for one in image.instances:
            shared = {"image_id": number, "category_id": one.class_id, "score": round(one.score, 6)}
            mask = {"segmentation": encode_rle(one)}
            # `loadRes` takes the area of a result with a box from the box: hence two lists, each with one of them
            self._segm.add({**shared, **mask})
            self._bbox.add({**shared, "bbox": coco_box(one)})
            known = {"id": annotations.count + 1, "bbox": coco_box(one), "area": one.area, "iscrowd": 0}
            annotations.add({**shared, **mask, **known})

    def finish(self) -> None:
        """Join the parts of the dataset file."""
        self.close()
        categories = [
            {"id": number, "name": name, "supercategory": ""} for number, name in enumerate(self.class_names, start=1)
        ]
        with (self.folder / DATASET).open("w", encoding="utf-8") as stream:
            for name, part in self._parts.items():
                stream.write(f'{"{" if name == "annotations" else ","}"{name}": ')
                with part.path.open(encoding="utf-8") as source:
                    shutil.copyfileobj(source, stream)
                part.path.unlink()
            stream.write(
                f',"categories": {json.dumps(categories, ensure_ascii=False)},"info": {{}}, "licenses": []}}\n'
            )

    def close(self) -> None:
        """Close all files; needed after an error only."""
        for part in (*self._parts.values(), self._segm, self._bbox):
            part.close()


def coco_box(one: Instance) -> list[int]:
    """The box as `[x, y, width, height]`."""
    x0, y0, x1, y1 = one.box
    return [x0, y0, x1 - x0 + 1, y1 - y0 + 1]


def encode_rle(one: Instance) -> dict[str, Any]:
    """The mask of an instance as compressed RLE; equal masks give equal text.

    >>> crop = np.array([[1, 1], [0, 1]], bool)
    >>> encode_rle(Instance("ant", 1, 1.0, (1, 0, 2, 1), 3, crop, (2, 4)))
    {'size': [2, 4], 'counts': '21111'}
    """
    found = coco_mask.encode(np.asfortranarray(one.mask.astype(np.uint8)))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode("ascii")}
