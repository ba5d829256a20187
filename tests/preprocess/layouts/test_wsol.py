"""The lists of wsolevaluation."""

from pathlib import Path

import numpy as np
import pytest
from support.inspection import ids_by_split, inspected, listed
from support.trees import Tree, box_of, make_wsol, write_lines

from pipeline.core.errors import DataError
from pipeline.core.images import encode_png
from pipeline.core.truth import read_foreground
from pipeline.preprocess.layouts.wsol import draw_trimap


def _lines(tree: Tree, split: str, name: str = "localization.txt") -> Path:
    return Path(tree.source["metadata_root"]) / split / name


def test_the_official_test_split_is_scored_and_val_is_predicted(tmp_path: Path) -> None:
    tree = make_wsol(tmp_path)
    manifest = listed(tree.source)
    assert all(record.id.split("__")[1].startswith("test_") for record in manifest.select("val"))
    assert [record.labels for record in manifest.select("test")] == [()] * 6
    other = listed({**tree.source, "scored": "val"})
    assert ids_by_split(other)["val"] == ids_by_split(manifest)["test"]


def test_boxes_are_those_of_the_list_several_for_an_image(tmp_path: Path) -> None:
    tree = make_wsol(tmp_path)
    path = _lines(tree, "test")
    first = path.read_text().splitlines()[0]
    path.write_text(path.read_text() + f"{first.split(',')[0]},1,2,3,4\n")
    boxes = {record.id: record.boxes for record in inspected(tree.source).manifest.select("val")}
    name, *corners = first.split(",")
    assert boxes[name.removesuffix(".jpg").replace("/", "__")] == (tuple(map(int, corners)), (1, 2, 3, 4))


def test_all_objects_of_an_image_are_one_mask_with_ignored_pixels(tmp_path: Path) -> None:
    boxed, tree = make_wsol(tmp_path / "boxes"), make_wsol(tmp_path / "masks", truth="masks")
    boxes = {record.id: record.boxes[0] for record in listed(boxed.source).select("val")}
    manifest = inspected(tree.source).manifest
    assert manifest.mask_kind == "trimap"
    for record in manifest.select("val"):
        foreground, ignored = read_foreground(record, manifest.mask_kind)
        assert tuple(box_of(foreground.astype(np.uint8))) == boxes[record.id]
        assert ignored[0].all()
        assert not ignored[1:].any()


def test_the_object_is_no_ignored_pixel(tmp_path: Path) -> None:
    masks = {"a.png": [[0, 255, 0]], "b.png": [[0, 0, 1]], "i.png": [[255, 255, 0]]}
    for name, pixels in masks.items():
        (tmp_path / name).write_bytes(encode_png(np.array(pixels, np.uint8)))
    assert draw_trimap(tmp_path, [["a.png", "i.png"], ["b.png", ""]]).tolist() == [[3, 1, 1]]
    (tmp_path / "b.png").write_bytes(encode_png(np.zeros((2, 2), np.uint8)))
    with pytest.raises(DataError, match=r"b.png: expected the size of .*a.png, \(1, 3\) \(H, W\), got \(2, 2\)"):
        draw_trimap(tmp_path, [["a.png", ""], ["b.png", ""]])


def test_classes_without_a_folder_of_their_own_are_numbered(tmp_path: Path) -> None:
    tree = make_wsol(tmp_path)
    path = _lines(tree, "train", "class_labels.txt")
    lines = path.read_text().splitlines()
    write_lines(path, [lines[0].replace(",0", ",1"), *lines[1:]])
    assert listed(tree.source).classes == ("001.Auk", "class_1", "003.Crow")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("localization.txt", "a.jpg,1,2", "line 1: expected `<path>,<x0>,<y0>,<x1>,<y1>`, got 'a.jpg,1,2'"),
        ("localization.txt", "a.jpg,m,n,o,p", "a.jpg: expected .* likely a list of masks: set truth"),
        ("class_labels.txt", "001.Auk/test_0.jpg,cat", "expected `<path>,<class index>` once for each image"),
        ("image_ids.txt", "", "expected one image a line, got an empty file"),
        ("image_ids.txt", "a.jpg\na.jpg", r"expected every image once, got some twice: \['a.jpg'\]"),
    ],
)
def test_bad_lists_are_named_with_the_line(tmp_path: Path, name: str, line: str, message: str) -> None:
    tree = make_wsol(tmp_path)
    write_lines(_lines(tree, "test", name), [line])
    with pytest.raises(DataError, match=message):
        listed(tree.source)


def test_an_image_without_a_class_is_named(tmp_path: Path) -> None:
    tree = make_wsol(tmp_path)
    path = _lines(tree, "train", "class_labels.txt")
    write_lines(path, path.read_text().splitlines()[1:])
    with pytest.raises(DataError, match=r"expected a class of every image, missing=\['001.Auk/train_0.jpg'\]"):
        listed(tree.source)
