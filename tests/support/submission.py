"""What tests of submissions share: sizes of images, predictions that fit them."""

from pathlib import Path

import numpy as np

from pipeline.core.images import encode_png
from pipeline.core.manifest import Manifest, from_rows

K = 3  # classes
SIZES = {"a": (6, 4), "b": (5, 7)}  # (width, height), never square
GOOD = {image_id: encode_png(np.full((height, width), 1, np.uint8)) for image_id, (width, height) in SIZES.items()}


def make_manifest(root: Path, sizes: dict[str, tuple[int, int]], split: str = "test") -> Manifest:
    rows = [{"id": image_id, "file": f"{image_id}.jpg", "width": width, "height": height, "labels": [], "split": split,
             "mask": None, "boxes": None, "bytes": 0} for image_id, (width, height) in sizes.items()]  # fmt: skip
    return from_rows(rows, ["x", "y", "z"], root, "labels")
