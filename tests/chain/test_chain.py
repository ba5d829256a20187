"""The whole chain on a small demo: what it leaves, what reruns when which key changes, what the cache brings back."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from checkout import STAGES, TRACKS, Checkout
from PIL import Image

AFTER_REFINE = ("refine", "evaluate", "package", "report")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("track", "largest"), [("track1", 4), ("track3", 255)])
def test_submission_answers_every_test_image_at_its_size(finished: Checkout, track: str, largest: int) -> None:
    table = pq.read_table(finished.file(f"data/{track}/manifest.parquet")).to_pylist()
    sizes = {row["id"]: (row["width"], row["height"]) for row in table if row["split"] == "test"}
    assert len(sizes) == 6
    with zipfile.ZipFile(finished.file(f"submissions/{track}.zip")) as archive:
        assert sorted(archive.namelist()) == sorted(f"{image_id}.png" for image_id in sizes)
        for image_id, size in sizes.items():
            with Image.open(archive.open(f"{image_id}.png")) as image:
                assert (image.mode, image.size) == ("L", size)
                assert image.getextrema()[1] <= largest


def test_metrics_hold_the_keys_that_others_rely_on(finished: Checkout) -> None:
    track1 = json.loads(finished.file("reports/track1/metrics.json").read_text())
    track3 = json.loads(finished.file("reports/track3/metrics.json").read_text())
    segmentation = {"mean_iou", "mean_iou_foreground", "pixel_accuracy", "mean_accuracy"}
    localization = {"peak_iou", "peak_threshold", "peak_iou_mean", "pxap"}
    assert segmentation <= track1.keys()
    assert segmentation <= track1["before_crf"].keys()
    assert {*localization, "all_foreground_iou"} <= track3.keys()
    assert localization <= track3["before_crf"].keys()
    assert 0 < track3["peak_iou"] <= 1
    assert track1["images"] == track3["images"] == 8


def test_nothing_runs_twice(finished: Checkout) -> None:
    assert finished.repro() == set()


def test_a_key_of_the_crf_reruns_what_stands_on_it_in_one_track(finished: Checkout) -> None:
    finished.set("track3.refine.crf.iterations", 3)
    assert finished.repro() == {f"{stage}@track3" for stage in AFTER_REFINE}
    # back again: the run cache remembers, nothing runs
    finished.set("track3.refine.crf.iterations", 10)
    assert finished.repro() == set()


def test_pooling_of_one_track_leaves_the_other_untouched(finished: Checkout) -> None:
    untouched = {path: _sha256(path) for path in sorted(finished.file("data/track3").rglob("*")) if path.is_file()}
    assert untouched
    finished.set("track1.train.pooling", "gap")
    assert finished.repro() == {f"{stage}@track1" for stage in STAGES[1:]}
    assert {path: _sha256(path) for path in untouched} == untouched
    finished.set("track1.train.pooling", "tap")
    assert finished.repro() == set()


def test_a_key_of_the_report_reruns_the_report_alone(finished: Checkout) -> None:
    finished.set("track1.report.images", 2)
    assert finished.repro() == {"report@track1"}
    finished.set("track1.report.images", 4)
    assert finished.repro() == set()


def test_a_watched_file_lists_the_images_again_and_nothing_else(finished: Checkout) -> None:
    watched = finished.file("data/raw/README.md")
    before = watched.read_text()
    watched.write_text(before + "more\n")
    assert finished.repro() == {"preprocess@track1", "preprocess@track3"}  # the table is the same: nothing else runs
    watched.write_text(before)
    assert finished.repro() == set()


def test_deleted_outs_come_back_from_the_cache(finished: Checkout) -> None:
    before = {track: _sha256(finished.file(f"submissions/{track}.zip")) for track in TRACKS}
    for name in ("data/track1", "data/track3", "submissions", "reports"):
        shutil.rmtree(finished.file(name))
    assert finished.repro() == set()
    assert {track: _sha256(finished.file(f"submissions/{track}.zip")) for track in TRACKS} == before
    assert finished.file("reports/track3/index.html").is_file()


def test_a_mistake_in_the_last_section_stops_the_first_stage(finished: Checkout) -> None:
    finished.set("track3.report.images", "many")
    finished.set("track3.preprocess.source.seed", 1)
    done = finished.run("dvc", "repro", "preprocess@track3", check=False)
    finished.set("track3.report.images", 4)
    finished.set("track3.preprocess.source.seed", 0)
    assert done.returncode != 0
    assert "params.yaml: tracks.track3.report.images: expected a valid integer, got 'many'" in done.stdout + done.stderr
    assert finished.repro() == set()  # and the finished work is still there


def test_few_files_are_tracked(finished: Checkout) -> None:
    outs = [path for name in ("data/track1", "data/track3", "submissions", "reports") for path in finished.file(name).rglob("*")]
    assert len([path for path in outs if path.is_file()]) < 50
