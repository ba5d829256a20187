"""Track 3 from trees in the official layout."""

import json
import shutil

import numpy as np
import pytest
from support.inspection import ids_by_split, inspected, labels_by_id, listed
from support.trees import RIFLE, SWAPPED, draw_image, make_ilsvrc_cls, write_image, write_mask

from pipeline.core.errors import DataError
from pipeline.core.images import read_mask, read_rgb
from pipeline.core.manifest import read_manifest
from pipeline.core.truth import read_foreground
from pipeline.preprocess.challenge_lists import cls_classes
from pipeline.preprocess.summary import summarize
from stages.preprocess import main


@pytest.fixture
def tree(tmp_path):
    return make_ilsvrc_cls(tmp_path / "ilsvrc", tmp_path / "lid")


@pytest.mark.parametrize("layout", ["nested", "flat"])
def test_both_layouts_give_the_listed_images_and_labels(tmp_path, layout):
    tree = make_ilsvrc_cls(tmp_path / "ilsvrc", tmp_path / "lid", layout=layout)
    manifest = inspected(tree.source).manifest
    found = ids_by_split(manifest)
    assert {split: sorted(ids) for split, ids in found.items()} == {
        split: sorted(ids) for split, ids in tree.ids.items()
    }
    assert [len(found[split]) for split in ("train", "val", "test")] == [60, 12, 8]
    assert labels_by_id(manifest) == tree.labels
    assert list(manifest.classes) == tree.classes
    assert manifest.mask_kind == "foreground"
    assert all(record.file.is_file() for record in manifest)
    assert all(
        (record.mask is not None, len(record.boxes)) == (record.split == "val", record.split == "val")
        for record in manifest
    )


def test_a_class_index_is_the_rank_of_the_wnid(tree):
    manifest = listed(tree.source)
    names = {row.wnid: row.name for row in cls_classes()}
    wnids = sorted({image_id.split("_")[0] for image_id in tree.ids["train"]})
    assert manifest.classes == tuple(names[wnid] for wnid in wnids)
    assert all(wnids[record.labels[0]] == record.file.parent.name for record in manifest.select("train"))


def test_a_box_of_the_annotations_is_the_box_of_the_mask(tree):
    for record in inspected(tree.source).manifest.select("val"):
        foreground, _ = read_foreground(record, "foreground")
        if foreground.any():
            rows, columns = np.nonzero(foreground)
            assert record.boxes == ((columns.min(), rows.min(), columns.max(), rows.max()),)


def test_every_odd_file_is_counted_by_its_rule(tree):
    report = summarize(inspected(tree.source))
    found = {rule: about["ids"] for rule, about in report["quirks"].items() if about["images"]}
    assert found == tree.odd
    assert set(found) == {
        *("cmyk_images", "grey_images", "other_format_than_name", "exif_orientation", "long_sides"),
        *("masks_without_foreground", "swapped_masks"),
    }
    assert all(about["images"] == len(about["ids"]) for about in report["quirks"].values())


def test_odd_files_are_decoded_to_rgb_in_stored_order(tmp_path):
    rgb, _ = draw_image(np.random.default_rng(0), (40, 24), [3])
    rgb[:, :, :] = (200, 40, 90)  # one color survives JPEG
    for oddity in ("", "cmyk_images", "other_format_than_name", "exif_orientation"):
        write_image(tmp_path / "a.JPEG", rgb, oddity)
        decoded = read_rgb(tmp_path / "a.JPEG")
        assert decoded.shape == (24, 40, 3)  # orientation 6 would give (40, 24)
        assert (
            np.abs(decoded.astype(int) - (200, 40, 90)).max() <= 3
        )  # JPEG rounds colors by 1 or 2; CMYK inverted is 100 off
    write_image(tmp_path / "a.JPEG", rgb, "grey_images")
    decoded = read_rgb(tmp_path / "a.JPEG")
    assert decoded.shape == (24, 40, 3)
    assert (decoded == decoded[:, :, :1]).all()


def test_a_listing_opens_nothing_and_says_so(tree, tmp_path):
    for file in (tmp_path / "ilsvrc").rglob("*.JPEG"):
        file.write_bytes(b"")
    inspection = inspected(tree.source, check="list")
    report = summarize(inspection)
    assert len(inspection.manifest) == 80
    assert report["quirks"]["cmyk_images"]["images"] is None
    assert report["quirks"]["images_without_label"]["images"] == 0


