"""The stage `evaluate` from the command line."""

import json

import numpy as np
import pytest

from pipeline.core.errors import SettingsError, StoreError
from pipeline.core.images import encode_png
from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.store import finish, write_shard
from stages.evaluate import main

PARAMS = """\
tracks:
  track1: &both
    evaluate:
      {comparison: '>=', average: pooled, classes: with_background, box_iou: [0.3, 0.5, 0.7], jobs: 1,
       parallel: {backend: loky, address: ''}}
  track3: *both
"""


@pytest.fixture
def arguments(tmp_path):
    """One val image of 2 x 3 pixels: truth is the class id 1 in the left column, the prediction has it in two
    columns."""
    truth = np.array([[1, 0, 0], [1, 0, 0]], np.uint8)
    prediction = np.frombuffer(encode_png(np.array([[1, 1, 0], [1, 1, 0]], np.uint8)), np.uint8)
    (tmp_path / "mask.png").write_bytes(encode_png(truth))
    (tmp_path / "params.yaml").write_text(PARAMS)
    row = {
        "id": "a",
        "file": "a.jpg",
        "width": 3,
        "height": 2,
        "labels": [0],
        "split": "val",
        "mask": "mask.png",
        "boxes": None,
        "bytes": 0,
    }
    write_manifest(tmp_path / "manifest", from_rows([row], ["ant", "bee"], tmp_path, "labels"))
    maps = {"classes": np.array([0], np.int32), "predicted": np.array([0], np.int32), "known": np.array([False])}
    for name, arrays in (("maps", maps), ("refined", {"before": prediction, "after": prediction})):
        finish(tmp_path / name, [write_shard(tmp_path / name, 0, {"a": arrays})], {})
    finish(tmp_path / "student", [], {})  # switched off
    finish(tmp_path / "features", [], {"pooling": "gap", "tap_threshold": 0.05, "offset": [0, 0]})  # none was kept
    names = {
        "--params": "params.yaml",
        "--manifest": "manifest",
        "--maps": "maps",
        "--features": "features",
        "--refined": "refined",
        "--student": "student",
        "--out": "out",
    }
    return [word for option, name in names.items() for word in (option, str(tmp_path / name))]


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        (
            "track1",
            {"mean_iou": pytest.approx((1 / 2 + 1 / 2) / 2), "pixel_accuracy": 4 / 6, "classes_absent": ["bee"]},
        ),
        ("track3", {"peak_iou": 0.5, "peak_threshold": 1, "all_foreground_iou": 2 / 6, "peak_iou_mean": 0.5}),
    ],
)
def test_both_tracks_write_the_same_files(arguments, tmp_path, track, expected):
    main(["--track", track, *arguments])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "confusion.csv", "diagnostics.json", "image_counts.npz", "metrics.json", "per_image.csv", "scores.json",
        "table.csv",
    ]  # fmt: skip
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {name: metrics[name] for name in expected} == expected
    assert metrics["classification_accuracy"] == 1.0
    assert "kept features" in json.loads((tmp_path / "out" / "diagnostics.json").read_text())["note"]


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        ("track1", {"ranking_score": pytest.approx(0.5), "ranking_score_name": "mean_iou"}),
        (
            "track3",
            {"ranking_score": 0.5, "ranking_score_name": "peak_iou", "peak_threshold": 1, "comparison": ">="},
        ),
    ],
)
def test_what_a_prediction_needs_is_written_where_it_is_asked_for(arguments, tmp_path, track, expected):
    main(["--track", track, *arguments, "--report", str(tmp_path / "evaluate.json")])
    assert json.loads((tmp_path / "evaluate.json").read_text()) == expected


def test_without_truth_there_is_no_peak_threshold(arguments, tmp_path):
    rows = [{**row, "mask": None} for row in read_manifest(tmp_path / "manifest").table.to_pylist()]
    write_manifest(tmp_path / "manifest", from_rows(rows, ["ant", "bee"], tmp_path, "labels"))
    main(["--track", "track3", *arguments, "--report", str(tmp_path / "evaluate.json")])
    found = json.loads((tmp_path / "evaluate.json").read_text())
    assert (found["ranking_score"], found["peak_threshold"]) == (None, None)


def test_running_twice_gives_the_same_bytes(arguments, tmp_path):
    def files():
        main(["--track", "track3", *arguments])
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    assert files() == files()


def test_an_unknown_track_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["--track", "track2", *arguments])
    assert "track2" in capsys.readouterr().err


def test_params_without_the_section_are_named(arguments, tmp_path):
    (tmp_path / "params.yaml").write_text("tracks: {track3: {}}\n")
    with pytest.raises(SettingsError, match=r"tracks.track3.evaluate: expected this key"):
        main(["--track", "track3", *arguments])


