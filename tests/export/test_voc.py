"""Index images as Pillow reads them, and the palette against its definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from PIL import Image
from support.export import LABELS, NAMES, by_hand, label_maps, make_image

from pipeline.core.errors import DataError
from pipeline.core.images import read_mask
from pipeline.export.voc import VocWriter, index_image, voc_palette


def test_pillow_reads_the_class_ids(tmp_path: Path) -> None:
    writer = VocWriter(tmp_path, NAMES)
    writer.add(by_hand())
    writer.finish()
    path = tmp_path / "SegmentationClass" / "a.png"
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), LABELS)
        assert image.convert("RGB").getpixel((4, 0)) == (0, 128, 0)
    np.testing.assert_array_equal(read_mask(path), LABELS)
    assert (tmp_path / "ImageSets/Segmentation/default.txt").read_text() == "a\n"
    assert (tmp_path / "labelmap.txt").read_text().splitlines() == [
        "# label:color_rgb:parts:actions", "background:0,0,0::", "ant:128,0,0::", "honey bee:0,128,0::",
        "cow:128,128,0::",
    ]  # fmt: skip


@given(label_maps())
def test_the_instances_give_back_the_label_map(label_map: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(index_image(make_image(label_map)), label_map)


def test_the_palette_by_its_definition() -> None:
    for value in range(256):
        red, green, blue = 0, 0, 0
        for place in range(8):
            bits = value >> (3 * place)
            red |= (bits & 1) << (7 - place)
            green |= (bits >> 1 & 1) << (7 - place)
            blue |= (bits >> 2 & 1) << (7 - place)
        assert voc_palette()[value].tolist() == [red, green, blue]


def test_more_classes_than_a_byte_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"voc: expected at most 254 classes, got 255: .* choose coco, yolo or csv"):
        VocWriter(tmp_path, [str(n) for n in range(255)])
