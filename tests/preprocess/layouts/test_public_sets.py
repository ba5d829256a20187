"""Other public sets from trees in their official layouts."""

import json

import cv2
import numpy as np
import pytest
from support.looking import ids_by_split, inspected, labels_by_id, listed
from support.trees import make_coco, make_cub, make_oxford_pet, make_pascal_voc, make_tiny_imagenet

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.images import read_mask
from pipeline.core.truth import read_foreground, read_label_map
from pipeline.preprocess.layouts.coco import draw_label_map
from pipeline.preprocess.summary import summarize

MAKERS = {
    "oxford_pet": make_oxford_pet,
    "pascal_voc": make_pascal_voc,
    "cub": make_cub,
    "tiny_imagenet": make_tiny_imagenet,
    "coco": lambda root: make_coco(root, root / "cache"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_images_splits_labels_and_classes_are_the_official_ones(tmp_path, name):
    tree = MAKERS[name](tmp_path)
    manifest = inspected(tree.source).manifest
    assert ids_by_split(manifest) == {split: tree.ids[split] for split in ("train", "val", "test")}
    kept = {*tree.ids["train"], *tree.ids["val"]}
    assert labels_by_id(manifest) == {image_id: labels for image_id, labels in tree.labels.items() if image_id in kept}
    assert list(manifest.classes) == tree.classes
    for record in manifest:
        assert record.file.is_file()
        assert (record.mask is not None or bool(record.boxes)) == (record.split == "val")


@pytest.mark.parametrize("name", MAKERS)
def test_a_root_that_is_missing_is_named_with_the_hint(tmp_path, name):
    tree = MAKERS[name](tmp_path / "tree")
    with pytest.raises(
        DataError, match=rf"{tmp_path}/none: expected .* found no such folder; link yours there .* or set preproc"
    ):
        listed({**tree.source, "root": str(tmp_path / "none")})


@pytest.mark.parametrize(("name", "inner"), [("oxford_pet", "oxford-iiit-pet"), ("pascal_voc", "VOCdevkit/VOC2012"),
                                             ("pascal_voc", "VOCdevkit"), ("cub", "CUB_200_2011"),
                                             ("tiny_imagenet", "tiny-imagenet-200")])  # fmt: skip
def test_the_root_may_be_the_inner_folder(tmp_path, name, inner):
    tree = MAKERS[name](tmp_path)
    inside = listed({**tree.source, "root": str(tmp_path / inner)})
    assert ids_by_split(inside) == {split: tree.ids[split] for split in ("train", "val", "test")}
    assert all(record.file.is_file() for record in inside)


@pytest.mark.parametrize("name", MAKERS)
def test_a_missing_image_is_named(tmp_path, name):
    tree = MAKERS[name](tmp_path)
    lost = tree.ids["val"][0]
    (record,) = listed(tree.source).with_ids([lost])
    record.file.unlink()
    with pytest.raises(
        DataError, match=rf"val: expected a file of each of {len(tree.ids['val'])} images, missing=\['{lost}'\]"
    ):
        listed(tree.source)


@pytest.mark.parametrize("make", [make_oxford_pet, make_cub])
def test_a_fifth_of_train_can_be_val(tmp_path, make):
    tree = make(tmp_path)
    found = ids_by_split(listed({**tree.source, "val": "fifth_of_train"}))
    assert found["val"] == tree.ids["train"][4::5]
    assert sorted(found["train"] + found["val"]) == sorted(tree.ids["train"])
    assert sorted(found["test"]) == sorted(tree.ids["val"] + tree.ids["test"])


# --- Oxford-IIIT Pet
# ---------------------------------------------------------------------------------------------------------


def test_a_trimap_is_foreground_background_and_ignored_border(tmp_path):
    tree = make_oxford_pet(tmp_path)
    manifest = inspected(tree.source).manifest
    assert manifest.mask_kind == "trimap"
    for record in manifest.select("val"):
        stored = read_mask(record.mask)
        foreground, ignored = read_foreground(record, "trimap")
        assert set(np.unique(stored).tolist()) == {1, 2, 3}
        assert (foreground == (stored == 1)).all()
        assert (ignored == (stored == 3)).all()
        label_map = read_label_map(record, "trimap", 3)
        assert (label_map[stored == 1] == record.labels[0] + 1).all()
        assert (label_map[stored == 2] == 0).all()
        assert (label_map[stored == 3] == 255).all()


def test_a_value_that_no_trimap_has_is_refused(tmp_path):
    tree = make_oxford_pet(tmp_path)
    (record,) = listed(tree.source).with_ids(tree.ids["val"][:1])
    mask = read_mask(record.mask)
    mask[0, 0] = 0
    cv2.imwrite(str(record.mask), mask)
    with pytest.raises(
        DataError, match=r"expected mask values 1 \(foreground\), 2 \(background\) or 3 \(ignored\), got \[0\]"
    ):
        inspected(tree.source)


def test_a_list_of_pets_that_is_cut_is_refused(tmp_path):
    tree = make_oxford_pet(tmp_path)
    path = tmp_path / "oxford-iiit-pet/annotations/test.txt"
    path.write_text("Abyssinian_1\n")
    with pytest.raises(DataError, match=r"test.txt: expected `<id> <class> <species> <breed>` on every line"):
        listed(tree.source)
    path.write_text("pug_1 9 1 1\n")
    with pytest.raises(DataError, match=r"expected class numbers from 1 without a gap, got \[1, 2, 3, 9\]"):
        listed(tree.source)


# --- Pascal VOC
# --------------------------------------------------------------------------------------------------------------


def test_palette_masks_are_class_ids_with_255_ignored(tmp_path):
    tree = make_pascal_voc(tmp_path)
    for record in inspected(tree.source, "track1").manifest.select("val"):
        label_map = read_label_map(record, "labels", 20)
        assert set(np.unique(label_map).tolist()) - {0, 255} == {k + 1 for k in record.labels}
        assert (label_map[:, -1] == 255).all()


def test_half_of_val_and_all_of_trainval(tmp_path):
    tree = make_pascal_voc(tmp_path)
    found = ids_by_split(listed({**tree.source, "train": "trainval", "test": "half_of_val"}))
    assert found == {
        "train": tree.ids["train"] + tree.ids["more"],
        "val": tree.ids["val"][0::2],
        "test": tree.ids["val"][1::2],
    }


@pytest.mark.parametrize(
    ("make", "class_name"), [(make_oxford_pet, "OxfordIIITPet"), (make_pascal_voc, "VOCSegmentation")]
)
def test_a_download_is_asked_for_only_if_nothing_is_there(tmp_path, monkeypatch, make, class_name):
    calls = []

    def refuse(root, **options):
        calls.append((root, options["download"]))
        raise OSError("no network")

    monkeypatch.setattr(f"torchvision.datasets.{class_name}", refuse)
    tree = make(tmp_path / "there")
    source = {**tree.source, "download": True}
    assert len(listed(source)) == sum(len(tree.ids[split]) for split in ("train", "val", "test"))
    assert not calls
    with pytest.raises(
        DataError, match=r"none: expected to download .* got OSError\('no network'\); likely no network, unpack"
    ):
        listed({**source, "root": str(tmp_path / "none")})
    assert calls == [(tmp_path / "none", True)]


# --- CUB-200-2011
# ------------------------------------------------------------------------------------------------------------


def test_boxes_and_segmentations_of_birds_agree(tmp_path):
    tree = make_cub(tmp_path)
    boxes = {record.id: record.boxes for record in inspected(tree.source).manifest.select("val")}
    for record in inspected({**tree.source, "truth": "segmentations"}).manifest.select("val"):
        rows, columns = np.nonzero(read_foreground(record, "foreground")[0])
        assert boxes[record.id] == ((columns.min(), rows.min(), columns.max(), rows.max()),)


def test_a_box_that_passes_the_border_is_cut_and_counted(tmp_path):
    tree = make_cub(tmp_path)
    path = tmp_path / "CUB_200_2011/bounding_boxes.txt"
    lines = path.read_text().splitlines()
    number = 1 + [line.split("/")[1][:-4] for line in _lines(tmp_path, "images")].index(tree.ids["val"][0])
    lines[number - 1] = f"{number} -2.0 3.5 500.0 500.0"
    path.write_text("\n".join(lines))
    inspection = inspected(tree.source)
    (record,) = inspection.manifest.with_ids(tree.ids["val"][:1])
    assert record.boxes == ((0, 3, record.width - 1, record.height - 1),)
    assert summarize(inspection)["quirks"]["boxes_cut"]["ids"] == tree.ids["val"][:1]


def test_lists_of_birds_that_differ_in_length_are_refused(tmp_path):
    tree = make_cub(tmp_path)
    path = tmp_path / "CUB_200_2011/train_test_split.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"expected every image number in all four lists, not so: \['24'\]"):
        listed(tree.source)


def test_segmentations_that_are_not_there_are_asked_for(tmp_path):
    tree = make_cub(tmp_path)
    (tmp_path / "segmentations").rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError, match="expected the segmentations of CUB-200-2011, a download of their own, at segmentations or"
    ):
        listed({**tree.source, "truth": "segmentations"})


def _lines(root, name):
    return (root / f"CUB_200_2011/{name}.txt").read_text().splitlines()


# --- Tiny ImageNet
# -----------------------------------------------------------------------------------------------------------


def test_tiny_boxes_are_those_of_the_list(tmp_path):
    tree = make_tiny_imagenet(tmp_path)
    lines = [line.split() for line in (tmp_path / "tiny-imagenet-200/val/val_annotations.txt").read_text().splitlines()]
    found = {record.file.name: record.boxes for record in inspected(tree.source).manifest.select("val")}
    assert found == {name: (tuple(map(int, corners)),) for name, _, *corners in lines}


def test_a_bad_line_of_tiny_annotations_is_refused(tmp_path):
    tree = make_tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200/val/val_annotations.txt").write_text("val_0.JPEG\tn99999999\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"val_annotations.txt: expected `<file> <wnid> .*KeyError\('n99999999'\)"):
        listed(tree.source)


# --- COCO -------------------------------------------------------------------------------------------------------------


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


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_wrong_choice_of_a_source_names_the_key(tmp_path):
    tree = make_cub(tmp_path)
    with pytest.raises(
        SettingsError, match=r"params.yaml: preprocess.source.truth: expected 'boxes' or 'segmentations', got 'box'"
    ):
        listed({**tree.source, "truth": "box"})
    with pytest.raises(SettingsError, match=r"expected name to be one of .*; did you mean 'cub'\?"):
        listed({**tree.source, "name": "cubs"})
