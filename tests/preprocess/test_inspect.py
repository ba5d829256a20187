"""What the inspection of the files finds, on small folders made by hand."""

import csv
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pytest
from support.cluster import network
from support.inspection import inspected, listed, preprocess_settings
from support.trees import write_image, write_mask

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.manifest import Manifest, from_rows, make_rows
from pipeline.core.scratch import Scratch
from pipeline.preprocess import inspect as module
from pipeline.preprocess.image_header import read_header
from pipeline.preprocess.inspect import inspect
from pipeline.preprocess.known_defects import RULES
from pipeline.preprocess.summary import summarize

WIDTH, HEIGHT = 12, 8


class Folder:
    """Five images of two classes in the `folder` layout; each test breaks one thing."""

    def __init__(self, root):
        self.root = root
        self.rows = [
            {
                "image": f"{name}.jpg",
                "labels": label,
                "split": split,
                "mask": f"{name}.png" if split == "val" else "",
                "boxes": "",
            }
            for name, label, split in [
                ("a", "cat", "train"),
                ("b", "dog", "train"),
                ("c", "cat", "val"),
                ("d", "dog", "val"),
                ("e", "", "test"),
            ]
        ]
        for row in self.rows:
            write_image(root / row["image"], np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        self.mask("c", 255)
        self.mask("d", 255)

    def mask(self, name, value, shape=(HEIGHT, WIDTH)):
        mask = np.zeros(shape, np.uint8)
        mask[2:4] = value
        write_mask(self.root / f"{name}.png", mask)

    def source(self, masks="foreground"):
        (self.root / "classes.txt").write_text("cat\ndog\n")
        with (self.root / "index.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return {"name": "folder", "root": str(self.root), "masks": masks}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_sizes_and_bytes_are_filled_in(folder):
    for level in ("header", "decode"):
        manifest = inspected(folder.source(), check=level).manifest
        assert [(record.width, record.height) for record in manifest] == [(WIDTH, HEIGHT)] * 5
        assert [record.bytes for record in manifest] == [record.file.stat().st_size for record in manifest]
    assert [record.width for record in inspected(folder.source(), check="list").manifest] == [0] * 5


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_refused(folder, split):
    folder.rows = [row for row in folder.rows if row["split"] != split]
    with pytest.raises(DataError, match=rf"expected images in splits .*, found none in \['{split}'\]; got {{"):
        inspected(folder.source(), check="list")


def test_a_class_without_a_training_image_is_refused(folder):
    folder.rows[1]["labels"] = "cat"
    with pytest.raises(
        DataError, match=r"expected a training image of every class, found none of \['dog'\]; likely a class list"
    ):
        inspected(folder.source())


def test_an_image_in_two_splits_is_refused(folder, tmp_path):
    manifest = listed(folder.source())
    twice = Manifest(
        pa.concat_tables([manifest.table, manifest.table.slice(1, 1)]), manifest.classes, manifest.root, "foreground"
    )
    with pytest.raises(
        DataError, match=r"expected every image id once in all splits, got some twice: \['b'\]; likely one image in"
    ):
        inspect(twice, preprocess_settings(folder.source(), check="list"))


def test_all_bad_files_are_named_in_one_message(folder):
    (folder.root / "a.jpg").write_bytes(b"no image")
    (folder.root / "b.jpg").write_bytes((folder.root / "b.jpg").read_bytes()[:180])
    folder.mask("c", 255, shape=(WIDTH, HEIGHT))
    (folder.root / "d.png").unlink()
    folder.rows[4]["boxes"] = "0 0 12 3"
    with pytest.raises(DataError) as error:
        inspected(folder.source())
    first, *lines = str(error.value).splitlines()
    assert first == f"{folder.root}: 5 bad files:"
    for line, expected in zip(
        lines,
        [
            f"{folder.root}/a.jpg: expected an image, got a file that cannot be read as one",
            f"{folder.root}/b.jpg: expected an image, got a file that cannot be",
            f"{folder.root}/c.png: expected the size of its image, 12x8 (width x height), got 8x12; likely width and "
            "height",
            f"{folder.root}/d.png: expected an image, found no file",
            f"{folder.root}/e.jpg: expected boxes inside 12x8 (width x height), got 0 0 12 3; corners are inclusive",
        ],
        strict=True,
    ):
        assert line.strip().startswith(expected)


def test_an_image_cut_in_its_pixels_is_found_by_decoding_alone(folder):
    whole = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    write_image(folder.root / "a.jpg", whole)
    data = (folder.root / "a.jpg").read_bytes()
    (folder.root / "a.jpg").write_bytes(data[:700])  # the header, and a little of the image
    assert read_header(folder.root / "a.jpg").width == 96
    inspected(folder.source(), check="header")
    with pytest.raises(DataError, match=r"a.jpg: expected an image, got a file that cannot be decoded; likely a trunc"):
        inspected(folder.source(), check="decode")


def test_unreadable_train_images_can_be_skipped_and_are_named(folder):
    folder.rows.insert(0, {**folder.rows[0], "image": "f.jpg"})
    (folder.root / "f.jpg").write_bytes(b"")
    inspection = inspected(folder.source(), on_bad_image="skip")
    assert inspection.manifest.ids() == ["a", "b", "c", "d", "e"]
    assert len(inspection.skipped) == 1
    assert inspection.skipped[0].startswith(f"{folder.root}/f.jpg: expected an image")
    assert summarize(inspection)["skipped"] == inspection.skipped
    assert summarize(inspection)["splits"]["train"]["images"] == 2


@pytest.mark.parametrize("name", ["c", "e"])
def test_val_and_test_images_are_never_skipped(folder, name):
    (folder.root / f"{name}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=rf"1 bad files:\n  .*{name}.jpg: expected an image"):
        inspected(folder.source(), on_bad_image="skip")


def test_long_lists_of_bad_files_are_cut_with_a_count(folder):
    folder.rows += [{**folder.rows[0], "image": f"x{n}.jpg"} for n in range(30)]
    with pytest.raises(DataError) as error:
        inspected(folder.source())
    assert len(str(error.value).splitlines()) == 22
    assert str(error.value).endswith("  … 30 in all")


# --- masks ------------------------------------------------------------------------------------------------------------


def test_the_kind_of_masks_is_found_out(folder):
    assert inspected(folder.source("auto")).manifest.mask_kind == "foreground"
    folder.mask("c", 1)
    folder.mask("d", 2)
    assert inspected(folder.source("auto")).manifest.mask_kind == "labels"


def test_a_mask_value_outside_the_classes_is_refused(folder):
    folder.mask("c", 1)
    folder.mask("d", 7)
    with pytest.raises(
        DataError, match=r"d.png: expected mask values 0..2 or 255, got \[7\]; likely a mask of other classes, or set"
    ):
        inspected(folder.source("labels"))


def test_a_wrong_mask_is_named_where_it_lies(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("masks")
    for name, value in (("c", 1), ("d", 7)):
        folder.mask(name, value)
        (folder.root / f"{name}.png").rename(elsewhere / f"{name}.png")
    source = folder.source("labels")
    manifest = replace(listed(source), mask_root=elsewhere)
    with pytest.raises(DataError, match=rf"{elsewhere}/d.png: expected mask values 0..2 or 255, got \[7\]"):
        inspect(manifest, preprocess_settings(source))


def test_class_ids_read_as_foreground_are_refused(folder):
    folder.mask("c", 1)
    with pytest.raises(
        DataError,
        match=r"c.png: expected mask values 0 and 255, got \[1\]; foreground is above 128: save objects as 255",
    ):
        inspected(folder.source("foreground"))


def test_a_colored_mask_is_refused(folder):
    write_image(folder.root / "c.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(DataError, match=r"c.png: expected a mask with one 8-bit channel \(mode L or P\), got mode RGB"):
        inspected(folder.source())


@pytest.mark.parametrize(("kind", "value"), [("foreground", 0), ("labels", 0), ("labels", 255)])
def test_masks_without_foreground_are_counted(folder, kind, value):
    folder.mask("c", value)
    folder.mask("d", 255 if kind == "foreground" else 2)
    assert summarize(inspected(folder.source(kind)))["quirks"]["masks_without_foreground"]["ids"] == ["c"]


def test_a_listing_cannot_find_out_the_kind(folder):
    with pytest.raises(
        SettingsError, match=r"check is 'list', source.masks is 'auto': expected 'foreground' or 'labels'"
    ):
        inspected(folder.source("auto"), check="list")


def test_no_processes_at_all_are_refused(folder):
    with pytest.raises(SettingsError, match="jobs: expected a number of processes, or -1 for all cores, got 0"):
        inspected(folder.source(), jobs=0)


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report_counts_what_there_is(folder):
    folder.rows[0]["labels"] = ""
    folder.rows.append({**folder.rows[1], "image": "f.jpg", "labels": "cat dog"})
    write_image(folder.root / "f.jpg", np.zeros((30, 20, 3), np.uint8))  # and all others are of one color, too
    folder.rows[4]["boxes"] = "0 0 3 3; 1 1 2 2"
    report = summarize(inspected(folder.source()))
    assert report["splits"]["train"] == {
        "images": 3,
        "with_mask": 0,
        "with_boxes": 0,
        "classes_per_image": {"0": 1, "1": 1, "2": 1},
        "width": [12, 20],
        "height": [8, 30],
        "bytes": sum((folder.root / f"{name}.jpg").stat().st_size for name in "abf"),
    }
    assert (report["splits"]["val"]["with_mask"], report["splits"]["test"]["with_boxes"]) == (2, 1)
    assert report["train_images_per_class"] == {"cat": 1, "dog": 2}
    assert (report["classes"], report["mask_kind"], report["left_out"], report["skipped"]) == (2, "foreground", {}, [])
    assert report["quirks"]["images_without_label"] == {
        "rule": RULES["images_without_label"],
        "images": 1,
        "ids": ["a"],
    }
    assert set(report["quirks"]) == set(RULES)
    met = {rule: about["images"] for rule, about in report["quirks"].items() if about["images"]}
    assert met == {"images_without_label": 1, "one_color_images": 6}


def test_a_quirk_names_some_ids_and_counts_all(folder):
    folder.rows += [{**folder.rows[0], "image": f"x{n:02d}.jpg"} for n in range(30)]
    for n in range(30):
        write_image(folder.root / f"x{n:02d}.jpg", np.zeros((4, 4, 3), np.uint8), "grey_images")
    grey = summarize(inspected(folder.source()))["quirks"]["grey_images"]
    assert (grey["images"], grey["ids"]) == (30, [f"x{n:02d}" for n in range(20)])


# --- the table --------------------------------------------------------------------------------------------------------


def test_rows_made_by_columns_equal_rows_made_one_by_one(tmp_path):
    columns = make_rows(
        3, id=["a", "b", "c"], file=["a.jpg", "b.jpg", "c.jpg"], split="val", labels=[[0], [], [1, 2]], mask=None
    )
    rows = [
        {"id": name, "file": f"{name}.jpg", "width": 0, "height": 0, "labels": labels, "split": "val", "bytes": 0}
        for name, labels in (("a", [0]), ("b", []), ("c", [1, 2]))
    ]
    assert columns.equals(from_rows(rows, ["x"], tmp_path, "labels").table)
    assert make_rows(0).num_rows == 0
    with pytest.raises(ValueError, match=r"expected columns of .*, got \['lables'\]"):
        make_rows(1, id=["a"], lables=[[0]])


def test_masks_of_0_and_1_are_not_taken_for_class_1_in_silence(tmp_path):
    folder = Folder(tmp_path)
    folder.mask("c", 1)
    folder.mask("d", 1)
    with pytest.raises(DataError, match="got 0 and 1 only; likely foreground masks saved as 0 and 1"):
        inspected(folder.source(masks="auto"), check="decode")


def test_what_a_stopped_stage_has_found_is_not_looked_at_again(folder, tmp_path, monkeypatch):
    """Chunks of two images; the last image is changed meanwhile, so its chunk is looked at again."""
    monkeypatch.setattr(module, "CHUNK", 2)
    source = folder.source()
    manifest, settings = listed(source), preprocess_settings(source, jobs=1)
    scratch, looked = Scratch(tmp_path / "scratch"), []
    plain = module.inspect_record

    def look(record, *rest):
        if len(looked) == 4:
            raise InterruptedError
        looked.append(record.id)
        return plain(record, *rest)

    monkeypatch.setattr(module, "inspect_record", look)
    with pytest.raises(InterruptedError):
        inspect(manifest, settings, scratch)
    assert len(scratch.names("")) == 2
    folder.mask("d", 200)  # of the second chunk
    looked.clear()
    found = inspect(manifest, settings, scratch)
    assert looked == ["c", "d", "e"]
    monkeypatch.setattr(module, "inspect_record", plain)
    assert found.manifest.table.equals(inspect(manifest, settings).manifest.table)


def test_workers_elsewhere_get_paths_and_return_findings(folder, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    source = folder.source()
    manifest, settings = listed(source), preprocess_settings(source, jobs=1)
    alone = inspect(manifest, settings)
    with network() as cluster:
        assert inspect(manifest, settings).manifest.table.equals(alone.manifest.table)
    assert (cluster.tasks, cluster.sent) == (3, [])


# --- what would be found a day later ----------------------------------------------------------------------------------


def test_more_than_a_tenth_of_the_train_images_is_not_skipped(folder):
    folder.rows += [{**folder.rows[0], "image": f"x{n}.jpg"} for n in range(18)]  # 20 train images
    for n in range(18):
        shutil.copy(folder.root / "a.jpg", folder.root / f"x{n}.jpg")
    for n in (0, 1):
        (folder.root / f"x{n}.jpg").write_bytes(b"")
    assert len(inspected(folder.source(), on_bad_image="skip").skipped) == 2
    (folder.root / "x2.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="3 bad files, more than a tenth of 20 train images, which on_bad_image: skip"):
        inspected(folder.source(), on_bad_image="skip")


@pytest.mark.parametrize("labels", [["cat", "cat"], ["cat dog", "dog cat"]])
def test_labels_that_are_the_same_on_every_train_image_are_refused(folder, labels):
    folder.rows[0]["labels"], folder.rows[1]["labels"] = labels
    source = folder.source()
    (folder.root / "classes.txt").write_text("cat\ndog\n" if " " in labels[0] else "cat\n")
    folder.rows[3]["labels"] = "cat"
    source = {**folder.source(), **source}
    if " " not in labels[0]:
        (folder.root / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"expected train images that differ in their labels, got \['cat'"):
        inspected(source)


def test_one_class_with_images_without_it_is_enough(folder):
    folder.rows[1]["labels"], folder.rows[3]["labels"] = "", "cat"
    source = folder.source()
    (folder.root / "classes.txt").write_text("cat\n")
    report = summarize(inspected(source))
    assert report["classes_on_every_training_image"] == []


def test_a_class_on_every_train_image_is_reported(folder):
    folder.rows[0]["labels"] = "cat dog"
    assert summarize(inspected(folder.source()))["classes_on_every_training_image"] == ["dog"]


@pytest.mark.parametrize("value", [77, 100, 128])
def test_a_foreground_that_is_not_above_128_is_refused_if_no_mask_has_another(folder, value):
    folder.mask("c", value)
    assert inspected(folder.source("foreground")).manifest.mask_kind == "foreground"
    folder.mask("d", value)
    with pytest.raises(DataError, match=rf"got none; values above 0 are \[{value}\]; likely"):
        inspected(folder.source("foreground"))


def test_masks_of_which_none_has_foreground_are_refused_together(folder):
    for name in ("c", "d"):
        folder.mask(name, [[1], [2]])
    with pytest.raises(DataError, match=r"expected masks with foreground, which is above 128, got none; .* \[1, 2\]"):
        inspected(folder.source("foreground"))
    folder.mask("d", 129)
    assert inspected(folder.source("foreground")).manifest.mask_kind == "foreground"


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_of_16_bits_are_refused_only_if_all_of_them_are_dark(folder, split):
    def add(name, top):
        pixels = np.linspace(0, top, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
        cv2.imwrite(str(folder.root / f"{name}.png"), pixels)
        labels = "cat" if split == "train" else ""
        folder.rows.append({"image": f"{name}.png", "labels": labels, "split": split, "mask": "", "boxes": ""})

    add("x", 255)
    add("y", 1023)
    add("black", 0)
    expected = "expected levels up to 65535 in 16 bits, got at most 1023 in all 2 images .* likely levels of 10 bits"
    with pytest.raises(DataError, match=expected):
        inspected(folder.source(), on_bad_image="skip")
    assert len(inspected(folder.source(), check="header").manifest) == 8
    add("z", 4096)
    found = summarize(inspected(folder.source()))["quirks"]["dark_16_bit_images"]
    assert (found["images"], found["ids"]) == (2, ["x", "y"])


def test_images_of_one_color_are_counted_where_they_are_decoded(folder):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for name in "abcd":
        write_image(folder.root / f"{name}.jpg", noise)
    found = summarize(inspected(folder.source()))["quirks"]["one_color_images"]
    assert (found["images"], found["ids"]) == (1, ["e"])