# --- swapped masks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "turn"),
    [("transpose", np.transpose), ("rotate_left", np.rot90), ("rotate_right", lambda mask: np.rot90(mask, 3))],
)
def test_a_swapped_mask_is_turned_as_set_up_to_the_scorer(tree, tmp_path, way, turn):
    path = tmp_path / f"lid/LID_track3/val_masks/{SWAPPED}.png"
    stored = read_mask(path)
    stored[:3, 0] = 255  # so that the three ways differ
    write_mask(path, stored)
    manifest = inspected({**tree.source, "swapped_masks": way}).manifest
    (record,) = manifest.with_ids([SWAPPED])
    assert record.shape == stored.shape[::-1] != stored.shape
    assert (read_foreground(record, "foreground")[0] == (turn(stored) > 128)).all()


def test_the_turn_survives_the_table_on_disk(tree, tmp_path):
    section = {
        "source": tree.source, "watch": "", "check": "list", "on_bad_image": "error", "jobs": 1,
        "parallel": {"backend": "loky", "address": ""},
    }  # fmt: skip
    (tmp_path / "params.yaml").write_text(
        json.dumps({"tracks": {"track3": {"preprocess": section, "package": {"split": "test"}}}})
    )
    manifest, report = tmp_path / "manifest", tmp_path / "preprocess.json"
    main(
        [
            "--params",
            str(tmp_path / "params.yaml"),
            "--track",
            "track3",
            "--manifest",
            str(manifest),
            "--drawn",
            str(tmp_path / "drawn"),
            "--report",
            str(report),
        ]
    )
    (record,) = read_manifest(manifest).with_ids([SWAPPED])
    assert record.mask_turn == "transpose"
    assert read_foreground(record, "foreground")[0].any()
    assert json.loads(report.read_text())["quirks"]["swapped_masks"]["ids"] == [SWAPPED]


def test_a_swapped_mask_can_be_skipped_and_is_counted(tree):
    inspection = inspected({**tree.source, "swapped_masks": "skip"})
    (record,) = inspection.manifest.with_ids([SWAPPED])
    assert record.mask is None
    assert summarize(inspection)["left_out"]["swapped_masks"] == 1


def test_a_swapped_mask_can_be_an_error(tree):
    with pytest.raises(
        DataError, match=rf"{SWAPPED}.png: expected the size of its image, got width and height swapped"
    ):
        listed({**tree.source, "swapped_masks": "error"})


def test_a_corrected_copy_of_a_swapped_mask_is_left_as_it_is(tree, tmp_path):
    path = tmp_path / f"lid/LID_track3/val_masks/{SWAPPED}.png"
    write_mask(path, np.ascontiguousarray(read_mask(path).T))
    (record,) = inspected(tree.source).manifest.with_ids([SWAPPED])
    assert record.mask_turn is None


def test_another_mask_with_its_sides_swapped_is_an_error(tree, tmp_path):
    other = next(image_id for image_id in tree.ids["val"] if image_id != SWAPPED)
    path = tmp_path / f"lid/LID_track3/val_masks/{other}.png"
    write_mask(path, np.ascontiguousarray(read_mask(path).T))
    with pytest.raises(
        DataError, match=rf"{other}.png: expected the size of its image, .*; likely width and height swapped"
    ):
        inspected(tree.source)


# --- images and masks in one place ------------------------------------------------------------------------------------


def _move_masks(tmp_path, to):
    for mask in (tmp_path / "lid/LID_track3/val_masks").iterdir():
        mask.rename(tmp_path / to / mask.name)


