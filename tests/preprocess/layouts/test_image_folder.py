"""Folders of images for each class: what is listed, divided, left out and refused."""

import numpy as np
import pytest
from PIL import Image
from support.inspection import ids_by_split, inspected, labels_by_id, listed, preprocess_settings

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.tracks import get_track
from pipeline.preprocess.sources import try_to_list

SEED = 0
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def source(root, **changes):
    shares = {"val_share": 0.25, "test_share": 0.0, "seed": SEED}
    return {"name": "image_folder", "root": str(root), "mask_root": None, "masks": "auto", **shares, **changes}


def write(path, pixels=PIXELS):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(root, files):
    for file in files:
        write(root / file)
    return root


def refused(root, **changes):
    with pytest.raises(DataError) as caught:
        listed(source(root, **changes))
    return str(caught.value).removeprefix(f"{root}: ")


@pytest.fixture
def two_classes(tmp_path):
    files = [f"{name}/{n}.jpg" for name in ("prairie dog", "cat") for n in range(4)]
    return make(tmp_path / "photos", files)


def test_classes_are_folders_and_ids_hold_them(two_classes):
    write(two_classes / "cat/indoors/old/1.png")
    manifest = listed(source(two_classes))
    assert manifest.classes == ("cat", "prairie dog")
    every = {record.id: record for record in manifest}
    assert sorted(every) == sorted(
        [f"{name}__{n}" for name in ("prairie dog", "cat") for n in range(4)] + ["cat__indoors__old__1"]
    )
    assert every["cat__indoors__old__1"].file == two_classes / "cat/indoors/old/1.png"
    assert {record.labels for key, record in every.items() if key.startswith("prairie dog")} == {(1,)}


def test_without_split_folders_both_classes_train_and_are_scored(two_classes):
    ids = ids_by_split(listed(source(two_classes)))
    assert not ids["test"]
    for split in ("train", "val"):
        assert {image_id.split("__")[0] for image_id in ids[split]} == {"cat", "prairie dog"}
    with_test = ids_by_split(listed(source(two_classes, test_share=0.5)))
    assert with_test["test"]
    assert with_test["train"]
    assert not labels_by_id(listed(source(two_classes, test_share=0.5))).keys() & set(with_test["test"])


def test_more_images_leave_the_others_where_they_were(two_classes):
    for n in range(4, 40):
        write(two_classes / f"cat/{n}.jpg")
    before = ids_by_split(listed(source(two_classes)))
    for n in range(40, 50):
        write(two_classes / f"cat/{n}.jpg")
    after = ids_by_split(listed(source(two_classes)))
    assert all(set(before[split]) <= set(after[split]) for split in before)


def test_splits_may_be_a_level_and_test_may_have_no_classes(tmp_path):
    root = make(tmp_path, ["train/cat/1.jpg", "train/dog/1.jpg", "valid/cat/1.jpg", "test/1.jpg", "test/x/2.jpg"])
    manifest = listed(source(root))
    assert ids_by_split(manifest) == {
        "train": ["train__cat__1", "train__dog__1"],
        "val": ["valid__cat__1"],
        "test": ["test__1", "test__x__2"],
    }
    assert labels_by_id(manifest) == {"train__cat__1": [0], "train__dog__1": [1], "valid__cat__1": [0]}
    assert manifest.classes == ("cat", "dog")


def test_train_gives_val_images_where_val_has_no_folder(tmp_path):
    files = [f"train/{name}/{n}.jpg" for name in ("cat", "dog") for n in range(6)]
    root = make(tmp_path, files)
    ids = ids_by_split(listed(source(root)))
    assert ids["train"]
    assert ids["val"]
    assert not ids["test"]
    write(root / "test/unknown/1.jpg")
    ids = ids_by_split(listed(source(root, test_share=0.6)))
    assert ids["test"] == ["test__unknown__1"]


def test_a_class_that_is_called_train_is_a_class(tmp_path):
    root = make(tmp_path, ["train/1.jpg", "train/2.jpg", "bus/1.jpg", "bus/2.jpg"])
    assert listed(source(root)).classes == ("bus", "train")


