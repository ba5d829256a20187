"""Annotations of other tools as an index: what is read, and what the index says then."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.images import read_mask
from pipeline.params.convert import Converted, Row, from_coco, from_csv, from_voc, split_in, write_index
from pipeline.preprocess.layouts.folder import list_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path)
    return path.resolve()


def rows(found: Converted | None) -> dict[str, tuple[list[str], str | None, list[tuple[int, int, int, int]]]]:
    assert found is not None
    return {row.file.name: (row.labels, row.split, row.boxes) for row in found.rows}


def coco(path: Path, images: list[str], annotations: list[dict[str, object]]) -> None:
    content = {
        "categories": [{"id": 7, "name": "prairie dog"}, {"id": 3, "name": "cat"}, {"id": 9, "name": "unused"}],
        "images": [{"id": n, "file_name": name, "width": 30, "height": 20} for n, name in enumerate(images)],
        "annotations": [{"id": n, "iscrowd": 0, **one} for n, one in enumerate(annotations)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("path", "split"),
    [("annotations/instances_val2017.json", "val"), ("valid/_annotations.coco.json", "val"), ("test.csv", "test"),
     ("train_val.csv", None), ("my.csv", None), ("restrained/a.csv", None)],
)  # fmt: skip
def test_a_split_is_a_word_of_the_path(path: str, split: str | None) -> None:
    assert split_in(Path("a", path), Path("a")) == split


def test_coco_gives_labels_and_inclusive_boxes(tmp_path: Path) -> None:
    write(tmp_path / "train/a.jpg")
    write(tmp_path / "valid/b.jpg")
    coco(tmp_path / "train/_annotations.coco.json", ["a.jpg", "gone.jpg"],
         [{"image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4]},
         {"image_id": 0, "category_id": 3, "bbox": [0, 0, 30, 20]}])  # fmt: skip
    coco(
        tmp_path / "valid/_annotations.coco.json",
        ["b.jpg"],
        [{"image_id": 0, "category_id": 3, "bbox": [5.5, 6, 1, 1]}],
    )
    found = from_coco(tmp_path)
    assert rows(found) == {
        "a.jpg": (["cat", "prairie dog"], "train", [(1, 2, 3, 5), (0, 0, 29, 19)]),
        "b.jpg": (["cat"], "val", [(5, 6, 6, 6)]),
    }
    assert found is not None
    assert found.notes == ["no image found for 1 names: ['gone.jpg']"]


def test_outlines_of_coco_become_label_maps_of_val(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        write(tmp_path / "images" / name)
    square = [[2, 2, 12, 2, 12, 12, 2, 12]]
    objects = [{"image_id": 0, "category_id": 7, "segmentation": square, "bbox": [2, 2, 10, 10]}]
    coco(tmp_path / "annotations/train.json", ["a.jpg"], [*objects, {**objects[0], "category_id": 3}])
    coco(tmp_path / "annotations/val.json", ["b.jpg"], objects)
    found = from_coco(tmp_path)
    assert found is not None
    write_index(found, tmp_path / "out")
    manifest = list_folder(tmp_path / "out")
    assert manifest.classes == ("cat", "prairie dog")
    (val,) = manifest.select("val")
    assert val.mask == tmp_path / "out/masks/b.png"
    expected = np.zeros((20, 30), np.uint8)
    expected[2:12, 2:12] = 2
    assert (read_mask(val.mask) == expected).all()
    assert [record.mask for record in manifest.select("train")] == [None]
    assert val.file == (tmp_path / "images/b.jpg").resolve()


def test_a_mistake_in_coco_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    coco(tmp_path / "a.json", ["a.jpg"], [{"image_id": 5, "category_id": 3, "bbox": [0, 0, 1, 1]}])
    with pytest.raises(DataError, match="expected image_id to be one of 1 ids, got 5"):
        from_coco(tmp_path)


def test_voc_gives_labels_boxes_and_the_splits_of_its_lists(tmp_path: Path) -> None:
    xml = (
        "<annotation><size><width>30</width><height>20</height></size><object><name>prairie dog</name><bndbox>"
        "<xmin>1</xmin><ymin>2</ymin><xmax>40</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    for name in ("a", "b"):
        write(tmp_path / f"JPEGImages/{name}.jpg")
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / f"Annotations/{name}.xml").write_text(xml)
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("b\n")
    box = [(1, 2, 29, 9)]
    assert rows(from_voc(tmp_path)) == {"a.jpg": (["prairie dog"], None, box), "b.jpg": (["prairie dog"], "val", box)}
    (tmp_path / "Annotations/a.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"a\.xml: expected an annotation in XML"):
        from_voc(tmp_path)


def test_a_csv_gives_labels_splits_and_boxes_of_all_rows_of_an_image(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg", "c.png"):
        write(tmp_path / "images" / name)
    (tmp_path / "labels.csv").write_text(
        "filename;width;class;subset;xmin;ymin;xmax;ymax\n"
        "a.jpg;30;prairie dog;train;1;2;3;4\na.jpg;30;cat;train;5;6;7;8\nb.jpg;30;cat|prairie dog;Validation;0;0;9;9\n"
    )
    found = from_csv(tmp_path)
    assert rows(found) == {
        "a.jpg": (["cat", "prairie dog"], "train", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        "b.jpg": (["cat", "prairie dog"], "val", [(0, 0, 9, 9)]),
    }
    assert found is not None
    assert found.notes == ["1 images that no row names are left out"]


def test_corners_of_a_csv_are_pixels_and_are_cut_at_the_border(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.jpg")  # 30 x 20 pixels
    head = "image,label,split,xmin,ymin,xmax,ymax\nc.jpg,dog,train,,,,\n"
    (tmp_path / "boxes.csv").write_text(head + "a.jpg,cat,train,1,2,3,4\nb.jpg,dog,val,-1,2,30,20\n")
    found = from_csv(tmp_path)
    assert found is not None
    assert rows(found)["c.jpg"] == (["dog"], "train", [])
    write_index(found, tmp_path / "out")
    assert "b.jpg,dog,val,,0 2 29 19" in (tmp_path / "out/index.csv").read_text()
    for corners, message in (
        ("0.1,0.2,0.5,1.0", r"expected corners of a box in pixels, got .*; likely shares of width and height"),
        ("1,2,x,4", r"boxes\.csv: b\.jpg: expected numbers as corners of a box, got \['1', '2', 'x', '4'\]"),
    ):
        (tmp_path / "boxes.csv").write_text(f"{head}b.jpg,dog,val,{corners}\n")
        with pytest.raises(DataError, match=message):
            from_csv(tmp_path)


def test_a_csv_of_something_else_is_none_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    (tmp_path / "prices.csv").write_text("id,class\n1,x\n2,y\n")
    (tmp_path / "plain.csv").write_text("a,b\n1,2\n")
    assert (from_csv(tmp_path), from_coco(tmp_path), from_voc(tmp_path)) == (None, None, None)


def test_images_without_a_split_are_divided_and_equal_names_keep_ids_of_their_own(tmp_path: Path) -> None:
    made = [Row(write(tmp_path / f"{name}/{n}.jpg"), [name]) for name in ("prairie dog", "cat") for n in range(5)]
    write_index(Converted("", made), tmp_path / "out")
    manifest = list_folder(tmp_path / "out")
    assert sorted(manifest.ids()) == sorted(f"{name}__{n}" for name in ("prairie dog", "cat") for n in range(5))
    for split in ("train", "val"):
        assert set(manifest.select(split).labels()) == {(0,), (1,)}  # type: ignore[arg-type]
    assert not len(manifest.select("test"))


def test_annotations_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected labels, found none on 1 images"):
        write_index(Converted("a CSV", [Row(write(tmp_path / "a.jpg"))]), tmp_path / "out")
