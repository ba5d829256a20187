"""COCO 2017."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from support.inspection import ids_by_split, inspected, listed
from support.trees import make_coco

from pipeline.core.errors import DataError, StoreError
from pipeline.core.truth import read_label_map
from pipeline.preprocess.layouts.coco import draw_label_map


def test_coco_boxes_are_inclusive_and_without_crowds(tmp_path):
    tree = make_coco(tmp_path, tmp_path / "cache")
    content = json.loads((tmp_path / "annotations/instances_val2017.json").read_text())
    expected: dict[str, list] = {}
    for each in content["annotations"]:
        x, y, width, height = each["bbox"]
        if not each["iscrowd"]:
            expected.setdefault(f"{each['image_id']:012d}", []).append((x, y, x + width - 1, y + height - 1))
    assert {r.id: list(r.boxes) for r in inspected(tree.source).manifest.select("val")} == expected


def test_coco_masks_are_drawn_once_with_crowds_ignored(tmp_path):
    tree = make_coco(tmp_path / "coco", tmp_path / "cache")
    source = {**tree.source, "truth": "masks"}
    manifest = inspected(source, "track1").manifest
    content = json.loads((tmp_path / "coco/annotations/instances_val2017.json").read_text())
    position = {category["id"]: k for k, category in enumerate(content["categories"])}
    for record in manifest.select("val"):
        label_map = read_label_map(record, "labels", 3)
        here = [each for each in content["annotations"] if f"{each['image_id']:012d}" == record.id]
        expected = np.zeros(label_map.shape, np.uint8)
        expected[:, : label_map.shape[1] // 2] = 255 if any(each["iscrowd"] for each in here) else 0
        for each in here:
            x, y, width, height = each["bbox"]
            if not each["iscrowd"]:
                expected[y : y + height, x : x + width] = position[each["category_id"]] + 1
        assert (label_map == expected).all()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")}
    assert len(stamps) == 6
    listed(source)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")} == stamps


def test_no_room_for_drawn_masks_names_the_cache(tmp_path, monkeypatch):
    tree = make_coco(tmp_path / "coco", tmp_path / "cache")

    def fail(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StoreError, match=r"coco_val2017_.*: expected room in .*cache, found .* \(No space"):
        listed({**tree.source, "truth": "masks"})
    assert list((tmp_path / "cache").iterdir()) == []


def test_small_objects_lie_on_large_ones():
    square = lambda x0, y0, x1, y1: [[x0, y0, x1, y0, x1, y1, x0, y1]]  # noqa: E731
    objects = [
        {"category_id": 5, "iscrowd": 0, "area": 4, "segmentation": square(2, 1, 4, 3)},
        {"category_id": 9, "iscrowd": 0, "area": 24, "segmentation": square(0, 0, 6, 4)},
    ]
    assert draw_label_map(objects, 7, 5, {5: 0, 9: 1}).tolist() == [
        [2, 2, 2, 2, 2, 2, 0],
        [2, 2, 1, 1, 2, 2, 0],
        [2, 2, 1, 1, 2, 2, 0],
        [2, 2, 2, 2, 2, 2, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_a_polygon_has_the_area_of_its_formula():
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    corners = np.stack([30.3 + 20 * np.cos(angles), 25.7 + 15 * np.sin(angles)], axis=1)
    polygon = [{"category_id": 1, "iscrowd": 0, "area": 1, "segmentation": [corners.ravel().tolist()]}]
    pixels = (draw_label_map(polygon, 64, 48, {1: 0}) == 1).sum()
    x, y = corners.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    # OpenCV's own outline would add half the perimeter, 55 pixels of 942; ours is eight times finer
    assert abs(pixels - area) < 10


def test_half_of_coco_val(tmp_path):
    tree = make_coco(tmp_path, tmp_path / "cache")
    (tmp_path / "annotations/image_info_test2017.json").unlink()
    found = ids_by_split(listed({**tree.source, "test": "half_of_val"}))
    assert (found["val"], found["test"]) == (tree.ids["val"][0::2], tree.ids["val"][1::2])


def test_a_truncated_json_is_named(tmp_path):
    tree = make_coco(tmp_path, tmp_path / "cache")
    path = tmp_path / "annotations/instances_val2017.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match=r"instances_val2017.json: expected JSON, got .*; likely a truncated download"):
        listed(tree.source)
