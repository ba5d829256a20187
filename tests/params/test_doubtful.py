"""Odd files of a folder, each named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.inspection import listed

from pipeline.params import doubtful
from pipeline.params.doubtful import look


def write(path: Path, width: int, number: int, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (80, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for n in range(6):
        write(tmp_path / f"cat/{n}.png", 100 + 10 * n, n)
    write(tmp_path / "dog/0.png", 100, 0)  # as cat/0.png
    write(tmp_path / "dog/1.png", 40, 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "dog/2.jpg", 100, 10, exif=exif)
    (tmp_path / "dog/3.jpg").write_bytes(b"no image")
    return tmp_path


def test_each_kind_is_named(photos: Path) -> None:
    source = {"name": "image_folder", "root": str(photos), "mask_root": None, "masks": "auto",
              "val_share": 0.2, "test_share": 0.0, "seed": 0}  # fmt: skip
    manifest = listed(source)
    looked = look(manifest, cut_boxes=False, jobs=1)
    sizes, broken, tiny, turned, equal, few = looked.lines
    assert sizes == "longer side 80 to 150 pixels, median 110"
    assert broken.startswith(f"broken: {photos}/dog/3.jpg: expected")
    assert tiny == f"tiny, shorter side below 64 pixels: ['{photos}/dog/1.png']"
    assert turned.startswith("1 images ask to be turned (EXIF)")
    assert equal == f"equal bytes: {photos}/cat/0.png = {photos}/dog/0.png"
    assert few == "classes with fewer than 5 labelled images: ['dog (4)']"
    (split,) = looked.broken
    assert "dog__3" in manifest.select(split).ids()  # type: ignore[arg-type]


def test_a_class_without_a_train_image_is_named(photos: Path) -> None:
    (photos / "dog/3.jpg").unlink()
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (photos / split).mkdir(exist_ok=True)
            shutil.copytree(photos / name, photos / split / name)
    for name in ("cat", "dog"):
        shutil.rmtree(photos / name)
    (photos / "val/dog").rename(photos / "val/wolf")
    source = {"name": "image_folder", "root": str(photos), "mask_root": None, "masks": "auto",
              "val_share": 0.2, "test_share": 0.0, "seed": 0}  # fmt: skip
    last = look(listed(source), cut_boxes=False, jobs=1).lines[-1]
    assert last == "the run stops at classes without a train image, add some or take them out: ['wolf']"


def test_a_single_class_has_nothing_to_tell_apart(photos: Path) -> None:
    shutil.rmtree(photos / "dog")
    source = {"name": "image_folder", "root": str(photos), "mask_root": None, "masks": "auto",
              "val_share": 0.2, "test_share": 0.0, "seed": 0}  # fmt: skip
    last = look(listed(source), cut_boxes=False, jobs=1).lines[-1]
    assert last == "the run stops, as all train images have the same labels: add images of something else"


def test_of_many_images_some_are_decoded(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "dog/3.jpg").unlink()
    monkeypatch.setattr(doubtful, "MOST", 3)
    source = {"name": "image_folder", "root": str(photos), "mask_root": None, "masks": "auto",
              "val_share": 0.2, "test_share": 0.0, "seed": 0}  # fmt: skip
    assert "(of 3 images, evenly spaced)" in look(listed(source), cut_boxes=False, jobs=1).lines[0]