def test_what_is_no_image_of_a_class_is_left_out_and_counted(two_classes):
    for file in ("top.jpg", ".hidden/1.jpg", "cat/._1.jpg", "__MACOSX/cat/1.jpg", "cat/.ipynb_checkpoints/1.jpg"):
        write(two_classes / file)
    (two_classes / "cat/Thumbs.db").write_bytes(b"x")
    (two_classes / "empty").mkdir()
    (two_classes / "notes").mkdir()
    (two_classes / "notes/read.me").write_text("x")
    manifest = listed(source(two_classes))
    assert len(manifest) == 8
    assert manifest.classes == ("cat", "prairie dog")
    assert manifest.left_out == {
        "hidden_files": 4,
        "other_files": 2,
        "images_outside_class_folders": 1,
        "class_folders_without_images": 2,
    }


def test_two_files_of_one_id_are_named(two_classes):
    write(two_classes / "cat/1.png")
    write(two_classes / "cat/2__3.jpg")
    write(two_classes / "cat/2/3.jpg")
    assert refused(two_classes).splitlines() == [
        "2 problems:",
        "  'cat/1.png': same image id as 'cat/1.jpg'; the id is the folders and the file's stem, joined by '__', "
        "rename one",
        "  'cat/2/3.jpg': same image id as 'cat/2__3.jpg'; the id is the folders and the file's stem, joined by '__', "
        "rename one",
    ]


def test_folders_without_classes_are_refused(tmp_path):
    make(tmp_path / "flat", ["1.jpg", "2.jpg"])
    assert refused(tmp_path / "flat").startswith(
        "expected folders of images, one for each class, found none; left out: 2 images outside class folders; "
    )
    assert "no such folder" in refused(tmp_path / "none")


def test_masks_are_those_of_val_images(two_classes, tmp_path):
    masks = tmp_path / "masks"
    for name in ("cat", "prairie dog"):
        for n in range(3):
            write(masks / name / f"{n}.png", np.where(np.arange(32) < 16, 255, 0)[None].repeat(24, 0).astype(np.uint8))
    write(masks / "cat/77.png", np.zeros((24, 32), np.uint8))
    inspection = inspected(source(two_classes, mask_root=str(masks)), packaged="val")
    manifest = inspection.manifest
    known = {record.id: record.mask for record in manifest if record.mask}
    val = [image_id for image_id in manifest.select("val").ids() if not image_id.endswith("3")]
    assert known == {image_id: masks / f"{image_id.replace('__', '/')}.png" for image_id in val}
    assert manifest.mask_kind == "foreground"
    assert manifest.left_out["masks_without_image"] == 1


def test_masks_below_the_images_are_no_class(two_classes):
    write(two_classes / "masks/cat/1.png", np.full((24, 32), 255, np.uint8))
    assert "masks" in listed(source(two_classes)).classes
    manifest = listed(source(two_classes, mask_root=str(two_classes / "masks"), val_share=0.9))
    assert manifest.classes == ("cat", "prairie dog")


def test_masks_that_fit_no_val_image_are_a_problem(two_classes, tmp_path):
    write(tmp_path / "masks/1.png", np.full((24, 32), 255, np.uint8))
    said = refused(two_classes, mask_root=str(tmp_path / "masks"))
    assert "expected masks of val images, such as cat/" in said
    assert "found none among 1 PNGs" in said
    assert "expected a folder of masks, found none" in refused(two_classes, mask_root=str(tmp_path / "no"))


def test_with_levels_masks_may_have_them_or_not(tmp_path):
    root = make(tmp_path / "photos", ["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "val/dog/1.jpg"])
    for file in ("val/cat/1.png", "train/cat/1.png", "dog/1.png"):
        write(tmp_path / "masks" / file, np.full((24, 32), 255, np.uint8))
    manifest = listed(source(root, mask_root=str(tmp_path / "masks")))
    found = {record.id: record.mask for record in manifest if record.mask}
    assert found == {"val__cat__1": tmp_path / "masks/val/cat/1.png", "val__dog__1": tmp_path / "masks/dog/1.png"}


def test_an_empty_split_that_is_packaged_is_refused(two_classes):
    assert not len(inspected(source(two_classes), packaged="val").manifest.select("test"))
    with pytest.raises(DataError, match=r"found none in \['test'\].*without test images set package.split: val"):
        inspected(source(two_classes))


def test_shares_that_leave_nothing_to_train_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"expected a sum below 1, got 0\.5 and 0\.5"):
        preprocess_settings(source(tmp_path, val_share=0.5, test_share=0.5))


def test_what_preflight_lists_is_the_folder(two_classes):
    settings, track = preprocess_settings(source(two_classes)), get_track("track3")
    manifest, lines = try_to_list(settings, track, packaged="val")
    assert manifest is not None
    assert len(manifest) == 8
    assert lines == []
    assert "set package.split: val" in try_to_list(settings, track)[1][0]