def _move_images(tmp_path, split, to):
    (tmp_path / to).mkdir(parents=True, exist_ok=True)
    for file in (tmp_path / f"lid/LID_track3/{split}").glob("*.JPEG"):
        file.rename(tmp_path / to / file.name)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("ilsvrc/ILSVRC/Data/CLS-LOC/val", "lid/LID_track3/val"),
        ("lid/LID_track3/val", "lid/LID_track3/val"),
        ("lid/LID_track3/val", "lid/LID_track3/val_masks"),
    ],
    ids=["masks in val", "beside the images", "in a folder of their own"],
)
@pytest.mark.parametrize("setting", ["auto", "named"])
def test_images_are_images_and_masks_are_masks_wherever_masks_lie(tree, tmp_path, images, masks, setting):
    _move_images(tmp_path, "val", images)
    _move_masks(tmp_path, masks)
    named = "auto" if setting == "auto" else masks.removeprefix("lid/")
    val = inspected({**tree.source, "masks": named}).manifest.select("val")
    assert {record.file for record in val} == {tmp_path / images / f"{image_id}.JPEG" for image_id in tree.ids["val"]}
    assert {record.mask for record in val} == {tmp_path / masks / f"{image_id}.png" for image_id in tree.ids["val"]}


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(
    "folder", ["lid/LID_track3/{}", "lid/{}", "ilsvrc/ILSVRC/Data/CLS-LOC/val", "ilsvrc/ILSVRC/Data/CLS-LOC/test"]
)
def test_a_png_is_no_held_out_image_in_any_folder(tree, tmp_path, split, folder):
    image_id = next(image_id for image_id in tree.ids[split] if image_id != SWAPPED)
    (tmp_path / f"lid/LID_track3/{split}/{image_id}.JPEG").unlink()
    write_mask(tmp_path / folder.format(split) / f"{image_id}.png", np.zeros((64, 96), np.uint8))
    with pytest.raises(DataError, match=rf"{split}: expected a file of each of \d+ images, missing=\['{image_id}'\]"):
        listed({**tree.source, "masks": "LID_track3/val_masks"})


@pytest.mark.parametrize("suffix", ["JPEG", "jpg"])
def test_where_two_folders_hold_an_image_the_first_wins(tree, tmp_path, suffix):
    own, disk = tmp_path / "lid/LID_track3/val", tmp_path / "ilsvrc/ILSVRC/Data/CLS-LOC/val"
    for image_id in tree.ids["val"]:
        (own / f"{image_id}.JPEG").rename(own / f"{image_id}.{suffix}")
        write_image(disk / f"{image_id}.JPEG", np.zeros((8, 8, 3), np.uint8))
    assert {record.file.parent for record in listed(tree.source).select("val")} == {own}


def test_a_named_folder_without_a_mask_is_refused(tree):
    with pytest.raises(DataError, match=r"LID_track3/val: expected masks, <id>.png, found none among 13 files; likely"):
        listed({**tree.source, "masks": "LID_track3/val"})


# --- lists ------------------------------------------------------------------------------------------------------------


def _rewrite_val_list(tmp_path, number):
    path = tmp_path / "lid/LID_track3/val/val.txt"
    rows = [line.split() for line in path.read_text().splitlines()]
    path.write_text("".join(f"{image_id}.JPEG {number(cls_classes()[int(k)], int(k))}\n" for image_id, k in rows))


@pytest.mark.parametrize(("meaning", "shift"), [("devkit_id", 0), ("devkit_id_minus_1", 1)])
def test_devkit_ids_are_refused_unless_named_and_then_translated(tree, tmp_path, meaning, shift):
    _rewrite_val_list(tmp_path, lambda row, k: row.devkit_id - shift)
    message = rf"in 12 of 12 images: .* all of them agree: set preprocess.source.val_numbers: {meaning}$"
    with pytest.raises(DataError, match=message):
        listed(tree.source)
    manifest = listed({**tree.source, "val_numbers": meaning})
    assert labels_by_id(manifest) == tree.labels


def test_class_indices_read_as_devkit_ids_are_refused(tree):
    with pytest.raises(DataError, match=r"all of them agree: set preprocess.source.val_numbers: class_index$"):
        listed({**tree.source, "val_numbers": "devkit_id_minus_1"})


def test_a_list_of_ids_alone_gets_the_official_labels(tree, tmp_path):
    path = tmp_path / "lid/LID_track3/val/val.txt"
    path.write_text("".join(f"val/{line.split()[0]}.JPEG\n" for line in path.read_text().splitlines()))
    assert labels_by_id(listed(tree.source)) == tree.labels


def test_the_shipped_list_asks_for_every_image_of_the_present_classes(tree):
    with pytest.raises(
        DataError, match=r"val: expected a mask \(<id>.png\) of each of \d+ images, missing=\['ILSVRC2012_val_"
    ):
        listed({**tree.source, "val_list": "shipped"})


def test_val_images_of_absent_classes_are_left_out_and_counted(tree, tmp_path):
    shutil.rmtree(tmp_path / f"ilsvrc/ILSVRC/Data/CLS-LOC/train/{cls_classes()[RIFLE].wnid}")
    manifest = listed(tree.source)
    rifles = [image_id for image_id in tree.ids["val"] if tree.classes[tree.labels[image_id][0]] == "rifle"]
    assert manifest.left_out["val_images_of_absent_classes"] == len(rifles) > 0
    assert ids_by_split(manifest)["val"] == [image_id for image_id in _val_order(tmp_path) if image_id not in rifles]
    assert "rifle" not in manifest.classes
    names = {record.id: manifest.classes[record.labels[0]] for record in manifest.select("val")}
    assert names == {image_id: tree.classes[tree.labels[image_id][0]] for image_id in names}


