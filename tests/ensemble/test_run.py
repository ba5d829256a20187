"""What an ensemble stores: the run's own prediction where all members are equal, averages of arrays where not."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import MapError, SettingsError, StoreError
from pipeline.core.files import read_json
from pipeline.core.images import decode_png
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.ensemble.average import average_maps, average_scores, vote
from pipeline.ensemble.members import open_members
from pipeline.ensemble.run import Request, as_json, evaluate_settings, make_ensemble, scale_warnings
from pipeline.package.record import compare_record, record_path
from pipeline.predict.run_folder import read_run
from pipeline.refine.run import refine_image

Checkouts = dict[str, tuple[Path, Path]]
TRACKS = ("track1", "track3")


def requested(runs: tuple[Path, ...], track: str, out: Path, of: str = "maps", **changes: Any) -> Request:
    weights = changes.pop("weights", None)
    members = open_members([f"{place}={run}" for place, run in enumerate(runs)], track, weights)
    made: Any = {"members": members, "of": of, "track": get_track(track), "split": "val", "jobs": 1, **changes}
    return Request(out=out / "both.zip", folder=out / "both", **made)


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def own(run: Path, track: str, stage: str) -> dict[str, Any]:
    return dict(Store(run / "data" / track / stage / "val").items())


def stored_classes(run: Path, track: str) -> dict[str, list[int]]:
    return {image_id: arrays["classes"].tolist() for image_id, arrays in own(run, track, "maps").items()}


def check_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for image_id, arrays in expected.items():
        assert found[image_id].keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[image_id][name].tobytes() == array.tobytes(), (image_id, name)


def test_maps_of_another_scale_are_warned_of(maps: Checkouts, tmp_path: Path) -> None:
    run = maps["track3"][0]
    other = copy_of(run, tmp_path / "other")
    path = other / "data/track3/extract.json"
    about = read_json(path)
    about["settings"] |= {"scale": "percentile", "percentile": 61.5}
    path.write_text(json.dumps(about))
    request = requested((run, other), "track3", tmp_path)
    (warning,) = scale_warnings(request.members)
    assert warning in make_ensemble(request).warnings
    assert "expected maps of one extract.scale and extract.percentile, got 0: " in warning
    assert ", 1: percentile 61.5; their mean is rarely wanted" in warning
    assert scale_warnings(request.members[:1]) == []


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("of", ["maps", "student"])
@pytest.mark.parametrize("second", ["copy", "weight 0"])
def test_the_first_run_alone_is_itself_byte_for_byte(
    maps: Checkouts, students: Checkouts, tmp_path: Path, track: str, of: str, second: str
) -> None:
    runs = (students if of == "student" else maps)[track]
    if second == "copy":
        request = requested((runs[0], copy_of(runs[0], tmp_path / "copy")), track, tmp_path, of)
    else:
        request = requested(runs, track, tmp_path, of, weights=[1.0, 0.0])
    made = make_ensemble(request)
    check_equal(own(request.folder, track, "refined"), own(runs[0], track, "student" if of == "student" else "refined"))
    assert stored_classes(request.folder, track) == stored_classes(runs[0], track)
    metrics = read_json(runs[0] / "reports" / track / "metrics.json")
    skipped = {"first_stage", "advice", "before_crf"}
    if of == "student" and track == "track1":  # its rows hold gains over the step before, which is another one here
        skipped |= {"by_class_count", "several_classes"}
        found, expected = ([row["mean_iou"] for row in one["by_class_count"]] for one in (made.metrics, metrics))
        assert found == expected
    assert {key: made.metrics[key] for key in metrics.keys() - skipped} == {
        key: metrics[key] for key in metrics.keys() - skipped
    }
    if track == "track3" or of == "maps":
        assert made.metrics["before_crf"] == metrics["before_crf"]


@pytest.mark.parametrize("track", TRACKS)
def test_maps_of_different_sizes_are_averaged_and_refined(maps: Checkouts, tmp_path: Path, track: str) -> None:
    request = requested(maps[track], track, tmp_path, weights=[1.0, 3.0])
    make_ensemble(request)
    first, second = (own(run, track, "maps") for run in maps[track])
    assert first["val_0"]["maps"].shape != second["val_0"]["maps"].shape
    found, refined = own(request.folder, track, "maps"), own(request.folder, track, "refined")
    settings = read_run(maps[track][0] / "data" / track)
    extract = settings.extract
    for n in (0, 3):
        image_id, labels = f"val_{n}", (n % 3,) if track == "track3" else ()  # Track 1 has no score by label
        expected = average_maps(
            [first[image_id], second[image_id]], [1, 3], extract.max_classes, extract.min_probability, labels
        )
        check_equal({image_id: found[image_id]}, {image_id: expected})
        after = refine_image(expected, maps[track][0] / "images" / f"{image_id}.png", image_id, settings.refine).after
        np.testing.assert_array_equal(decode_png(refined[image_id]["after"], image_id), after)


def test_predictions_of_students_are_averaged(students: Checkouts, tmp_path: Path) -> None:
    request = requested(students["track3"], "track3", tmp_path, "student")
    make_ensemble(request)
    first, second, found = (own(run, "track3", kind) for run, kind in (
        (students["track3"][0], "student"), (students["track3"][1], "student"), (request.folder, "refined"),
    ))  # fmt: skip
    for image_id, arrays in found.items():
        assert sorted(arrays) == ["after", "before"]
        for name, pixels in arrays.items():
            both = [decode_png(run[image_id][name], name) for run in (first, second)]
            np.testing.assert_array_equal(decode_png(pixels, name), average_scores(both, [1, 1]))


def test_label_maps_of_students_vote(students: Checkouts, tmp_path: Path) -> None:
    request = requested(students["track1"], "track1", tmp_path, "student")
    make_ensemble(request)
    runs = [own(run, "track1", "student") for run in students["track1"]]
    for image_id, arrays in own(request.folder, "track1", "refined").items():
        labels, shares, before = (
            [decode_png(run[image_id][name], name) for run in runs] for name in ("after", "foreground", "before")
        )
        label_map, foreground = vote(labels, shares, [1, 1])
        np.testing.assert_array_equal(decode_png(arrays["after"], image_id), label_map)
        np.testing.assert_array_equal(decode_png(arrays["foreground"], image_id), foreground)
        np.testing.assert_array_equal(decode_png(arrays["before"], image_id), vote(before, None, [1, 1])[0])


def test_what_is_written(maps: Checkouts, tmp_path: Path) -> None:
    request = requested(maps["track3"], "track3", tmp_path, limit=1000)
    made = make_ensemble(request)
    with zipfile.ZipFile(request.out) as archive:
        assert sorted(archive.namelist()) == [f"val_{n}.png" for n in range(8)]
        stored = own(request.folder, "track3", "refined")["val_1"]["after"]
        assert archive.read("val_1.png") == stored.tobytes()
    compared = compare_record(request.out, request.track)
    assert compared.problems == ()
    record = compared.record
    assert record is not None
    assert record.val is not None
    assert (record.split, record.images, record.val.score) == ("val", 8, made.metrics["peak_iou"])
    assert "weight: 1.0" in record.settings.text
    assert str(tmp_path) not in record_path(request.out).read_text()
    report = read_json(request.folder / "ensemble.json")
    assert (report["of"], report["parameters"], report["limit"]) == ("maps", 120, 1000)
    assert [one["networks"] for one in report["members"]] == [{"classifier": 100}, {"classifier": 120}]
    assert report["members"][1]["settings"]["extract"]["sizes"] == [64]
    before = request.out.read_bytes()
    make_ensemble(request)
    assert request.out.read_bytes() == before
    assert json.dumps(as_json(made))


def test_what_is_refused(maps: Checkouts, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected fewer than 120 parameters of all networks together, got 120"):
        make_ensemble(requested(maps["track3"], "track3", tmp_path, limit=120))
    lacking = copy_of(maps["track3"][1], tmp_path / "lacking")
    store = lacking / "data" / "track3" / "maps" / "val"
    items = {image_id: arrays for image_id, arrays in Store(store).items() if image_id != "val_2"}
    finish(store, [write_shard(store, 0, items)], Store(store).about)
    with pytest.raises(StoreError, match=r"maps/val: expected the 8 images of split val, missing=\['val_2'\]"):
        make_ensemble(requested((maps["track3"][0], lacking), "track3", tmp_path))
    assert not (tmp_path / "both.zip").exists()


@pytest.mark.parametrize("lacks", ["foreground", "size"])
def test_a_prediction_that_does_not_fit_is_named(students: Checkouts, tmp_path: Path, lacks: str) -> None:
    other = copy_of(students["track1"][1], tmp_path / "other")
    store = other / "data" / "track1" / "student" / "val"
    items = dict(Store(store).items())
    if lacks == "foreground":
        del items["val_1"]["foreground"]
    else:
        items["val_1"] = items["val_0"]
    finish(store, [write_shard(store, 0, items)], Store(store).about)
    message = (
        r"val_1: expected the array 'foreground' of every member, missing in members \[2\]"
        if lacks == "foreground"
        else r"val_1: expected predictions of one size, got \[\(64, 40\), \(48, 64\)\]"
    )
    with pytest.raises(MapError, match=message):
        make_ensemble(requested((students["track1"][0], other), "track1", tmp_path, "student"))


def test_scores_are_read_as_the_first_run_reads_them(maps: Checkouts, tmp_path: Path) -> None:
    request = requested(maps["track3"], "track3", tmp_path)
    assert evaluate_settings(request).average == "pooled"
    copied = copy_of(maps["track3"][0], tmp_path / "copy")
    metrics = copied / "reports" / "track3" / "metrics.json"
    metrics.write_text(json.dumps({**read_json(metrics), "average": "mean"}))
    assert evaluate_settings(requested((copied, maps["track3"][1]), "track3", tmp_path)).average == "mean"
    metrics.unlink()
    assert evaluate_settings(requested((copied, maps["track3"][1]), "track3", tmp_path)).average == "pooled"
