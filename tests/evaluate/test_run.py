"""From manifest and stores on disk to the three files of a report, and what is refused."""

import numpy as np
import pytest
from support.cluster import network
from support.evaluation import FILES, World, changed, image

from pipeline.core.errors import DataError, ScoreError, StoreError
from pipeline.core.manifest import read_manifest
from pipeline.core.tracks import get_track
from pipeline.evaluate import run as module
from pipeline.evaluate.localization import BOX_SCORES
from pipeline.evaluate.metrics import metrics_of, ranking


def test_labels_that_chose_the_classes_are_said_and_make_no_prediction_right(tmp_path):
    """All probabilities are 1 in half precision: the tie between label and prediction must not count as right."""
    images = {
        "a": image([[9, 0]], truth=[[255, 0]], boxes=[0, 0, 0, 0], labels=[1], top=2, known=True),
        "b": image([[9, 0]], truth=[[255, 0]], boxes=[0, 0, 0, 0], labels=[2], top=2, known=True),
    }
    metrics = World(tmp_path, "track3", images, "foreground").run()
    assert (metrics["classification_accuracy"], metrics["top1_loc"], metrics["gt_known_loc"]) == (0.5, 0.5, 1.0)
    assert metrics["classes_from_labels"] == 2
    assert metrics["note"].startswith("labels chose the classes of 2 images (extract.classes: label)")


@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_pieces_and_processes_do_not_change_a_byte(kind, request, monkeypatch):
    world = request.getfixturevalue(kind)
    world.run()
    monkeypatch.setattr(module, "CHUNK", 1)
    world.run(out="again")
    world.run(changed(jobs=2), out="apart")
    with network() as cluster:
        world.run(out="elsewhere")
    assert cluster.tasks == len(list(read_manifest(world.folder / "manifest", ("val",))))
    unsigned = [array for array in cluster.sent if array.dtype.kind != "i"]
    assert {array.dtype.kind for array in unsigned} <= {"u"}, "counters alone are sent"
    assert all(array.shape[-1] in (256, 256 // 8) for array in unsigned), "of 256 levels, or a bit for each"
    for name in FILES:
        first = (world.folder / "report" / name).read_bytes()
        assert first == (world.folder / "again" / name).read_bytes()
        assert first == (world.folder / "apart" / name).read_bytes()
        assert first == (world.folder / "elsewhere" / name).read_bytes()


@pytest.mark.parametrize(("track", "first"), [("track3", "threshold"), ("track1", "class_id")])
def test_without_truth_scores_are_null_and_the_chain_goes_on(tmp_path, track, first):
    images = {"a": image([[1, 1]], labels=[0]), "b": image([[1, 1]], labels=[0], top=1)}
    world = World(tmp_path, track, images, "foreground")
    metrics = world.run()
    assert metrics["note"] == "nothing to score: none of 2 val images has usable truth (a mask or boxes)"
    assert (metrics["images"], metrics["images_without_truth"], metrics["classification_accuracy"]) == (0, 2, 0.5)
    scores = {metric.key for metric in metrics_of(get_track(track).task)} - {"classification_accuracy", *BOX_SCORES}
    assert {key: metrics[key] for key in scores} == dict.fromkeys(scores)
    assert {key: metrics["before_crf"][key] for key in scores} == dict.fromkeys(scores)
    ranked = f"{ranking(get_track(track).task).key}_interval"
    assert (metrics[ranked], metrics["before_crf"][ranked], metrics["crf_gain_interval"]) == (None, None, None)
    assert world.rows("table.csv") == world.rows("per_image.csv") == []
    assert (tmp_path / "report" / "table.csv").read_text().startswith(f"{first},")


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_val_images_scores_are_null(tmp_path, track):
    metrics = World(tmp_path, track, {"a": image([[1, 1]], truth=[[1, 1]], split="train")}, "labels").run()
    assert metrics["note"] == "nothing to score: the manifest has no val image"
    assert (metrics["images"], metrics["classification_accuracy"]) == (0, None)


@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_without_predictions_for_val_scores_are_null(kind, request):
    world = request.getfixturevalue(kind)
    world.refined = {}
    metrics = world.run()
    count = metrics["images_without_truth"]
    assert (
        metrics["note"]
        == f"nothing to score: none of {count} val images has a prediction; likely val is not among extract.splits"
    )
    assert (metrics["images"], count) == (0, {"localization": 4, "segmentation": 3}[kind])


def test_some_missing_predictions_are_an_error(localization):
    del localization.refined["two"]
    with pytest.raises(
        ScoreError, match=r"refined: expected a prediction for each of 4 val images, missing=\['two'\]; likely made"
    ):
        localization.run()


@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_predictions_for_other_images_alone_are_an_error(kind, request):
    """The stage passes the store of split val, which is empty if val was not extracted: this one is another run's."""
    world = request.getfixturevalue(kind)
    world.refined = {"trained_on": world.refined["trained_on"]}
    with pytest.raises(
        ScoreError, match=r"refined: expected a prediction for each of \d val images, missing=.*manifest"
    ):
        world.run()


@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_the_student_is_scored_and_the_first_stage_beside_it(kind, request):
    """Both have the scores that each has alone."""
    world = request.getfixturevalue(kind)
    refined = world.run()
    assert "first_stage" not in refined
    before = refined["before_crf"]
    world.student = {name: {"before": made["after"], "after": made["before"]} for name, made in world.refined.items()}
    both = world.run(out="both")
    assert both["first_stage"] == {**{name: refined[name] for name in before}, "before_crf": before}
    world.refined = {name: {**made, **world.student[name]} for name, made in world.refined.items()}
    world.student = {}
    student = world.run(out="alone")
    of_true_class = ("gt_known", "top1_loc", "max_box_acc_v2")  # the student's map is that of every class
    of_any_class = [name for name in before if not any(word in name for word in of_true_class)]
    assert {name: both[name] for name in of_any_class} == {name: student[name] for name in of_any_class}
    assert student != refined


def test_the_students_map_is_that_of_the_true_class_too(localization):
    """It knows no classes: nothing is lost where the classifier is wrong."""
    localization.student = localization.refined
    metrics = localization.run()
    assert (metrics["peak_iou_gt_known"], metrics["pxap_gt_known"]) == (metrics["peak_iou"], metrics["pxap"])


def test_missing_maps_are_an_error(localization):
    del localization.maps["two"]
    with pytest.raises(StoreError, match="maps: expected image id 'two', not among the 4 in the store"):
        localization.run()


def test_a_store_of_another_stage_is_an_error(localization):
    localization.refined = localization.maps
    with pytest.raises(
        StoreError,
        match=r"refined: no_label: expected the arrays \['before', 'after'\], missing=\['before', 'after'\]; likely",
    ):
        localization.run()


def test_a_damaged_prediction_is_an_error(localization):
    localization.refined["one"]["after"] = localization.refined["one"]["after"][:20]
    with pytest.raises(DataError, match="refined: one/after: expected PNG bytes"):
        localization.run()


def test_maps_of_another_class_list_are_an_error(segmentation):
    segmentation.maps["one"]["predicted"] = np.array([3], np.int32)
    with pytest.raises(ScoreError, match=r"^one: expected one predicted class in 0..2, got \[3\]"):
        segmentation.run()
