"""YOLO segmentation labels: one text file an image, one polygon an instance, coordinates as shares of the image.

A line is `<class> x y x y …`, classes from 0. The polygon is the outer border of the instance, so a hole of an instance
is filled. A corner at the pixel (i, j) is written as ((i + 0.25) / W, (j + 0.25) / H): readers multiply by the size,
then some cut off the fraction (Ultralytics) and some round it (supervision), and both find the pixel again. They fill a
polygon with its border, so that without holes the mask is the same. Readers that place pixels otherwise, as pycocotools
does for polygons, lose pixels of the border.

An instance that is one pixel or one line has corners twice, because a reader takes less than three for no polygon.

Source: https://docs.ultralytics.com/datasets/segment (file format)
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.settings import to_yaml
from pipeline.export.images import ExportImage
from pipeline.predict.instances import Instance

LABELS, DATA = "labels", "data.yaml"
FEWEST_CORNERS = 3
IN_PIXEL = 0.25  # of a pixel: cut off or rounded, it is gone


class YoloWriter:
    """Writes a folder in the YOLO format."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder, self.class_names = folder, class_names
        (folder / LABELS).mkdir()

    def add(self, image: ExportImage) -> None:
        lines = [polygon_line(one) for one in image.instances]
        path = self.folder / LABELS / f"{image.name}.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")

    def finish(self) -> None:
        """Write what describes the data set; `path` is for the user to set, if it is to be trained on."""
        about = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(self.class_names))}
        (self.folder / DATA).write_text(to_yaml(about), encoding="utf-8", newline="\n")

    def close(self) -> None:
        """Nothing is open."""


def outer_polygon(one: Instance) -> NDArray[np.int32]:
    """The corners of the outer border, as the pixels that they are. Shape: (N, 2), x and y, N >= 3

    >>> crop = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    >>> outer_polygon(Instance("ant", 1, 1.0, (5, 2, 7, 4), 8, crop, (9, 9))).tolist()
    [[5, 2], [5, 4], [7, 4], [7, 2]]
    """
    contours, _ = cv2.findContours(one.crop.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    (contour,) = contours  # an 8-connected component has one
    corners = contour[:, 0].astype(np.int32) + np.array(one.box[:2], np.int32)
    missing = max(0, FEWEST_CORNERS - len(corners))
    return np.concatenate([corners, np.repeat(corners[-1:], missing, axis=0)])


def polygon_line(one: Instance) -> str:
    """The line of an instance: class index and corners."""
    height, width = one.shape
    shares = (outer_polygon(one) + IN_PIXEL) / (width, height)
    return " ".join([str(one.class_id - 1), *(f"{share:.7f}" for share in shares.ravel().tolist())])
