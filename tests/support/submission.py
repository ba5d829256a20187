"""What tests of submissions share: sizes of images, predictions that fit them."""

from pathlib import Path

import numpy as np

from pipeline.core.images import encode_png
from pipeline.core.manifest import Manifest, from_rows

K = 3  # classes
SIZES = {"a": (6, 4), "b": (5, 7)}  # (width, height), never square
VALUES = {  # 0, 1 and 2 in stripes. Shape: (H, W)
    image_id: (np.arange(width * height) % K).astype(np.uint8).reshape(height, width)
    for image_id, (width, height) in SIZES.items()
}
GOOD = {image_id: encode_png(values) for image_id, values in VALUES.items()}


def make_manifest(root: Path, sizes: dict[str, tuple[int, int]], split: str = "test") -> Manifest:
    rows = [{"id": image_id, "file": f"{image_id}.jpg", "width": width, "height": height, "labels": [], "split": split,
             "mask": None, "boxes": None, "bytes": 0} for image_id, (width, height) in sizes.items()]  # fmt: skip
    return from_rows(rows, ["x", "y", "z"], root, "labels")
