"""Layouts, one tiny folder each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.trees import make_coco, make_pascal_voc

from pipeline.core.errors import DataError
from pipeline.params.recognize import recognize

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith((".jpg", ".png")):
            Image.fromarray(PIXELS).save(root / file)
        else:
            (root / file).write_text(
                "image,labels,split\n" if file.endswith("index.csv") else "filename,label\n1.jpg,cat\n"
            )
    return root


CLASSES = ("cat/1.jpg", "prairie dog/1.jpg")
MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda root: make(root, "index.csv", *CLASSES),
    "image_folder": lambda root: make(root, *CLASSES),
    "coco": lambda root: make_coco(root, root / "cache") and root,
    "pascal_voc": lambda root: make_pascal_voc(root) and root,
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_layout_that_a_source_reads(name: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path / "photos")
    found = recognize(root, tmp_path / "out")
    assert (found.source["name"], found.source["root"]) == (name, root.as_posix())
    assert found.watch.exists()
    assert not (tmp_path / "out").exists()


def test_a_csv_becomes_an_index_beside_and_nothing_is_written_to_the_images(tmp_path: Path) -> None:
    root = make(tmp_path / "photos", "images/1.jpg", "labels.csv")
    before = sorted(root.rglob("*"))
    found = recognize(root, tmp_path / "out")
    assert found.source == {"name": "folder", "root": (tmp_path / "out").as_posix(), "masks": "auto"}
    assert found.watch == tmp_path / "out/index.csv"
    assert "1.jpg,cat,train" in found.watch.read_text()
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("files", "root", "masks", "watch"),
    [
        (CLASSES, ".", None, "."),
        (("images/cat/1.jpg", "images/dog/1.jpg", "masks/cat/1.png"), "images", "masks", "."),
        ((*CLASSES, "masks/cat/1.png"), ".", "masks", "."),
        (("photos/cat/1.jpg", "photos/dog/1.jpg"), "photos", None, "photos"),
        (("images/1.jpg", "cat/1.jpg"), ".", None, "."),  # classes of these names
        (("masks/1.jpg", "cat/1.jpg"), ".", None, "."),
        ((*CLASSES, "about.xml", ".idea/project.xml"), ".", None, "."),
        (("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg"), ".", None, "."),
    ],
)
def test_where_class_folders_and_masks_may_be(
    files: tuple[str, ...], root: str, masks: str | None, watch: str, tmp_path: Path
) -> None:
    found = recognize(make(tmp_path, *files), tmp_path / "out")
    assert Path(found.source["root"]) == tmp_path / root
    assert found.source["mask_root"] == (None if masks is None else str(tmp_path / masks))
    assert found.watch == tmp_path / watch


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    root = make(tmp_path, *CLASSES, "top.jpg", "cat/.hidden.jpg")
    assert recognize(root, tmp_path / "out").notes == (
        "left out: 1 hidden files",
        "left out: 1 images outside class folders",
    )
    (root / "cat/a.HEIC").write_bytes(b"")
    (root / "cat/b.heic").write_bytes(b"")
    (root / "cat/notes").write_bytes(b"")
    assert "left out: 3 other files (.heic, no suffix; HEIC is not read: save it as JPEG)" in (
        recognize(root, tmp_path / "out").notes
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("1.jpg", "2.jpg"),
            r"expected a folder of images for each class, or index.csv .*; found \['1.jpg', '2.jpg'\]",
        ),
        (("cat/1.jpg",), r"expected a folder of images for each of two classes or more, found \['cat'\] only"),
    ],
)
def test_other_folders_are_refused(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        recognize(make(tmp_path, *files), tmp_path / "out")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of images, found no such folder"):
        recognize(tmp_path / "none", tmp_path)
