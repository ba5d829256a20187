"""A mask that stands where an image should: refused by every source, at every level of checking that can see it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.inspection import inspected, preprocess_settings
from support.trees import (
    make_coco,
    make_ilsvrc_cls,
    make_ilsvrc_det,
    make_oxford_pet,
    make_pascal_voc,
    write_image,
    write_lines,
    write_mask,
)

from pipeline.core.errors import DataError
from pipeline.core.manifest import from_rows
from pipeline.preprocess.inspect import inspect
from pipeline.preprocess.leakage import leaked_masks

LEVELS = ("list", "header", "decode")
FILES_ARE_READ = ("header", "decode")


class Rows:
    """A train, two val and a test image of one class, `a.png` … `d.png`, with the masks of val in `masks/`; `e.png` of
    split train shows none."""

    def __init__(self, root):
        self.root = root
        self.rows = [
            {"id": name, "file": f"{name}.png", "split": split, "labels": [0], "width": 0, "height": 0, "bytes": 0}
            for name, split in zip("abcde", ("train", "val", "val", "test", "train"), strict=True)
        ]
        self.rows[4]["labels"] = []  # a classifier has to tell something apart
        for n, row in enumerate(self.rows):
            write_mask(root / row["file"], np.full((6, 8), 40 * n, np.uint8))  # a grey image
        for row in self.rows[1:3]:
            row["mask"] = f"masks/{row['id']}.png"
            write_mask(root / row["mask"], np.full((6, 8), 255, np.uint8))

    def inspected_with(self, check="list", **changes):
        source = {"name": "folder", "root": str(self.root), "masks": "foreground"}
        manifest = from_rows(self.rows, ["cat"], self.root, "foreground")
        return inspect(manifest, preprocess_settings(source, check=check, **changes))


@pytest.fixture
def rows(tmp_path):
    return Rows(tmp_path)


def _link(image, mask):
    image.unlink()
    image.symlink_to(mask)


def _hard_link(image, mask):
    image.unlink()
    os.link(mask, image)


def _copy(image, mask):
    shutil.copy(mask, image)


def _mask_links_to_image(image, mask):
    mask.unlink()
    mask.symlink_to(image)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("make", [_link, _hard_link, _mask_links_to_image])
def test_an_image_that_links_to_its_own_mask_is_refused(rows, level, make):
    make(rows.root / "b.png", rows.root / "masks/b.png")
    with pytest.raises(DataError) as error:
        rows.inspected_with(level)
    expected = (
        f"{rows.root}/b.png: expected image 'b', got its own mask {rows.root}/masks/b.png (the same file); likely "
        "masks lie"
    )
    assert expected in str(error.value)
    assert "1 bad files:" in str(error.value)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("file", ["masks/b.png", "./masks/b.png", "masks/../masks/b.png", "linked/b.png"])
def test_one_path_for_image_and_mask_is_refused_however_it_is_written(rows, level, file):
    (rows.root / "linked").symlink_to(rows.root / "masks")
    rows.rows[1]["file"] = file
    with pytest.raises(DataError, match=r"expected image 'b', got its own mask .*masks/b.png \(the same file\)"):
        rows.inspected_with(level)


def test_one_path_is_refused_by_a_listing_even_where_no_file_is(rows):
    rows.rows[1]["file"] = rows.rows[1]["mask"] = "nowhere.png"
    with pytest.raises(
        DataError, match=r"nowhere.png: expected image 'b', got its own mask .*nowhere.png \(the same file\)"
    ):
        rows.inspected_with("list")


@pytest.mark.parametrize("level", FILES_ARE_READ)
def test_a_copy_of_the_mask_is_refused_where_files_are_read(rows, level):
    shutil.copy(rows.root / "masks/c.png", rows.root / "c.png")
    rows.inspected_with("list")  # opens nothing
    with pytest.raises(DataError) as error:
        rows.inspected_with(level)
    expected = (
        f"{rows.root}/c.png: expected image 'c', got its own mask {rows.root}/masks/c.png (the same bytes); likely "
        "masks"
    )
    assert expected in str(error.value)


@pytest.mark.parametrize("level", LEVELS)
def test_files_of_equal_size_and_other_bytes_are_an_image_and_its_mask(rows, level):
    image, mask = rows.root / "c.png", rows.root / "masks/c.png"
    longest = max(image.stat().st_size, mask.stat().st_size) + 1
    for path in (image, mask):
        path.write_bytes(path.read_bytes().ljust(longest, b"\0"))  # decoders stop at the end of the PNG
    assert len(rows.inspected_with(level).manifest) == 5


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("where", [0, 3], ids=["train", "test"])
def test_an_image_that_is_the_mask_of_another_is_refused(rows, level, where):
    rows.rows[where]["file"] = "masks/c.png"
    with pytest.raises(DataError) as error:
        rows.inspected_with(level)
    expected = (
        f"expected image {'abcd'[where]!r}, got the mask of 'c', {rows.root}/masks/c.png (the same file); likely "
        "masks lie"
    )
    assert expected in str(error.value)


@pytest.mark.parametrize("level", LEVELS)
def test_a_held_out_image_that_links_to_the_mask_of_another_is_refused(rows, level):
    _link(rows.root / "d.png", rows.root / "masks/c.png")
    with pytest.raises(
        DataError, match=r"d.png: expected image 'd', got the mask of 'c', .*masks/c.png \(the same file\)"
    ):
        rows.inspected_with(level)


def test_all_of_them_are_named(rows):
    for name in "bc":
        _link(rows.root / f"{name}.png", rows.root / f"masks/{name}.png")
    with pytest.raises(DataError, match=r"2 bad files:\n.*image 'b'.*\n.*image 'c'"):
        rows.inspected_with("list")


@pytest.mark.parametrize("make", [_link, _copy])
def test_skipping_unreadable_images_does_not_skip_over_a_mask(rows, make):
    rows.rows[0]["mask"] = "masks/b.png"
    rows.rows.append({**rows.rows[0], "id": "f", "file": "f.png", "mask": None})
    write_mask(rows.root / "f.png", np.zeros((6, 8), np.uint8))
    make(rows.root / "a.png", rows.root / "masks/b.png")
    with pytest.raises(DataError, match=r"a.png: expected image 'a', got its own mask"):
        rows.inspected_with("header", on_bad_image="skip")


def test_two_empty_files_are_called_unreadable(rows):
    for path in (rows.root / "b.png", rows.root / "masks/b.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"b.png: expected an image, got a file that cannot be read as one"):
        rows.inspected_with("header")


def test_missing_files_of_different_names_are_no_leak(rows):
    for path in (rows.root / "b.png", rows.root / "masks/b.png", rows.root / "d.png"):
        path.unlink()
    assert len(rows.inspected_with("list").manifest) == 5


def test_only_files_of_equal_size_are_read(rows, monkeypatch):
    image, mask = rows.root / "b.png", rows.root / "masks/b.png"
    image.write_bytes(mask.read_bytes().ljust(mask.stat().st_size + 1, b"\0"))
    for path in (rows.root / "c.png", rows.root / "masks/c.png"):
        path.write_bytes(path.read_bytes().ljust(500, b"\0"))
    read = []
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read.append(path.name) or path.name.encode() + bytes(path.parent)
    )
    manifest = from_rows(rows.rows, ["cat"], rows.root, "foreground")
    assert leaked_masks(manifest, compare_bytes=True) == []
    assert read == ["c.png", "c.png"]
    assert leaked_masks(manifest, compare_bytes=False) == []
    assert len(read) == 2


def test_one_mask_for_two_images_is_no_leak(rows):
    rows.rows[1]["mask"] = "masks/c.png"
    assert len(rows.inspected_with("decode").manifest) == 5


# --- every source -----------------------------------------------------------------------------------------------------

MAKERS = {
    "track1": lambda root: make_ilsvrc_det(root / "ilsvrc", root / "lid"),
    "track3": lambda root: make_ilsvrc_cls(root / "ilsvrc", root / "lid"),
    "oxford_pet": make_oxford_pet,
    "pascal_voc": make_pascal_voc,
    "coco": lambda root: make_coco(root, root / "cache"),
}


@pytest.mark.parametrize("make", [_link, _copy])
@pytest.mark.parametrize("name", MAKERS)
def test_every_source_with_masks_refuses_an_image_that_is_its_mask(tmp_path, name, make):
    tree, track = MAKERS[name](tmp_path), "track1" if name == "track1" else "track3"
    source = {**tree.source, "truth": "masks"} if name == "coco" else tree.source
    record = next(iter(inspected(source, track).manifest.select("val")))
    make(record.file, record.mask)
    with pytest.raises(
        DataError, match=rf"expected image '{record.id}', got its own mask .*{record.mask.name} \(the same "
    ):
        inspected(source, track, check="header")


def test_the_folder_source_refuses_a_row_that_names_one_file_twice(tmp_path):
    for name in "abc":
        write_image(tmp_path / f"{name}.png", np.zeros((6, 8, 3), np.uint8))
    write_lines(tmp_path / "classes.txt", ["cat"])
    write_lines(
        tmp_path / "index.csv", ["image,labels,split,mask", "a.png,cat,train,", "b.png,cat,val,b.png", "c.png,,test,"]
    )
    with pytest.raises(DataError, match=r"b.png: expected image 'b', got its own mask .*b.png \(the same file\)"):
        inspected({"name": "folder", "root": str(tmp_path), "masks": "foreground"}, check="list")