def test_a_missing_manifest_names_the_stage_that_makes_it(arguments, tmp_path):
    (tmp_path / "manifest" / "val.parquet").unlink()
    with pytest.raises(StoreError, match="likely the stage `preprocess` has not run"):
        main(["--track", "track3", *arguments])


def test_without_a_student_the_refined_predictions_are_scored(arguments, tmp_path):
    place = arguments.index("--student")
    main(["--track", "track3", *arguments])
    empty = json.loads((tmp_path / "out" / "metrics.json").read_text())
    main(["--track", "track3", *arguments[:place], *arguments[place + 2 :]])
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == empty


@pytest.fixture
def with_train(arguments, tmp_path):
    """A train image beside the one of val, with the same mask and prediction, and the student's section."""
    rows = read_manifest(tmp_path / "manifest").table.to_pylist()
    rows.append({**rows[0], "id": "t", "split": "train"})
    write_manifest(tmp_path / "manifest", from_rows(rows, ["ant", "bee"], tmp_path, "labels"))
    label_map = np.array([[1, 1, 0], [1, 1, 0]], np.uint8)
    pngs = {"before": label_map, "after": label_map, "foreground": np.array([[255, 153, 0], [255, 255, 0]], np.uint8)}
    stored = {name: np.frombuffer(encode_png(pixels), np.uint8) for name, pixels in pngs.items()}
    finish(tmp_path / "train", [write_shard(tmp_path / "train", 0, {"t": stored})], {})
    student = "    student: {enabled: true, targets: {soft: true, low: 0.2, high: 0.7}}\n"
    (tmp_path / "params.yaml").write_text(PARAMS.replace("  track3:", f"{student}  track3:"))
    return [*arguments, "--pseudo-labels", str(tmp_path / "train")]


def _metrics(folder):
    return json.loads((folder / "out" / "metrics.json").read_text())


def test_pseudo_labels_of_a_student_are_scored(with_train, tmp_path):
    main(["--track", "track1", *with_train])
    found = _metrics(tmp_path)["pseudo_labels"]
    assert (found["images"], found["images_without_truth"]) == (1, 0)
    assert found["after"] == {
        "precision": 0.5,
        "recall": 1.0,
        "iou": 0.5,
        "ignored_share": 1 / 6,  # p = 0.6
        "mean_iou": pytest.approx((2 / 3 + 2 / 3) / 2),
    }


def test_what_a_random_walk_made_is_scored_beside_them(with_train, tmp_path):
    """An empty store says that there was none."""
    main(["--track", "track1", *with_train])
    plain = _metrics(tmp_path)
    finish(tmp_path / "walked", [], {})
    with_walk = [*with_train, "--walked", str(tmp_path / "walked")]
    main(["--track", "track1", *with_walk])
    assert _metrics(tmp_path) == plain
    pngs = {"before": np.zeros((2, 3)), "after": np.array([[1, 0, 0]] * 2), "foreground": np.array([[255, 0, 0]] * 2)}
    stored = {name: np.frombuffer(encode_png(pixels.astype(np.uint8)), np.uint8) for name, pixels in pngs.items()}
    finish(tmp_path / "walked", [write_shard(tmp_path / "walked", 0, {"t": stored})], {})
    main(["--track", "track1", *with_walk])
    perfect = {"precision": 1.0, "recall": 1.0, "iou": 1.0, "ignored_share": 0.0, "mean_iou": 1.0}
    assert _metrics(tmp_path) == {**plain, "pseudo_labels": {**plain["pseudo_labels"], "walked": perfect}}


def test_pseudo_labels_change_no_other_number(with_train, tmp_path):
    main(["--track", "track1", *with_train, "--report", str(tmp_path / "with.json")])
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != "metrics.json"}
    metrics = _metrics(tmp_path)
    main(["--track", "track1", *with_train[:-2], "--report", str(tmp_path / "without.json")])
    assert {name: (tmp_path / "out" / name).read_bytes() for name in found} == found
    assert (tmp_path / "with.json").read_bytes() == (tmp_path / "without.json").read_bytes()
    assert {**_metrics(tmp_path), "pseudo_labels": metrics["pseudo_labels"]} == metrics


def test_without_a_student_there_are_no_pseudo_labels(with_train, tmp_path):
    """Split train may have been extracted for another reason, by predicted classes."""
    params = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("enabled: true", "enabled: false"))
    main(["--track", "track1", *with_train])
    assert "pseudo_labels" not in _metrics(tmp_path)


def test_bounds_of_targets_are_checked(with_train, tmp_path):
    params = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("low: 0.2", "low: 0.8"))
    with pytest.raises(SettingsError, match=r"tracks\.track1\.student\.targets: low is 0\.8, high is 0\.7"):
        main(["--track", "track1", *with_train])
