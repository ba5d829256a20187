"""Track 1 from trees in the official layout."""

import shutil

import numpy as np
import pytest
from support.inspection import ids_by_split, inspected, labels_by_id, listed
from support.trees import make_ilsvrc_det, write_image, write_mask

from pipeline.core.errors import DataError
from pipeline.core.images import read_mask
from pipeline.core.truth import read_label_map
from pipeline.preprocess.challenge_lists import det_classes
from pipeline.preprocess.summary import summarize


@pytest.fixture
def tree(tmp_path):
    return make_ilsvrc_det(tmp_path / "ilsvrc", tmp_path / "lid")


@pytest.mark.parametrize("layout", ["nested", "flat"])
def test_both_layouts_give_the_listed_images_and_labels(tmp_path, layout):
    tree = make_ilsvrc_det(tmp_path / "ilsvrc", tmp_path / "lid", layout=layout)
    manifest = inspected(tree.source, "track1").manifest
    found = ids_by_split(manifest)
    assert (sorted(found["train"]), found["val"], found["test"]) == (
        sorted(tree.ids["train"]),
        tree.ids["val"],
        tree.ids["test"],
    )
    assert [len(found[split]) for split in ("train", "val", "test")] == [37, 10, 6]
    assert labels_by_id(manifest) == tree.labels
    folders = {record.file.parent.name.rstrip("0123456789") for record in manifest.select("train")}
    assert folders == {"n", "ILSVRC2013_train_extra", "ILSVRC2014_train_"}  # all three kinds
    assert all(record.file.is_file() for record in manifest)
    assert all((record.mask is not None) == (record.split == "val") for record in manifest)


def test_all_200_classes_keep_their_ids(tree):
    manifest = listed(tree.source, "track1")
    assert manifest.classes == tuple(row.name for row in det_classes())
    assert len(manifest.classes) == 200
    assert (manifest.mask_kind, manifest.classes[0], manifest.classes[199]) == ("labels", "accordion", "zebra")


def test_the_raw_masks_are_read_not_the_palette_copy(tree):
    for record in inspected(tree.source, "track1").manifest.select("val"):
        assert record.mask.parent.name == "track1_val_annotations_raw"
        label_map = read_label_map(record, "labels", 200)
        assert sorted(set(label_map.ravel().tolist()) - {0, 255}) == [k + 1 for k in record.labels]
        assert (label_map[-1] == 255).all()


def test_lists_and_annotations_give_the_same_labels(tree):
    by_lists = listed({**tree.source, "labels": "image_sets"}, "track1")
    by_annotations = listed(tree.source, "track1")
    assert labels_by_id(by_lists) == labels_by_id(by_annotations)
    assert by_lists.table["file"].to_pylist() == by_annotations.table["file"].to_pylist()
    assert by_lists.left_out["images_in_no_list"] == by_annotations.left_out["images_without_annotation"] == 1


def test_a_partial_label_counts_as_set(tree):
    source = {**tree.source, "labels": "image_sets"}
    (partial,) = tree.odd["images_without_label"]
    assert partial not in labels_by_id(listed({**source, "partial_labels": "ignore"}, "track1"))
    assert labels_by_id(listed({**source, "partial_labels": "positive"}, "track1"))[partial] == [0]


def test_every_oddity_is_counted_by_its_rule(tree):
    report = summarize(inspected(tree.source, "track1"))
    assert {rule: about["ids"] for rule, about in report["quirks"].items() if about["images"]} == tree.odd
    assert report["left_out"] == {"images_without_annotation": 1}
    assert len(report["classes_without_training_image"]) == 194
    assert report["train_images_per_class"]["accordion"] == sum(
        0 in labels for i, labels in tree.labels.items() if "val" not in i
    )


def test_without_looking_at_masks_val_images_have_no_labels(tree):
    manifest = inspected(tree.source, "track1", check="list").manifest
    assert not any(record.labels for record in manifest.select("val"))


def test_empty_classes_are_an_error_unless_allowed(tree):
    with pytest.raises(DataError, match=r"expected a training image of every class, found none of \[.* 194 in all\]"):
        inspected({**tree.source, "empty_classes": "error"}, "track1", check="list")


def test_the_palette_copy_alone_is_refused(tree, tmp_path):
    shutil.rmtree(tmp_path / "lid/LID_track1_annotations/track1_val_annotations_raw")
    with pytest.raises(
        DataError, match=r"track1_val_annotations: expected track1_val_annotations_raw beside it, found only this pal"
    ):
        listed(tree.source, "track1")


def test_a_mask_value_that_is_no_class_id_is_refused(tree, tmp_path):
    path = tmp_path / f"lid/LID_track1_annotations/track1_val_annotations_raw/{tree.ids['val'][2]}.png"
    values = read_mask(path)
    values[0, 0] = 201
    write_mask(path, values)
    with pytest.raises(DataError, match=r"expected mask values 0..200 or 255, got \[201\]"):
        inspected(tree.source, "track1")


def test_an_object_of_no_class_and_a_damaged_annotation_are_named(tree, tmp_path):
    first, second = sorted((tmp_path / "ilsvrc/ILSVRC/Annotations/DET/train/ILSVRC2013_train_extra1").iterdir())[:2]
    first.write_text(
        first.read_text().replace(det_classes()[2].wnid, "n00000001").replace(det_classes()[0].wnid, "n00000001")
    )
    second.write_text(second.read_text()[:200])
    with pytest.raises(DataError) as error:
        listed(tree.source, "track1")
    text = str(error.value)
    assert f"{first}: expected objects of the 200 classes, got 'n00000001'" in text
    assert f"{second}: expected an annotation in XML, got" in text
    assert "likely a truncated download" in text


