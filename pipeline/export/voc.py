"""Pascal VOC index images: a PNG with a palette an image, whose values are class ids.

0 is the background, 1..K the classes in the order of `labelmap.txt`. 255, in VOC the border that is not scored, is not
used: a prediction says something of every pixel. The colors are those of VOC.

Source: Everingham and Winn, "The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Development Kit", its function
VOClabelcolormap
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.tracks import MOST_CLASSES
from pipeline.export.images import ExportImage

CLASSES, LABEL_MAP, LIST = "SegmentationClass", "labelmap.txt", "ImageSets/Segmentation/default.txt"


class VocWriter:
    """Writes a folder in the VOC format."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        if len(class_names) > MOST_CLASSES:
            raise DataError(
                f"voc: expected at most {MOST_CLASSES} classes, got {len(class_names)}: a pixel is one byte, 0 is the "
                "background, 255 is not scored; choose coco, yolo or csv"
            )
        self.folder, self.class_names = folder, class_names
        (folder / CLASSES).mkdir()
        (folder / LIST).parent.mkdir(parents=True)
        self._list = (folder / LIST).open("w", encoding="utf-8", newline="\n")

    def add(self, image: ExportImage) -> None:
        shown = Image.fromarray(index_image(image)).convert("P")
        shown.putpalette(voc_palette().ravel().tolist())
        shown.save(self.folder / CLASSES / f"{image.name}.png")
        self._list.write(f"{image.name}\n")

    def finish(self) -> None:
        """Write the names and colors of the classes."""
        self.close()
        lines = ["# label:color_rgb:parts:actions"]
        for name, color in zip(("background", *self.class_names), voc_palette().tolist(), strict=False):
            lines.append(f"{name}:{','.join(map(str, color))}::")
        (self.folder / LABEL_MAP).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")

    def close(self) -> None:
        """Close the list; needed after an error only."""
        self._list.close()


def index_image(image: ExportImage) -> NDArray[np.uint8]:
    """The class id of each pixel, 0 where no instance is. Shape: (H, W)"""
    values = np.zeros(image.shape, np.uint8)
    for one in image.instances:
        x0, y0, x1, y1 = one.box
        values[y0 : y1 + 1, x0 : x1 + 1][one.crop] = one.class_id
    return values


@lru_cache(maxsize=1)
def voc_palette() -> NDArray[np.uint8]:
    """The colors of VOC: bit b of a value, in groups of three, is bit 7 - b // 3 of red, green or blue. Shape: (256, 3)

    >>> voc_palette()[[0, 1, 2, 3, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [224, 224, 192]]
    """
    values = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colors[:, bit % 3] |= (((values >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return colors
