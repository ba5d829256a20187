"""Twelve images of mixed kinds and four files that are none: all outputs, and a reason for what was left out."""

import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.broken_images import BROKEN, FORMATS, UNUSUAL
from support.helpers import ROOT
from support.prediction import Finished, write_photos

from pipeline.core.errors import DataError, MapError, StoreError
from pipeline.core.files import read_json
from pipeline.core.images import decode_png, read_rgb
from pipeline.extract.plan import Job
from pipeline.predict import ImagePrediction, Predictor, predict_files
from pipeline.predict.files import Summary, _batches, draw
from pipeline.predict.paths import find_images

Runs = dict[str, Finished]
NAMES = ["PLAIN", "alpha", "bilevel", "cmyk", "gray", "palette", "scan", "sixteen", "strip", "strip-2", "turned", "web"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "in")
    return folder / "in"


@pytest.fixture(scope="module", params=["track1", "track3", "track1 with a student", "track3 with a student"])
def predictor(request: pytest.FixtureRequest, runs: Runs, taught: Runs) -> Predictor:
    track, _, student = request.param.partition(" ")
    return Predictor((taught if student else runs)[track].folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def out(predictor: Predictor, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    summary = predict_files(predictor, [photos], folder)
    assert summary.images == 12
    assert {Path(file).name for file in summary.skipped} == {"broken.jpg", "empty.png", "huge.png"}
    assert summary.report == folder / "predictions.json"
    assert summary.stage == predictor.stage
    return folder


def entries(out: Path) -> dict[str, Any]:
    return {entry["name"]: entry for entry in read_json(out / "predictions.json")["images"]}


def test_every_image_has_a_mask_a_score_map_and_an_overlay_of_its_size(out: Path, predictor: Predictor) -> None:
    for folder, suffix in (("masks", ".png"), ("scores", ".png"), ("overlays", ".jpg")):
        assert sorted(path.name for path in (out / folder).iterdir()) == sorted(f"{name}{suffix}" for name in NAMES)
    for name, entry in entries(out).items():
        size = tuple(entry["size"])
        for file in (out / "masks" / f"{name}.png", out / "scores" / f"{name}.png"):
            with Image.open(file) as image:
                assert (image.mode, image.size) == ("L", size)
        with Image.open(out / "overlays" / f"{name}.jpg") as image:
            assert (image.mode, image.size) == ("RGB", size)
        mask, score = (
            decode_png((out / folder / f"{name}.png").read_bytes(), name).astype(int) for folder in ("masks", "scores")
        )
        expected = score >= predictor.threshold if predictor.track == "track3" else score > 0
        np.testing.assert_array_equal(mask, 255 * expected)


def test_stored_pixels_are_predicted_whatever_exif_says(out: Path) -> None:
    assert entries(out)["turned"]["size"] == [64, 48]


def test_the_list_holds_what_the_masks_show(out: Path, predictor: Predictor, photos: Path) -> None:
    report = read_json(out / "predictions.json")
    assert (report["track"], report["threshold"]) == (predictor.track, predictor.threshold)
    assert report["threshold_rule"] == predictor.threshold_rule
    assert report["stage"] == predictor.stage
    found = [entry["file"] for entry in report["images"]]
    assert found == sorted(found)
    listed = {str(file) for file in find_images([photos])[0]}
    assert {*found, *(entry["file"] for entry in report["skipped"])} == listed
    assert report["totals"] == {
        "images": 12, "skipped": 3, "instances": sum(len(entry["instances"]) for entry in report["images"]),
        "left_out": sum(entry["left_out"] for entry in report["images"]),
    }  # fmt: skip
    for name, entry in entries(out).items():
        mask = decode_png((out / "masks" / f"{name}.png").read_bytes(), name) > 0
        least = report["min_area"] * mask.size
        areas = [one["area"] for one in entry["instances"]]
        assert all(area >= least for area in areas)
        assert sum(areas) <= mask.sum() < sum(areas) + max(1, entry["left_out"] * least)
        if entry["instances"] and not entry["left_out"]:
            rows, columns = np.nonzero(mask)
            boxes = np.array([one["box"] for one in entry["instances"]])
            around = [boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()]
            assert around == [columns.min(), rows.min(), columns.max(), rows.max()]
        assert {one["class_id"] for one in entry["instances"]} <= {one["class_id"] for one in entry["classes"]}
        likely = [one["probability"] for one in entry["classes"]]
        assert likely == sorted(likely, reverse=True)


def test_reasons_are_given(out: Path) -> None:
    reasons = {Path(one["file"]).name: one["reason"] for one in read_json(out / "predictions.json")["skipped"]}
    assert reasons["broken.jpg"].startswith("expected an image, got a file that can")
    assert reasons["empty.png"].startswith("expected an image, got a file that cannot be read as one")
    assert reasons["huge.png"] == "expected at most 100000000 pixels, got 20000x6000"


def test_a_file_is_predicted_as_its_array(out: Path, predictor: Predictor, photos: Path) -> None:
    """Of three formats and sizes: what is written is what the predictor says."""
    for name, file in (("strip", "deep/strip.jpg"), ("strip-2", "strip.png"), ("sixteen", "deep/sixteen.png")):
        one = predictor.predict(photos / file)
        written = decode_png((out / "scores" / f"{name}.png").read_bytes(), name)
        assert np.abs(written.astype(int) - one.prediction).max() <= 1  # in a batch there, alone here
        with Image.open(out / "overlays" / f"{name}.jpg") as overlay:
            drawn = np.asarray(overlay).astype(int)
        assert np.abs(drawn - draw(read_rgb(photos / file), one)).mean() < 12  # JPEG


def test_twice_gives_the_same_bytes_and_outputs_are_no_inputs(
    out: Path, predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(photos, tmp_path / "in")
    inside = copied / "predicted"
    for given in (copied, str(copied)):
        assert predict_files(predictor, given, inside).images == 12
    written = [path.relative_to(out) for path in sorted(out.rglob("*.png")) + sorted(out.rglob("*.jpg"))]
    assert len(written) == 36
    for file in written:
        assert (inside / file).read_bytes() == (out / file).read_bytes()


def test_a_prediction_that_fails_is_skipped_and_the_others_of_its_batch_are_not(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = read_rgb(photos / "web.webp")
    unwatched = predictor.predict_batch

    def failing(images: Sequence[Any]) -> list[ImagePrediction]:
        for n, image in enumerate(images):
            if np.array_equal(image, bad):
                raise MapError(f"image {n:09d}: expected finite values")
        return unwatched(images)

    monkeypatch.setattr(predictor, "predict_batch", failing)
    summary = predict_files(predictor, [photos / "PLAIN.JPEG", photos / "web.webp", photos / "palette.png"], tmp_path)
    assert summary.images == 2
    assert summary.skipped == {str(photos / "web.webp"): "expected finite values"}


def test_a_folder_of_others_is_not_replaced_by_the_page(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"gallery: expected no such folder, .* found \['mine\.jpg'\]; choose another"):
        predict_files(predictor, photos / "scan.tif", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]
    summary = predict_files(predictor, photos / "scan.tif", tmp_path, shown=0)
    assert (summary.page, (tmp_path / "gallery" / "mine.jpg").read_bytes()) == (None, b"mine")


def test_paths_that_lead_to_no_image_are_refused_and_single_ones_are_listed(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    message = r"expected images to predict, found none \(nothing\.jpg: expected an image, found no file\)"
    with pytest.raises(DataError, match=message):
        predict_files(predictor, ["nothing.jpg"], tmp_path)
    summary = predict_files(predictor, ["nothing.jpg", photos / "scan.tif"], tmp_path)
    assert (summary.images, summary.skipped) == (1, {"nothing.jpg": "expected an image, found no file"})


def test_the_example_of_the_page_runs(
    runs: Runs, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs/predictor.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    (example,) = [text for text in examples if "predict_files(" in text]
    runs["track3"].copied(tmp_path / "data" / "track3")
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "more").mkdir()
    for copy in ("photo.jpg", "more/photo.jpg"):
        shutil.copy(photos / "turned.jpg", tmp_path / copy)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "predictor.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"(ant|bee|cow) \(48, 64\) \[(\(\d+, \d+, \d+, \d+\)(, )?)*\]", first)
    assert second.startswith("13 {'photos/broken.jpg': ")


@pytest.mark.parametrize(
    ("images", "skipped", "many"),
    [(1, 1, False), (0, 1, True), (17, 2, True), (18, 2, False), (90, 10, False), (89, 11, True)],
)
def test_more_than_a_tenth_and_more_than_one_are_too_many(images: int, skipped: int, many: bool) -> None:
    reasons = {f"{n}.jpg": "no image" for n in range(skipped)}
    assert Summary(images, 0, 0, "first", reasons, Path("predictions.json")).too_many_skipped is many


def test_batches_are_of_one_shape_and_bounded_in_images_and_pixels() -> None:
    jobs = [Job(str(n), Path(), (10, 10), ((16, 16),), ()) for n in range(7)]
    jobs += [Job(str(n), Path(), (10, 60), ((16, 96),), ()) for n in range(7, 10)]
    sizes = [[int(job.id) for job in batch] for batch in _batches(jobs, 4, most=300)]
    assert sizes == [[0, 1, 2], [3], [4, 5, 6], [7], [8], [9]]


class StoppedError(Exception):
    """Stands for a signal."""


def stop_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop when one batch more is to be predicted."""
    plain, count = Predictor.predict_batch, [0]

    def predict_batch(predictor: Predictor, images: Sequence[Any]) -> list[ImagePrediction]:
        if count[0] == batches:
            raise StoppedError
        count[0] += 1
        return plain(predictor, images)

    monkeypatch.setattr(Predictor, "predict_batch", predict_batch)


def written(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_call_that_was_stopped_is_gone_on_with(
    predictor: Predictor, photos: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(StoppedError):
            predict_files(predictor, [photos], tmp_path)
    finished = sorted((tmp_path / "masks").iterdir())
    assert 3 <= len(finished) < 12
    finished[0].unlink()  # its batch is predicted again, the other two are not
    seen, plain = list[Any](), Predictor.predict_batch
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_batch", lambda self, images: seen.extend(images) or plain(self, images))
        predict_files(predictor, [photos], tmp_path)
    assert 12 - len(finished) < len(seen) < 12
    assert written(tmp_path) == written(out)


def test_a_call_with_other_images_starts_anew(
    predictor: Predictor,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(StoppedError):
            predict_files(predictor, [photos], tmp_path)
    one = sorted(photos.glob("*.png"))[0]
    summary = predict_files(predictor, [one], tmp_path)
    assert summary.images == 1
    assert "note: predict starts anew" in capsys.readouterr().err
    assert not (tmp_path / "scratch" / "predict").exists()


def test_every_odd_file_is_predicted_or_named_with_its_reason(runs: Runs, tmp_path: Path) -> None:
    """Nothing is lost: broken, unusual, of one pixel, in two spellings, and with names that are no UTF-8."""
    folder = tmp_path / "in"
    folder.mkdir()
    broken, good = set(), set()
    for number, file in enumerate([*BROKEN, *UNUSUAL]):
        path = folder / f"{number} {file.name}"
        file.make(path)
        (broken if file in BROKEN and not path.is_dir() else good).add(path.name)
    good -= {path.name for path in folder.iterdir() if path.is_dir()}  # a folder is looked into, and is no image
    for name in (b"caf\xe9.png", "caf\u00e9.png".encode(), "cafe\u0301.png".encode()):
        with open(os.path.join(os.fsencode(folder), name), "wb") as stream:  # noqa: PTH118, PTH123
            stream.write(FORMATS["PNG"]())
    summary = predict_files(
        Predictor(runs["track3"].folder, device="cpu", precision="fp32"), [folder], tmp_path / "out"
    )
    report = read_json(tmp_path / "out/predictions.json")
    assert {Path(entry["file"]).name for entry in report["skipped"]} == broken
    assert all(entry["reason"].startswith("expected ") for entry in report["skipped"])
    assert summary.images == len(good) + 3
    masks = {path.name for path in (tmp_path / "out/masks").iterdir()}
    assert len({unicodedata.normalize("NFC", name).casefold() for name in masks}) == summary.images
