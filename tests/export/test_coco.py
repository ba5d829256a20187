"""What is written is what pycocotools reads: masks, boxes, areas, classes and names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from support.export import NAMES, by_hand, label_maps, make_image

from pipeline.export.coco import BBOX, DATASET, SEGM, CocoWriter, JsonList, encode_rle
from pipeline.export.images import ExportImage


def write(folder: Path, images: Sequence[ExportImage]) -> Path:
    writer = CocoWriter(folder, NAMES)
    for image in images:
        writer.add(image)
    writer.finish()
    return folder


def test_the_dataset_file_by_hand(tmp_path: Path) -> None:
    empty = make_image(np.zeros((2, 3), np.uint8), "b", "b.jpg")
    found = json.loads((write(tmp_path, [by_hand(), empty]) / DATASET).read_text())
    assert found["images"] == [
        {"id": 1, "file_name": "deep/a.jpg", "width": 7, "height": 4},
        {"id": 2, "file_name": "b.jpg", "width": 3, "height": 2},
    ]
    assert [(one["id"], one["name"]) for one in found["categories"]] == [(1, "ant"), (2, "honey bee"), (3, "cow")]
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score")
    assert [[one[key] for key in keys] for one in found["annotations"]] == [
        [1, 1, 1, [0, 0, 3, 3], 8, 0, 0.5],
        [2, 1, 2, [4, 2, 1, 2], 2, 0, 0.25],
        [3, 1, 3, [6, 1, 1, 2], 2, 0, 1.0],
        [4, 1, 2, [4, 0, 1, 1], 1, 0, 0.25],
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([DATASET, SEGM, BBOX])


def test_pycocotools_reads_equal_masks(tmp_path: Path) -> None:
    image = by_hand()
    write(tmp_path, [image])
    dataset = COCO(str(tmp_path / DATASET))
    for results in (dataset.loadRes(str(tmp_path / SEGM)), dataset):
        assert results.getCatIds(catNms=["cow"]) == [3]
        read = results.loadAnns(results.getAnnIds(imgIds=[1]))
        assert len(read) == len(image.instances)
        for annotation, one in zip(read, image.instances, strict=True):
            np.testing.assert_array_equal(results.annToMask(annotation).astype(bool), one.mask)
            assert annotation["area"] == one.area
            assert list(annotation["bbox"]) == [one.box[0], one.box[1], *one.crop.shape[::-1]]
    boxes = dataset.loadRes(str(tmp_path / BBOX)).loadAnns([1, 2, 3, 4])
    assert [one["bbox"] for one in boxes] == [[0, 0, 3, 3], [4, 2, 1, 2], [6, 1, 1, 2], [4, 0, 1, 1]]


@given(label_maps())
def test_every_mask_survives(label_map: NDArray[np.uint8]) -> None:
    for one in make_image(label_map).instances:
        read = coco_mask.decode({**encode_rle(one), "counts": encode_rle(one)["counts"].encode()})
        np.testing.assert_array_equal(read.astype(bool), one.mask)


def test_an_empty_list_and_names_in_any_alphabet(tmp_path: Path) -> None:
    write(tmp_path, [make_image(np.zeros((1, 1), np.uint8), "été", "été 1.jpg")])
    assert json.loads((tmp_path / SEGM).read_text()) == []
    assert COCO(str(tmp_path / DATASET)).imgs[1]["file_name"] == "été 1.jpg"


@pytest.mark.parametrize("elements", [[], [1], [{"b": "é", "a": 2}, [3]]])
def test_a_json_list(elements: list[Any], tmp_path: Path) -> None:
    listed = JsonList(tmp_path / "x.json")
    for element in elements:
        listed.add(element)
    listed.close()
    assert json.loads((tmp_path / "x.json").read_text()) == elements
    assert listed.count == len(elements)
