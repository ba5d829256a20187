"""The whole chain on a small demo: what it leaves, what reruns when which key changes, what the cache brings back."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML
from support.checkout import STAGES, TRACKS, Checkout

from pipeline.core.tracks import get_track
from pipeline.package.record import compare_record

AFTER_REFINE = ("refine", "student", "evaluate", "package", "report")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("track", "largest"), [("track1", 4), ("track3", 255)])
def test_submission_has_every_test_image_at_its_size(finished: Checkout, track: str, largest: int) -> None:
    table = pq.read_table(finished.file(f"data/{track}/manifest/test.parquet")).to_pylist()
    sizes = {row["id"]: (row["width"], row["height"]) for row in table}
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
    # not the student, which is switched off: of what refine makes it reads split train, of which there is nothing
    assert finished.repro() == {f"{stage}@track3" for stage in AFTER_REFINE if stage != "student"}
    # back again: the run cache remembers, nothing runs
    finished.set("track3.refine.crf.iterations", 10)
    assert finished.repro() == set()


@pytest.mark.slow
def test_pooling_of_one_track_leaves_the_other_untouched(finished: Checkout) -> None:
    untouched = {path: _sha256(path) for path in sorted(finished.file("data/track3").rglob("*")) if path.is_file()}
    assert untouched
    finished.set("track1.train.pooling", "gap")
    assert finished.repro() == {f"{stage}@track1" for stage in STAGES[1:]}
    assert {path: _sha256(path) for path in untouched} == untouched
    finished.set("track1.train.pooling", "tap")
    assert finished.repro() == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "images", "runs"),
    [
        ("test", (6, 7), {"preprocess", "extract", "refine", "student", "package", "report"}),
        ("train", (24, 25), set(STAGES)),
    ],
)
def test_a_new_image_reruns_the_stages_that_read_it(
    key: str, images: tuple[int, int], runs: set[str], finished: Checkout
) -> None:
    finished.set(f"track3.preprocess.source.{key}", images[1])
    assert finished.repro() == {f"{stage}@track3" for stage in runs}
    counts = json.loads(finished.file("data/track3/refine.json").read_text())
    if key == "test":
        assert (counts["images"], counts["images_reused"]) == (15, 14), "one new image costs one CRF"
    finished.set(f"track3.preprocess.source.{key}", images[0])
    assert finished.repro() == set()


@pytest.mark.slow
def test_a_new_val_image_reruns_what_reads_val(finished: Checkout) -> None:
    finished.set("track3.preprocess.source.val", 9)
    assert finished.repro() == {f"{stage}@track3" for stage in STAGES}
    finished.set("track3.preprocess.source.val", 8)
    assert finished.repro() == set()


@pytest.mark.slow
def test_a_corrected_val_mask_is_scored_again_and_nothing_else(
    make_checkout: Callable[[], Checkout], finished: Checkout
) -> None:
    checkout = make_checkout()
    (rendered,) = (path.parent for path in finished.file("data/raw/demo").glob("*/plan.json") if _is_first(path))
    shutil.copytree(rendered, checkout.file("data/raw/folder"))
    source = {"name": "folder", "root": "data/raw/folder", "masks": "foreground"}
    checkout.set("track3.preprocess.source", source)
    checkout.set("track3.preprocess.watch", "data/raw/folder/index.csv")
    checkout.repro("report@track3", "package@track3")
    before = json.loads(checkout.file("reports/track3/metrics.json").read_text())["peak_iou"]
    mask = sorted(checkout.file("data/raw/folder/masks").glob("val_*.png"))[0]
    with Image.open(mask) as image:
        Image.new("L", image.size, 255).save(mask)
    checkout.run("dvc", "repro", "-f", "-s", "preprocess@track3")
    again = {f"{stage}@track3" for stage in ("evaluate", "package", "report")}  # the record has the score
    assert checkout.repro("report@track3", "package@track3") == again
    assert json.loads(checkout.file("reports/track3/metrics.json").read_text())["peak_iou"] != before


def _is_first(marker: Path) -> bool:
    """Whether a rendered folder is that of Track 3 with the first number of images."""
    plan = json.loads(marker.read_text())["plan"]
    return (plan["track"], plan["train"], plan["val"], plan["test"]) == ("track3", 24, 8, 6)


def test_every_submission_has_a_record(finished: Checkout) -> None:
    for track in TRACKS:
        zipped, reports = finished.file(f"submissions/{track}.zip"), finished.file(f"reports/{track}")
        compared = compare_record(zipped, get_track(track))
        assert (compared.problems, compared.warnings) == ((), ())
        record, metrics = compared.record, json.loads((reports / "metrics.json").read_text())
        assert record is not None
        assert record.val is not None
        assert (record.split, record.images, record.val.score) == ("test", 6, metrics[record.val.metric])
        assert record.commit is None  # the folder is no git repository
        assert "iterations: 10" in record.settings.text


@pytest.mark.slow
def test_a_pulled_run_has_all_that_its_stages_need(make_checkout: Callable[[], Checkout], finished: Checkout) -> None:
    """The demo's images are outs: a key of any stage can be changed where nothing was ever rendered."""
    storage, pulled = finished.file("storage"), make_checkout()
    for checkout in (finished, pulled):
        checkout.run("dvc", "remote", "add", "--force", "--default", "storage", str(storage))
    finished.run("dvc", "push", "--quiet")
    shutil.copy(finished.file("dvc.lock"), pulled.file("dvc.lock"))
    pulled.run("dvc", "pull", "--quiet")
    assert not pulled.file("data/raw/demo").exists()
    assert pulled.repro() == set()
    changes = {
        "report.width": 80,
        "evaluate.box_iou": [0.5],
        "package.split": "val",
        "student.epochs": 3,
        "refine.crf.iterations": 2,
        "extract.percentile": 80.0,
        "train.epochs": 2,
    }
    for key, value in changes.items():
        pulled.set(f"track3.{key}", value)
        stage = key.partition(".")[0]
        assert pulled.repro(f"{stage}@track3") == {f"{stage}@track3"}, key
    assert not pulled.file("data/raw/demo").exists()