def test_an_annotation_without_its_image_is_named(tree, tmp_path):
    folder = tmp_path / "ilsvrc/ILSVRC/Data/DET/train/ILSVRC2013_train_extra1"
    image = sorted(folder.iterdir())[0]
    image.unlink()
    with pytest.raises(
        DataError, match=rf"extra1: expected an image for every annotation, found none for \['{image.stem}'\]"
    ):
        listed(tree.source, "track1")


def test_a_damaged_list_and_a_missing_one_are_both_named(tree, tmp_path):
    lists = tmp_path / "ilsvrc/ILSVRC/ImageSets/DET"
    (lists / "train_7.txt").unlink()
    (lists / "train_9.txt").write_text("ILSVRC2013_train/a yes\n")
    with pytest.raises(DataError) as error:
        listed({**tree.source, "labels": "image_sets"}, "track1")
    assert f"{lists}/train_7.txt: expected a list of `<path> 1|0|-1`, found no file" in str(error.value)
    assert f"{lists}/train_9.txt: expected `<path> 1|0|-1` on every line, got ['yes']" in str(error.value)


def test_a_list_that_names_no_image_of_the_disk_is_refused(tree, tmp_path):
    (tmp_path / "ilsvrc/ILSVRC/ImageSets/DET/train_3.txt").write_text("ILSVRC2013_train/n1/n1_1 1\n")
    with pytest.raises(
        DataError, match=r"train_3.txt: expected an image for every line, found none for \['ILSVRC2013_train/n1/n1_1'\]"
    ):
        listed({**tree.source, "labels": "image_sets"}, "track1")


def test_the_shipped_lists_ask_for_every_image(tree):
    with pytest.raises(DataError) as error:
        listed({**tree.source, "lists": "shipped"}, "track1")
    assert "val: expected a file of each of 4690 images, missing=" in str(error.value)
    assert "test: expected a file of each of 10000 images, missing=" in str(error.value)


def test_the_disk_stands_in_for_images_that_the_download_lacks(tree, tmp_path):
    for split in ("val", "test"):
        (tmp_path / "ilsvrc/ILSVRC/Data/DET/val").mkdir(parents=True, exist_ok=True)
        for image in (tmp_path / f"lid/LID_track1/{split}").glob("*.JPEG"):
            image.rename(tmp_path / "ilsvrc/ILSVRC/Data/DET/val" / image.name)
    assert ids_by_split(listed(tree.source, "track1"))["test"] == tree.ids["test"]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("folder", ["lid/LID_track1/{}", "lid/{}", "ilsvrc/ILSVRC/Data/DET/val"])
def test_a_png_is_no_held_out_image_in_any_folder(tree, tmp_path, split, folder):
    image_id = tree.ids[split][1]
    (tmp_path / f"lid/LID_track1/{split}/{image_id}.JPEG").unlink()
    write_mask(tmp_path / folder.format(split) / f"{image_id}.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match=rf"{split}: expected a file of each of \d+ images, missing=\['{image_id}'\]"):
        listed(tree.source, "track1")


def test_images_are_images_and_masks_are_masks_where_both_lie_together(tree, tmp_path):
    raw = tmp_path / "lid/LID_track1_annotations/track1_val_annotations_raw"
    for image in (tmp_path / "lid/LID_track1/val").glob("*.JPEG"):
        shutil.copy(raw / f"{image.stem}.png", image.parent)
        shutil.copy(image, raw)
    val = inspected(tree.source, "track1").manifest.select("val")
    assert {record.file for record in val} == {tmp_path / f"lid/LID_track1/val/{i}.JPEG" for i in tree.ids["val"]}
    assert {record.mask for record in val} == {raw / f"{i}.png" for i in tree.ids["val"]}


@pytest.mark.parametrize("split", ["val", "test"])
def test_where_two_folders_hold_an_image_the_first_wins(tree, tmp_path, split):
    own, disk = tmp_path / f"lid/LID_track1/{split}", tmp_path / "ilsvrc/ILSVRC/Data/DET/val"
    for image_id in tree.ids[split]:
        write_image(disk / f"{image_id}.JPEG", np.zeros((8, 8, 3), np.uint8))
    assert {record.file.parent for record in listed(tree.source, "track1").select(split)} == {own}


def test_a_folder_of_raw_masks_without_a_mask_is_refused(tree, tmp_path):
    for mask in (tmp_path / "lid/LID_track1_annotations/track1_val_annotations_raw").iterdir():
        mask.rename(mask.with_suffix(".txt"))
    with pytest.raises(
        DataError, match=r"annotations_raw: expected masks, <id>.png, found none among 10 files; likely"
    ):
        listed(tree.source, "track1")


def test_missing_roots_are_both_named(tree, tmp_path):
    with pytest.raises(DataError) as error:
        listed(
            {**tree.source, "root": str(tmp_path / "none"), "challenge_root": str(tmp_path / "lid/LID_track1")},
            "track1",
        )
    assert f"{tmp_path}/none: expected the DET disk of ILSVRC" in str(error.value)
    assert "likely preprocess.source.challenge_root is another folder" in str(error.value)


def test_two_processes_find_what_one_finds(tmp_path, monkeypatch):
    tree = make_ilsvrc_det(tmp_path / "ilsvrc", tmp_path / "lid")
    alone = inspected(tree.source, "track1", jobs=1).manifest.table
    monkeypatch.setattr("pipeline.preprocess.inspect.CHUNK", 8)
    monkeypatch.setattr("pipeline.preprocess.annotations.CHUNK", 3)
    together = inspected(tree.source, "track1", jobs=2).manifest.table
    assert together.equals(alone)
    assert np.asarray(together["width"]).min() > 0