def _val_order(tmp_path):
    return [line.split()[0] for line in (tmp_path / "lid/LID_track3/val/val.txt").read_text().splitlines()]


# --- what is missing --------------------------------------------------------------------------------------------------


def test_two_roots_that_are_missing_are_both_named_with_the_hint(tree, tmp_path):
    with pytest.raises(DataError) as error:
        listed({**tree.source, "root": str(tmp_path / "none"), "challenge_root": str(tmp_path / "nowhere")})
    text = str(error.value)
    assert f"{tmp_path}/none: expected the CLS-LOC disk of ILSVRC" in text
    assert f"link yours there (`ln -s /path/to/it {tmp_path}/none`) or set preprocess.source.root" in text
    assert f"{tmp_path}/nowhere: expected the list of the test ids in it, found no such folder" in text


def test_all_classes_are_expected_unless_said_otherwise(tree, tmp_path):
    train = tmp_path / "ilsvrc/ILSVRC/Data/CLS-LOC/train"
    with pytest.raises(
        DataError, match=r"train: expected a folder of each of the 1000 classes, missing=\['n01440764', .* 990 in all"
    ):
        listed({**tree.source, "classes": "all"})
    (train / "n01440764.tar").write_bytes(b"")
    with pytest.raises(DataError, match="likely archives that are not unpacked"):
        listed({**tree.source, "classes": "all"})
    (train / "n99999999").mkdir()
    with pytest.raises(DataError, match=r"unknown=\['n99999999'\]"):
        listed(tree.source)


def test_files_that_are_no_images_are_counted(tree, tmp_path):
    folder = next((tmp_path / "ilsvrc/ILSVRC/Data/CLS-LOC/train").iterdir())
    for name in ("._n01_1.JPEG", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    assert listed(tree.source).left_out["files_that_are_no_images"] == 2


def test_masks_in_two_folders_must_be_named(tree, tmp_path):
    masks = tmp_path / "lid/LID_track3/val_masks"
    shutil.copytree(masks, tmp_path / "lid/masks")
    with pytest.raises(DataError, match=r"expected one folder with the masks of the val images, <id>.png, found \["):
        listed(tree.source)
    assert listed({**tree.source, "masks": "masks"}).table["mask"].null_count == 68
    assert listed({**tree.source, "masks": "none"}).table["mask"].null_count == 80


def test_missing_images_masks_and_boxes_are_said_at_once(tree, tmp_path):
    first, second, third = tree.ids["val"][:3]
    (tmp_path / f"lid/LID_track3/val/{first}.JPEG").unlink()
    (tmp_path / f"lid/LID_track3/val_masks/{second}.png").unlink()
    (tmp_path / f"ilsvrc/ILSVRC/Annotations/CLS-LOC/val/{third}.xml").write_text("<annotation><object>")
    with pytest.raises(DataError) as error:
        listed(tree.source)
    text = str(error.value)
    assert f"val: expected a file of each of 12 images, missing=['{first}']" in text
    assert f"val: expected a mask (<id>.png) of each of 12 images, missing=['{second}']" in text
    assert f"{third}.xml: expected an annotation in XML" in text
    assert "3 problems" in text


def test_roots_on_different_disks_keep_their_paths(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").symlink_to(tmp_path / "ilsvrc")
    manifest = listed({**tree.source, "root": "disk"})  # relative here, absolute there
    assert manifest.root.as_posix() == "."
    assert all(record.file.is_file() for record in manifest)
    assert manifest.table["file"][0].as_py().startswith("disk/ILSVRC/Data")


def test_val_images_sorted_into_class_folders_are_found(tree, tmp_path):
    before = {record.id: record.file.name for record in listed(tree.source).select("val")}
    for path in sorted(tmp_path.glob("**/ILSVRC2012_val_*.JPEG")):
        folder = path.parent / f"n0144{int(path.stem[-2:]):04d}"
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    manifest = listed(tree.source)
    assert {record.id: record.file.name for record in manifest.select("val")} == before
    assert all(record.file.is_file() and record.file.parent.name[0] == "n" for record in manifest.select("val"))