@pytest.mark.slow
def test_a_key_of_the_student_reruns_nothing_before_it(finished: Checkout) -> None:
    """Switched on, it wants maps of split train; from then on its keys are its own."""
    finished.set("track3.student.enabled", True)
    assert finished.repro() == {f"{stage}@track3" for stage in ("extract", *AFTER_REFINE)}
    counts = json.loads(finished.file("data/track3/student.json").read_text())
    assert (counts["enabled"], counts["train_images"], counts["images"]) == (True, 24, 14)
    metrics = json.loads(finished.file("reports/track3/metrics.json").read_text())
    assert metrics["first_stage"].keys() >= {"peak_iou", "before_crf"}
    assert metrics["pseudo_labels"]["images"] == 24  # the demo has masks of split train
    assert metrics["first_stage"]["pxap"] != metrics["pxap"]  # the peak can be the same: everything as foreground
    page = finished.file("reports/track3/index.html").read_text()
    assert '"title": "first stage"' in page
    assert '"title": "student"' in page
    finished.set("track3.student.epochs", 3)
    assert finished.repro() == {f"{stage}@track3" for stage in ("student", "evaluate", "package", "report")}
    finished.set("track3.student.epochs", 2)
    finished.set("track3.student.enabled", False)
    assert finished.repro() == set()


def test_a_bound_of_targets_reruns_what_knows_which_pixels_count(finished: Checkout) -> None:
    """`evaluate` reads it for its own sake, also where there is no student whose pseudo labels it could score."""
    finished.set("track3.student.targets.low", 0.25)
    # not package: the numbers are the same, so metrics.json is
    assert finished.repro() == {"student@track3", "evaluate@track3", "report@track3"}
    assert "pseudo_labels" not in json.loads(finished.file("reports/track3/metrics.json").read_text())
    finished.set("track3.student.targets.low", 0.5)
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
    for track in TRACKS:
        lock = YAML(typ="safe", pure=True).load(finished.file("dvc.lock").read_text())["stages"]
        outs = [out for stage in STAGES for out in lock[f"{stage}@{track}"]["outs"]]
        assert sum(out.get("nfiles", 1) for out in outs) < 60  # of which 8 are example images
