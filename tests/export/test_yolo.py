"""Polygons: what a reader that fills them gets back, and what is lost."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from support.export import NAMES, by_hand, label_maps, make_image

from pipeline.export.images import ExportImage
from pipeline.export.yolo import YoloWriter, outer_polygon, polygon_line

CUT_OFF, ROUNDED = "cut off", "rounded"


def corners_of(line: str, shape: tuple[int, int], rule: str = CUT_OFF) -> NDArray[np.int32]:
    """The corners in pixels as a reader finds them, in float32 as they do."""
    shares = np.array(line.split()[1:], np.float32).reshape(-1, 2)
    pixels = shares * np.array([shape[1], shape[0]], np.float32)
    return (pixels if rule == CUT_OFF else np.round(pixels)).astype(np.int32)


def fill(corners: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [corners], (1,))
    return mask.astype(bool)


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with all that 4-connected background cannot reach from outside, by flooding in loops."""
    height, width = mask.shape
    outside, waiting = np.zeros((height + 2, width + 2), bool), [(0, 0)]
    padded = np.pad(mask, 1)
    outside[0, 0] = True
    while waiting:
        y, x = waiting.pop()
        for row, column in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= row < height + 2 and 0 <= column < width + 2
            if inside and not padded[row, column] and not outside[row, column]:
                outside[row, column] = True
                waiting.append((row, column))
    return ~outside[1:-1, 1:-1]


def test_lines_by_hand() -> None:
    ant, line, _, pixel = by_hand().instances
    assert outer_polygon(ant).tolist() == [[0, 0], [0, 2], [2, 2], [2, 0]]
    assert outer_polygon(line).tolist() == [[4, 2], [4, 3], [4, 3]]
    assert outer_polygon(pixel).tolist() == [[4, 0]] * 3
    corner = f"{4.25 / 7:.7f} {0.25 / 4:.7f}"
    assert polygon_line(pixel) == f"1 {corner} {corner} {corner}"


@pytest.mark.parametrize("rule", [CUT_OFF, ROUNDED])
@settings(deadline=None, max_examples=50)
@given(label_map=label_maps(16))
def test_only_holes_are_lost_by_readers_that_fill(rule: str, label_map: NDArray[np.uint8]) -> None:
    for one in make_image(label_map).instances:
        line = polygon_line(one)
        assert len(line.split()) >= 7, "fewer values are a box"
        np.testing.assert_array_equal(fill(corners_of(line, one.shape, rule), one.shape), without_holes(one.mask))


@pytest.mark.parametrize("rule", [CUT_OFF, ROUNDED])
def test_pixels_of_a_large_image_are_found_again(rule: str) -> None:
    label_map = np.zeros((9973, 7), np.uint8)
    label_map[[0, 4999, 9972], [0, 3, 6]] = 1
    found = [corners_of(polygon_line(one), one.shape, rule)[0].tolist() for one in make_image(label_map).instances]
    assert sorted(found) == [[0, 0], [3, 4999], [6, 9972]]


def test_a_reader_of_another_kind_loses_pixels_of_the_border() -> None:
    """pycocotools fills the area between the corners: of a square of 10 pixels, some of the border."""
    label_map = np.zeros((20, 30), np.uint8)
    label_map[5:15, 5:15] = 1
    (one,) = make_image(label_map).instances
    polygon = (np.array(polygon_line(one).split()[1:], float).reshape(-1, 2) * [30, 20]).ravel().tolist()
    read = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 20, 30))).astype(bool)
    assert (read & ~one.mask).sum() == 0
    assert read.sum() == 81


def test_the_folder(tmp_path: Path) -> None:
    writer = YoloWriter(tmp_path, NAMES)
    images: list[ExportImage] = [by_hand(), make_image(np.zeros((2, 3), np.uint8), "b")]
    for image in images:
        writer.add(image)
    writer.finish()
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "path": ".", "train": "images", "val": "images", "names": {0: "ant", 1: "honey bee", 2: "cow"},
    }  # fmt: skip
    lines = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert lines == [polygon_line(one) for one in images[0].instances]
    assert (tmp_path / "labels" / "b.txt").read_text() == ""
