"""A run, its submission and a folder of predictions give the same instances; a zip alone gives what it knows."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import write_png
from support.prediction import CLASSES, Finished

from pipeline.core.archives import write_zip
from pipeline.core.errors import DataError, SettingsError, StoreError, SubmissionError
from pipeline.core.files import read_json, write_json
from pipeline.core.images import decode_png, encode_jpeg, encode_png
from pipeline.core.manifest import read_manifest, write_manifest
from pipeline.export.images import ExportImage
from pipeline.export.sources import Choices, Source, open_source
from pipeline.predict import Predictor, predict_files

Runs = dict[str, Finished]


def content(image: ExportImage) -> Any:
    return image.name, image.shape, [(one.class_name, one.score, one.box, one.area) for one in image.instances]


def contents(source: Source) -> list[Any]:
    return [content(image) for image in source.images]


def zip_of(run: Finished) -> Path:
    return run.folder.parents[1] / "submissions" / f"{run.folder.name}.zip"


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_a_run_its_zip_and_predictions_of_its_images_are_the_same(runs: Runs, track: str, tmp_path: Path) -> None:
    run = runs[track]
    source = open_source(run.folder)
    assert (source.count, source.class_names, source.track.name) == (8, CLASSES, track)
    known = contents(source)
    assert [name for name, _, _ in known] == [f"val_{n}" for n in range(8)]
    assert sum(len(instances) for _, _, instances in known) >= 8
    assert contents(open_source(zip_of(run))) == known
    predict_files(Predictor(run.folder, device="cpu", precision="fp32"), run.images, tmp_path)
    predicted = contents(open_source(tmp_path, Choices(min_area=0)))
    assert [name for name, _, _ in predicted] == [name for name, _, _ in known]
    for (_, shape, found), (_, wanted, expected) in zip(predicted, known, strict=True):
        assert shape == wanted
        assert [(one[0], *one[2:]) for one in found] == [(one[0], *one[2:]) for one in expected]
        assert [one[1] for one in found] == pytest.approx([one[1] for one in expected], abs=0.002)
    listed = {entry["name"]: entry for entry in read_json(tmp_path / "predictions.json")["images"]}
    assert any(entry["left_out"] for entry in listed.values())
    for image in open_source(tmp_path).images:  # with the least area of the call
        assert [list(one.box) for one in image.instances] == [one["box"] for one in listed[image.name]["instances"]]
        assert image.left_out == listed[image.name]["left_out"]


def test_the_pixels_are_those_of_the_stored_prediction(runs: Runs) -> None:
    run = runs["track3"]
    threshold = read_json(run.folder / "evaluate.json")["peak_threshold"]
    source = open_source(run.folder)
    assert (source.threshold, source.threshold_rule) == (threshold, "peak threshold of split val")
    for image in source.images:
        mask = np.zeros(image.shape, bool)
        for one in image.instances:
            mask |= one.mask
        stored = decode_png(run.refined.read(image.name)["after"], image.name)
        np.testing.assert_array_equal(mask, stored >= threshold)
        top = int(run.maps.read(image.name)["classes"][0])
        assert {one.class_id for one in image.instances} <= {top + 1}
        assert image.file == run.images[int(image.name[-1])]
        assert image.file_name == f"{image.name}.png"


def test_a_given_threshold_and_a_least_area(runs: Runs, tmp_path: Path) -> None:
    run = runs["track3"]
    low = open_source(run.folder, Choices(threshold=0))
    assert (low.threshold, low.threshold_rule) == (0, "given")
    assert all([one.area for one in image.instances] == [image.shape[0] * image.shape[1]] for image in low.images)
    large = open_source(run.folder, Choices(threshold=0, min_area=64 * 48 + 1))
    left = {image.name: image.left_out for image in large.images}
    assert set(left.values()) == {0, 1}
    with pytest.raises(SettingsError, match=r"min_area: expected pixels, or below 1 a share of the image, .* got -1"):
        open_source(run.folder, Choices(min_area=-1))
    with pytest.raises(SettingsError, match="threshold: expected none for track1"):
        open_source(runs["track1"].folder, Choices(threshold=3))
    with pytest.raises(SettingsError, match="threshold: expected none for track1"):
        open_source(alone(zip_of(runs["track1"]), tmp_path), Choices(threshold=3, track="track1"))


def test_images_are_found_from_any_folder(runs: Runs, tmp_path: Path) -> None:
    """A manifest names its root from the folder that the chain runs in."""
    checkout = tmp_path / "checkout"
    shutil.copytree(runs["track3"].folder.parents[1], checkout)
    folder = checkout / "data" / "track3"
    manifest = read_manifest(folder / "manifest")
    write_manifest(folder / "manifest", replace(manifest, root=Path("images")))
    for path in (folder, checkout / "submissions" / "track3.zip"):
        for image in open_source(path).images:
            assert image.file == checkout / "images" / f"{image.name}.png"
            assert image.file_name == f"{image.name}.png"


def test_a_split_without_predictions_is_named(runs: Runs) -> None:
    with pytest.raises(
        StoreError, match=r"expected predictions of split train, found none; there are those of \['val'\]"
    ):
        open_source(runs["track3"].folder, Choices(split="train"))


def alone(path: Path, folder: Path) -> Path:
    """A copy of a zip where no run is beside it."""
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(path, folder / path.name))


def test_a_zip_alone_knows_no_names(runs: Runs, tmp_path: Path) -> None:
    three = alone(zip_of(runs["track3"]), tmp_path)
    with pytest.raises(SettingsError, match=r"track3\.zip: expected to know its track"):
        open_source(three)
    source = open_source(three, Choices(track="track3"))
    assert (source.class_names, source.threshold) == (("object",), 128)
    assert source.threshold_rule == "half of 255: no threshold is known of a zip alone"
    assert next(iter(source.images)).file_name == "val_0.jpg"
    one = open_source(alone(zip_of(runs["track1"]), tmp_path), Choices(track="track1", classes=3))
    assert one.class_names == ("1", "2", "3")
    assert {instance.score for image in one.images for instance in image.instances} == {1.0}
    with pytest.raises(SettingsError, match=r"threshold: expected a whole number in 0\.\.255, got 256"):
        open_source(three, Choices(track="track3", threshold=256))


def test_a_zip_with_what_else_is_known(runs: Runs, tmp_path: Path) -> None:
    run = runs["track1"]
    copied = alone(zip_of(run), tmp_path)
    named = tmp_path / "names.txt"
    named.write_text("ant\nbee\ncow\n")
    images = run.images[0].parent
    source = open_source(copied, Choices(track="track1", class_names=named, images=images))
    assert source.class_names == CLASSES
    assert next(iter(source.images)).file == images / "val_0.png"
    assert contents(open_source(copied, Choices(run=run.folder))) == contents(open_source(run.folder))
    with pytest.raises(SettingsError, match=r"expected track1, as its run .*, got track3"):
        open_source(copied, Choices(run=run.folder, track="track3"))
    with pytest.raises(DataError, match="expected one name: a score map does not say its class, got 3"):
        open_source(copied, Choices(track="track3", class_names=named))


def test_the_images_of_a_zip_may_lie_in_class_folders(tmp_path: Path) -> None:
    photo = tmp_path / "photos/big cat/1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(encode_jpeg(np.zeros((1, 2, 3), np.uint8)))
    write_zip(tmp_path / "x.zip", [("big cat__1.png", encode_png(np.array([[0, 1]], np.uint8)))])
    source = open_source(tmp_path / "x.zip", Choices(track="track1", classes=1, images=tmp_path / "photos"))
    assert [image.file for image in source.images] == [photo]


def test_zips_that_break_the_rules_are_refused(runs: Runs, tmp_path: Path) -> None:
    pixels = np.array([[0, 4]], np.uint8)
    write_zip(tmp_path / "x.zip", [("a.png", encode_png(pixels))])
    with pytest.raises(SubmissionError, match=r"a: expected values 0\.\.3, got \[4\]"):
        open_source(tmp_path / "x.zip", Choices(track="track1", classes=3))
    with pytest.raises(StoreError, match=r"expected the images of the zip, missing=\['a'\]; likely another run"):
        open_source(tmp_path / "x.zip", Choices(run=runs["track3"].folder))
    (tmp_path / "y.zip").write_bytes(b"no zip")
    with pytest.raises(SubmissionError, match=r"y\.zip"):
        open_source(tmp_path / "y.zip", Choices(track="track3"))


def test_a_list_of_an_earlier_version_and_a_lost_file_are_named(tmp_path: Path) -> None:
    write_json(tmp_path / "predictions.json", {"images": []})
    with pytest.raises(StoreError, match=r"expected the list of `lid predict`, got another file .*predict again"):
        open_source(tmp_path)
    entry = {"name": "a", "file": "a.jpg", "classes": [{"class_id": 1, "probability": 1.0}], "instances": []}
    about = {"track": "track3", "class_names": ["ant"], "threshold": 9, "threshold_rule": "given", "images": [entry]}
    write_json(tmp_path / "predictions.json", about)
    with pytest.raises(StoreError, match=r"scores/a\.png: expected a prediction, found no file"):
        contents(open_source(tmp_path))
    write_png(tmp_path / "scores" / "a.png", np.array([[8, 9, 8, 200]], np.uint8))
    (found,) = contents(open_source(tmp_path))
    assert found == ("a", (1, 4), [("ant", 9 / 255, (1, 0, 1, 0), 1), ("ant", 200 / 255, (3, 0, 3, 0), 1)])
