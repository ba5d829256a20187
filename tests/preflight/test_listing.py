"""Lists against files, and which images are decoded."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.inspection import preprocess_settings
from support.preflight import RECIPE, guard, make_disks, make_project, of

from pipeline.core.images import encode_jpeg
from pipeline.package.settings import PackageSettings
from pipeline.preflight import listing, params, run
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row


@pytest.mark.parametrize("make", [shutil.copy, os.link], ids=["same bytes", "same file"])
def test_a_mask_in_place_of_an_image_fails_whatever_is_sampled(
    tmp_path: Path, in_project: Callable[[Path], None], make: Callable[[Path, Path], Any]
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    image = disks.lid / f"LID_track3/val/{disks.mask(5).stem}.JPEG"
    image.unlink()
    make(disks.mask(5), image)
    context = Context(disks.write_params(), sample=0, minutes=0.0)
    guard(params.check_params, context)
    (row,) = of(guard(listing.check_listing, context, run.TRACKS["track3"]), "FAIL")
    assert row.where == image.relative_to(tmp_path).as_posix()
    assert (
        f"expected image '{image.stem}', got its own mask {disks.mask(5).relative_to(tmp_path).as_posix()}" in row.found
    )
    assert row.hint.startswith("likely masks lie in a folder of images")


@pytest.mark.parametrize(("root_is_there", "rows"), [(False, "roots"), (True, "listing")])
def test_what_needs_the_images_names_the_rows_that_say_why_there_are_none(
    tmp_path: Path, in_project: Callable[[Path], None], root_is_there: bool, rows: str
) -> None:
    make_project(tmp_path)
    in_project(tmp_path)
    if root_is_there:
        Path("data/raw/folder").mkdir(parents=True)
    found = list(run.preflight(Context(RECIPE.with_name("folder.yaml"), minutes=0.0)))
    assert rows in {row.check for row in of(found, "FAIL")}
    named = {row.found.partition("could not be listed; ")[2] for row in found}
    assert named == {"", f"see the rows `{rows}`"}


@pytest.mark.parametrize(("labels", "warned"), [("annotations", True), ("image_sets", False)])
def test_annotations_without_object_are_counted_where_labels_come_from_annotations(
    tmp_path: Path, in_project: Callable[[Path], None], labels: str, warned: bool
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    for number in (7, 8, 9):
        disks.xml(disks.det_train(number)).write_text("<annotation></annotation>")
    for path in disks.ilsvrc.glob("ImageSets/DET/train_*.txt"):
        path.write_text(path.read_text().replace(" 1\n", " -1\n"))  # no image has a class
    disks.set("track1.preprocess.source.labels", labels)
    context = Context(disks.write_params(), minutes=0.0)
    guard(params.check_params, context)
    guard(listing.check_listing, context, run.TRACKS["track1"])
    found = [row.found for row in of(guard(listing.check_counts, context, run.TRACKS["track1"]), "WARN")]
    assert ("4 of 19 annotations name no object" in found) is warned
    assert any("annotations name no object" in text for text in found) is warned


def test_the_same_images_are_decoded_every_time(tmp_path: Path, in_project: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    chosen = []
    for seed in (0, 0, 1):
        context = Context(disks.write_params(), sample=5, seed=seed, minutes=0.0)
        guard(params.check_params, context)
        for check in (listing.check_listing, listing.check_images):
            assert not of(guard(check, context, run.TRACKS["track3"]), "FAIL")
        chosen.append([record.id for record in context.good["track3"]])
    assert len(chosen[0]) == 15
    assert chosen[0] == chosen[1] != chosen[2]


def test_every_empty_file_of_val_and_test_fails_whatever_is_sampled(
    tmp_path: Path, in_project: Callable[[Path], None]
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    empty = {disks.lid / f"LID_track3/{split}/{disks.track3.ids[split][2]}.JPEG" for split in ("val", "test")}
    train = disks.cls_train(30)
    for path in (*empty, train):
        path.write_bytes(b"")
    for sample in (0, 1000):
        context = Context(disks.write_params(), sample=sample, minutes=0.0)
        guard(params.check_params, context)
        guard(listing.check_listing, context, run.TRACKS["track3"])
        failed = of(guard(listing.check_images, context, run.TRACKS["track3"]), "FAIL")
        expected = {path.relative_to(tmp_path).as_posix() for path in empty}
        if sample:
            expected.add(train.relative_to(tmp_path).as_posix())
        assert sorted(row.where for row in failed) == sorted(expected), "each once"
        assert all(row.hint.startswith("likely a truncated download") for row in failed)


@pytest.mark.parametrize(
    ("policy", "broken", "levels"),
    [
        ("error", "train", ["FAIL"]),
        ("skip", "train", ["WARN"]),
        ("skip", "val", ["FAIL"]),
        ("skip", "two", ["FAIL"] * 2),
    ],
)
def test_broken_train_images_are_left_out_where_the_settings_say_so(
    tmp_path: Path, in_project: Callable[[Path], None], policy: str, broken: str, levels: list[str]
) -> None:
    """Two of fifteen are more than a tenth, which the stage refuses, too."""
    in_project(tmp_path)
    root = tmp_path / "photographs"
    root.mkdir()
    rows = [(f"{n}.jpg", "train" if n < 15 else "val") for n in range(20)]
    for n, (name, _) in enumerate(rows):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)
        (root / name).write_bytes(encode_jpeg(pixels))
    for n in {"train": [0], "val": [15], "two": [0, 1]}[broken]:
        (root / f"{n}.jpg").write_text("no image")
    (root / "index.csv").write_text("image,labels,split\n" + "".join(f"{name},cat,{split}\n" for name, split in rows))
    (root / "classes.txt").write_text("cat\n")
    context, track = Context(Path("params.yaml")), run.TRACKS["track3"]
    settings = replace(
        preprocess_settings({"name": "folder", "root": str(root), "masks": "labels"}), on_bad_image=policy
    )
    context.settings["track3"] = {"preprocess": settings, "package": PackageSettings("val")}
    guard(listing.check_listing, context, track)
    found = [row for row in guard(listing.check_images, context, track) if row.found.startswith("expected")]
    assert [row.level for row in found] == levels


def rows_of_a_folder(root: Path, index: str) -> list[Row]:
    """What the listing and the counts of a folder with this index find."""
    (root / "index.csv").write_text(f"image,labels,split\n{index}")
    (root / "classes.txt").write_text("cat\ndog\n")
    source = {"name": "folder", "root": str(root), "masks": "labels"}
    context, track = Context(Path("params.yaml")), run.TRACKS["track3"]
    context.settings["track3"] = {"preprocess": preprocess_settings(source), "package": PackageSettings("test")}
    found = guard(listing.check_listing, context, track)
    return found + (guard(listing.check_counts, context, track) if context.listings["track3"].manifest else [])


def test_a_mistake_in_an_index_is_one_row_that_sends_nobody_to_an_archive(tmp_path: Path) -> None:
    (row,) = of(rows_of_a_folder(tmp_path, "".join(f"{n}.jpg,cat,valid\n" for n in range(9))), "FAIL")
    assert (row.where, row.found[:15]) == ("line 2, '0.jpg' and 8 more rows: split", "expected one of")
    assert row.hint == "did you mean 'val'?"
    (row,) = of(rows_of_a_folder(tmp_path, "a.jpg,cat;dog,train\n"), "FAIL")
    assert "separated by spaces" in row.found
    assert row.hint == "correct the folder, index.csv or classes.txt"


def test_labels_that_are_on_every_train_image_are_named(tmp_path: Path) -> None:
    rest = "v.jpg,dog,val\nt.jpg,,test\n"
    found = rows_of_a_folder(tmp_path, f"a.jpg,cat dog,train\nb.jpg,cat dog,train\n{rest}")
    assert any("expected train images that differ in their labels, got ['cat', 'dog']" in row.found for row in found)
    found = of(rows_of_a_folder(tmp_path, f"a.jpg,cat dog,train\nb.jpg,dog,train\n{rest}"), "WARN")
    assert any("found ['dog'] on every training image" in row.found for row in found)
