"""From manifest and stores on disk to the three files of a report."""

import csv
import json
import re

import numpy as np
import pytest

from pipeline.core.errors import DataError, ScoreError, StoreError
from pipeline.core.images import encode_png
from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.store import finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.evaluate import run as module
from pipeline.evaluate.metrics import BASELINES, COUNTS, METRICS, NOTES
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings

CLASSES = ("ant", "bee", "cat")
SETTINGS = EvaluateSettings(
    comparison=">=", average="pooled", classes="with_background", box_iou=(0.3, 0.5, 0.7), jobs=1
)
FILES = ["metrics.json", "per_image.csv", "table.csv"]

PEAK_KEYS = {
    "peak_iou", "peak_threshold", "peak_iou_pooled", "peak_iou_mean", "pxap", "peak_iou_gt_known", "pxap_gt_known",
}  # fmt: skip
BOX_KEYS = {"gt_known_loc", "gt_known_threshold", "top1_loc", "max_box_acc_v2"}
DISC_BOX_KEYS = {"center_disc_gt_known_loc", "center_disc_top1_loc", "center_disc_max_box_acc_v2"}
TRACK3_KEYS = {
    *PEAK_KEYS,
    "all_foreground_iou",
    "center_disc_iou",
    "before_crf",
    "images",
    "images_without_foreground",
    "images_without_truth",
    "images_with_boxes",
    "images_with_boxes_without_label",
    "truth_from_boxes",
    "pixels",
    "ignored_pixels",
    "comparison",
    "average",
    "labeled_images",
    "classification_accuracy",
    "classes_from_labels",
}
TRACK1_SCORES = {
    "mean_iou",
    "mean_iou_with_background",
    "mean_iou_foreground",
    "pixel_accuracy",
    "mean_accuracy",
    "class_precision",
    "class_recall",
    "classes_present",
    "classes_absent",
}
TRACK1_KEYS = {
    *TRACK1_SCORES,
    "all_background_iou",
    "top_class_everywhere_iou",
    "top_class_disc_iou",
    "before_crf",
    "images",
    "images_without_truth",
    "truth_from_boxes",
    "pixels",
    "ignored_pixels",
    "classes",
    "labeled_images",
    "classification_accuracy",
    "classes_from_labels",
}


def test_the_registry_describes_every_key_and_no_other() -> None:
    described = {*(metric.key for metric in METRICS), *BASELINES, *COUNTS, *NOTES}
    assert described == TRACK3_KEYS | BOX_KEYS | DISC_BOX_KEYS | TRACK1_KEYS | {"note"}


def image(after, before=None, truth=None, boxes=None, labels=(), top=0, split="val", of_label=None, known=False):
    """What is true and what is predicted of one image.

    `of_label` is the prediction from its label's map, with the CRF or not.
    """
    after = np.array(after, np.uint8)
    before = after if before is None else np.array(before, np.uint8)
    truth = None if truth is None else np.array(truth, np.uint8)
    predictions = {"after": after, "before": before}
    if of_label is not None:
        predictions |= dict.fromkeys(("label_after", "label_before"), np.array(of_label, np.uint8))
    about = {"truth": truth, "boxes": boxes, "labels": list(labels), "top": top, "split": split, "known": known}
    return {**about, "after": after, "predictions": predictions}


class World:
    """A manifest and two stores in a folder, and a run of `evaluate` on them."""

    def __init__(self, folder, track, images, mask_kind, classes=CLASSES):
        self.folder, self.track = folder, track
        rows = [self._row(image_id, image) for image_id, image in images.items()]
        write_manifest(folder / "manifest", from_rows(rows, classes, folder, mask_kind))
        self.maps = {image_id: self._maps(image, len(classes)) for image_id, image in images.items()}
        self.refined = {image_id: self._predictions(image) for image_id, image in images.items()}

    def _row(self, image_id, image):
        mask = None
        if image["truth"] is not None:
            mask = f"{image_id}.mask.png"
            (self.folder / mask).write_bytes(encode_png(image["truth"]))
        height, width = image["after"].shape
        return {
            "id": image_id,
            "file": f"{image_id}.jpg",
            "width": width,
            "height": height,
            "labels": image["labels"],
            "split": image["split"],
            "mask": mask,
            "boxes": image["boxes"],
            "bytes": 0,
        }

    @staticmethod
    def _maps(image, count):
        first = image["labels"][0] if image["known"] else image["top"]
        ties = np.full(count, 1.0, np.float16)  # in half precision all classes are certain
        return {
            "classes": np.array([first], np.int32),
            "probabilities": ties,
            "predicted": np.array([image["top"]], np.int32),
            "known": np.array([image["known"]]),
        }

    @staticmethod
    def _predictions(image):
        return {name: np.frombuffer(encode_png(pixels), np.uint8) for name, pixels in image["predictions"].items()}

    def run(self, settings=SETTINGS, out="report"):
        for name, items in (("maps", self.maps), ("refined", self.refined)):
            (self.folder / name).mkdir(exist_ok=True)
            finish(self.folder / name, [write_shard(self.folder / name, 0, items)], {})
        module_paths = (self.folder / "manifest", self.folder / "maps", self.folder / "refined", self.folder / out)
        metrics = evaluate(*module_paths, settings, get_track(self.track))
        assert sorted(path.name for path in (self.folder / out).iterdir()) == FILES
        assert json.loads((self.folder / out / "metrics.json").read_text()) == metrics
        return metrics

    def rows(self, name, out="report"):
        with (self.folder / out / name).open(newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def localization(tmp_path):
    images = {
        # truth is 3 of 8 pixels; with the CRF found at 200 with one false pixel, without it never whole without two
        "one": image(
            [[200, 200, 200, 200], [0, 0, 0, 199]],
            [[90, 90, 90, 90], [90, 89, 0, 0]],
            [[255, 255, 255, 0], [0, 0, 0, 0]],
            labels=[1],
            top=1,
        ),
        # boxes only: 2 of 6 pixels
        "two": image(
            [[0, 0, 200], [0, 0, 200]],
            [[90, 90, 90], [90, 90, 90]],
            boxes=[2, 0, 2, 1],
            labels=[0, 2],
            top=1,
            of_label=[[0, 90, 90], [0, 90, 90]],
        ),
        "no_truth": image([[0, 0]], labels=[2], top=2),
        "no_label": image([[200, 0, 0]], truth=[[0, 0, 0]], top=0),
        "trained_on": image([[7, 7]], truth=[[255, 255]], labels=[0], split="train"),
    }
    return World(tmp_path, "track3", images, "foreground")


def test_localization_exact_values(localization):
    metrics = localization.run()
    assert set(metrics) == TRACK3_KEYS | BOX_KEYS | DISC_BOX_KEYS
    assert set(metrics["before_crf"]) == PEAK_KEYS | BOX_KEYS
    assert (metrics["images"], metrics["images_without_truth"], metrics["images_without_foreground"]) == (3, 1, 1)
    assert (metrics["images_with_boxes"], metrics["truth_from_boxes"]) == (1, 1)
    assert (metrics["pixels"], metrics["ignored_pixels"]) == (8 + 6 + 3, 0)
    # at 200: 5 true pixels found, 2 false ones (one of them in the image without foreground)
    assert (metrics["peak_iou"], metrics["peak_threshold"]) == (5 / 7, 200)
    assert metrics["peak_iou_pooled"] == metrics["peak_iou"]
    assert metrics["peak_iou_mean"] == (3 / 4 + 1) / 2
    assert metrics["pxap"] == 5 / 7
    # without the CRF, at 90: 5 found, 2 + 4 + 1 false ones
    assert (metrics["before_crf"]["peak_iou"], metrics["before_crf"]["peak_threshold"]) == (5 / 12, 90)
    assert metrics["before_crf"]["peak_iou_mean"] == (3 / 5 + 2 / 6) / 2
    assert metrics["all_foreground_iou"] == 5 / 17
    assert 5 / 17 <= metrics["center_disc_iou"] < 1
    # classes: `one` right, `two` wrong, `no_truth` right; `no_label` does not count
    assert (metrics["labeled_images"], metrics["classification_accuracy"]) == (3, 2 / 3)
    # boxes are those of the label's map, half of which is the object; the predicted class's map would be right at 200
    assert (metrics["gt_known_loc"], metrics["gt_known_threshold"], metrics["top1_loc"]) == (1.0, 90, 0.0)
    assert metrics["max_box_acc_v2"] == pytest.approx(2 / 3)
    assert metrics["before_crf"]["gt_known_loc"] == 1.0
    # `one` and the label's map of `two`, at 90: 3 + 2 true pixels found, 1 + 1 (the corner at 199) + 2 false ones
    assert metrics["peak_iou_gt_known"] == pytest.approx(5 / 9)
    assert metrics["images_with_boxes_without_label"] == 0


def test_localization_tables(localization):
    localization.run()
    table = localization.rows("table.csv")
    assert list(table[0]) == ["threshold", "before_crf", "after_crf", "before_crf_mean", "after_crf_mean"]
    assert [int(row["threshold"]) for row in table] == list(range(256))
    assert list(table[200].values()) == ["200", "0.000000", "0.714286", "0.000000", "0.875000"]
    assert list(table[90].values()) == ["90", "0.416667", "0.625000", "0.466667", "0.800000"]
    assert localization.rows("per_image.csv") == [
        {
            "id": "one",
            "label": "bee",
            "predicted": "bee",
            "iou_before": "0.600000",
            "iou_after": "0.750000",
            "foreground_share": "0.375000",
        },
        {
            "id": "two",
            "label": "ant;cat",
            "predicted": "bee",
            "iou_before": "0.333333",
            "iou_after": "1.000000",
            "foreground_share": "0.333333",
        },
        {
            "id": "no_label",
            "label": "",
            "predicted": "ant",
            "iou_before": "",
            "iou_after": "",
            "foreground_share": "0.000000",
        },
    ]


def replace(**changes):
    values = {name: getattr(SETTINGS, name) for name in ("comparison", "average", "classes", "box_iou", "jobs")}
    return EvaluateSettings(**{**values, **changes})


def test_settings_choose_the_reading(localization):
    metrics = localization.run(replace(average="mean", comparison=">"))
    assert (metrics["peak_iou"], metrics["peak_threshold"]) == (0.875, 199)
    assert (metrics["peak_iou_pooled"], metrics["peak_iou_mean"]) == (5 / 7, 0.875)
    assert metrics["all_foreground_iou"] == (3 / 8 + 2 / 6) / 2
    assert (metrics["comparison"], metrics["average"]) == (">", "mean")
    row = localization.rows("per_image.csv")[0]  # pixels of exactly the peak threshold are background
    assert (row["iou_before"], row["iou_after"]) == ("0.600000", "0.750000")
    assert localization.rows("table.csv")[199]["after_crf_mean"] == "0.875000"


def test_without_boxes_there_are_no_box_scores(tmp_path):
    world = World(tmp_path, "track3", {"a": image([[9, 0, 0]], truth=[[255, 0, 0]])}, "foreground")
    metrics = world.run()
    assert set(metrics) == TRACK3_KEYS
    assert set(metrics["before_crf"]) == PEAK_KEYS


def test_gt_known_uses_the_map_of_the_true_class(tmp_path):
    """Predicted: the wrong class, whose map is beside the object. The label's map is right."""
    beside, right = [[0, 0, 9, 9]], [[9, 9, 0, 0]]
    wrong = image(beside, boxes=[0, 0, 1, 0], labels=[1], top=2, of_label=right)
    metrics = World(tmp_path, "track3", {"a": wrong}, "foreground").run()
    assert (metrics["gt_known_loc"], metrics["max_box_acc_v2"], metrics["top1_loc"]) == (1.0, 1.0, 0.0)
    assert (metrics["peak_iou_gt_known"], metrics["pxap_gt_known"]) == (1.0, 1.0)
    assert metrics["peak_iou"] == 0.5  # what is submitted: no better than everything foreground


def test_a_map_of_the_label_that_is_missing_is_an_error(tmp_path):
    world = World(tmp_path, "track3", {"a": image([[9, 0]], boxes=[0, 0, 0, 0], labels=[1], top=2)}, "foreground")
    with pytest.raises(ScoreError, match=r"^a: expected a prediction from the map of its label"):
        world.run()


def test_boxes_without_a_label_are_left_out_and_counted(tmp_path):
    images = {
        "a": image([[9, 0]], boxes=[0, 0, 0, 0], labels=[1], top=1),
        "b": image([[0, 9]], boxes=[0, 0, 0, 0], top=1),
    }
    metrics = World(tmp_path, "track3", images, "foreground").run()
    assert (metrics["images_with_boxes"], metrics["images_with_boxes_without_label"], metrics["gt_known_loc"]) == (
        2,
        1,
        1.0,
    )


def test_boxes_without_any_label_give_null_and_a_note(tmp_path):
    metrics = World(tmp_path, "track3", {"a": image([[9, 0]], boxes=[0, 0, 0, 0])}, "foreground").run()
    assert metrics["note"] == "none of 1 val images with boxes has a label: no GT-known Loc and no MaxBoxAccV2"
    assert {metrics[name] for name in BOX_KEYS} == {None}
    assert {metrics["before_crf"][name] for name in BOX_KEYS} == {None}
    assert metrics["peak_iou"] == 1.0


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


def test_masks_of_labels_serve_track3_and_255_is_ignored(tmp_path):
    world = World(tmp_path, "track3", {"a": image([[9, 9, 9, 0]], truth=[[1, 3, 255, 0]])}, "labels")
    metrics = world.run()
    assert (metrics["peak_iou"], metrics["pixels"], metrics["ignored_pixels"]) == (1.0, 3, 1)


@pytest.fixture
def segmentation(tmp_path):
    images = {
        # after: background 3 of 4, ant 2 of 3, cat 0 of 0; before: ant everywhere
        "one": image([[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]], [[1, 1, 0], [0, 0, 0]], labels=[0], top=0),
        "two": image([[1, 3, 3, 0]], [[3, 3, 3, 3]], [[255, 3, 3, 0]], labels=[1, 2], top=2),
        "no_truth": image([[2, 2]], labels=[1], top=1),
        "trained_on": image([[1, 1]], truth=[[1, 1]], labels=[0], split="train"),
    }
    return World(tmp_path, "track1", images, "labels")


def test_segmentation_exact_values(segmentation):
    metrics = segmentation.run()
    assert set(metrics) == TRACK1_KEYS
    assert set(metrics["before_crf"]) == TRACK1_SCORES
    assert (metrics["images"], metrics["images_without_truth"], metrics["pixels"], metrics["ignored_pixels"]) == (
        2,
        1,
        9,
        1,
    )
    # background 4 of 5, ant 2 of 3, cat 2 of 2; bee is nowhere
    assert metrics["mean_iou"] == metrics["mean_iou_with_background"] == pytest.approx((4 / 5 + 2 / 3 + 1) / 3)
    assert metrics["mean_iou_foreground"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["pixel_accuracy"] == 8 / 9
    assert metrics["mean_accuracy"] == pytest.approx((4 / 5 + 1 + 1) / 3)
    assert (metrics["classes_present"], metrics["classes_absent"]) == (3, ["bee"])
    # classes predicted: ant | ant, cat; labels: ant | bee, cat
    assert (metrics["class_precision"], metrics["class_recall"]) == (2 / 3, 2 / 3)
    before = metrics["before_crf"]
    assert before["mean_iou"] == pytest.approx((0 + 2 / 6 + 2 / 3) / 3)
    assert (before["class_precision"], before["class_recall"]) == (1.0, 2 / 3)
    assert metrics["all_background_iou"] == pytest.approx((5 / 9) / 3)
    assert metrics["top_class_everywhere_iou"] == before["mean_iou"]  # which is what `before` predictions
    assert before["mean_iou"] <= metrics["top_class_disc_iou"] < 1
    assert (metrics["labeled_images"], metrics["classification_accuracy"]) == (3, 1.0)


def test_segmentation_tables(segmentation):
    segmentation.run()
    assert [list(row.values()) for row in segmentation.rows("table.csv")] == [
        ["0", "background", "0.000000", "0.800000", "5", "4"],
        ["1", "ant", "0.333333", "0.666667", "2", "3"],
        ["2", "bee", "", "", "0", "0"],
        ["3", "cat", "0.666667", "1.000000", "2", "2"],
    ]
    assert list(segmentation.rows("table.csv")[0]) == [
        "class_id",
        "name",
        "iou_before",
        "iou_after",
        "truth_pixels",
        "predicted_pixels",
    ]
    assert segmentation.rows("per_image.csv") == [
        {
            "id": "one",
            "label": "ant",
            "predicted": "ant",
            "iou_before": "0.166667",
            "iou_after": "0.708333",
            "foreground_share": "0.333333",
        },
        {
            "id": "two",
            "label": "bee;cat",
            "predicted": "ant;cat",
            "iou_before": "0.333333",
            "iou_after": "1.000000",
            "foreground_share": "0.666667",
        },
    ]


def test_settings_choose_whether_background_ranks(segmentation):
    metrics = segmentation.run(replace(classes="foreground"))
    assert metrics["mean_iou"] == metrics["mean_iou_foreground"] == pytest.approx(5 / 6)
    assert metrics["all_background_iou"] == 0
    assert metrics["classes"] == "foreground"


def test_foreground_masks_serve_track1_where_one_label_names_the_class(tmp_path):
    images = {
        "a": image([[0, 2]], truth=[[0, 255]], labels=[1], top=1),
        "b": image([[0, 2, 2]], boxes=[1, 0, 2, 0], labels=[1], top=1),
        "several": image([[0, 2]], truth=[[0, 255]], labels=[1, 2], top=1),
    }
    metrics = World(tmp_path, "track1", images, "foreground").run()
    assert (metrics["mean_iou"], metrics["images"], metrics["images_without_truth"], metrics["truth_from_boxes"]) == (
        1.0,
        2,
        1,
        1,
    )


@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_pieces_and_processes_do_not_change_a_byte(kind, request, monkeypatch):
    world = request.getfixturevalue(kind)
    world.run()
    monkeypatch.setattr(module, "CHUNK", 1)
    world.run(out="again")
    world.run(replace(jobs=2), out="apart")
    for name in FILES:
        first = (world.folder / "report" / name).read_bytes()
        assert first == (world.folder / "again" / name).read_bytes()
        assert first == (world.folder / "apart" / name).read_bytes()


@pytest.mark.parametrize(("track", "keys"), [("track3", TRACK3_KEYS), ("track1", TRACK1_KEYS)])
def test_without_truth_scores_are_null_and_the_chain_goes_on(tmp_path, track, keys):
    world = World(
        tmp_path, track, {"a": image([[1, 1]], labels=[0]), "b": image([[1, 1]], labels=[0], top=1)}, "foreground"
    )
    metrics = world.run()
    assert set(metrics) == keys | {"note"}
    assert metrics["note"] == "nothing to score: none of 2 val images has usable truth (a mask or boxes)"
    assert (metrics["images"], metrics["images_without_truth"], metrics["classification_accuracy"]) == (0, 2, 0.5)
    headline = "peak_iou" if track == "track3" else "mean_iou"
    assert metrics[headline] is None
    assert metrics["before_crf"][headline] is None
    assert world.rows("table.csv") == world.rows("per_image.csv") == []
    assert (
        (tmp_path / "report" / "table.csv").read_text().startswith("threshold," if track == "track3" else "class_id,")
    )


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_val_images_scores_are_null(tmp_path, track):
    metrics = World(tmp_path, track, {"a": image([[1, 1]], truth=[[1, 1]], split="train")}, "labels").run()
    assert metrics["note"] == "nothing to score: the manifest has no val image"
    assert (metrics["images"], metrics["classification_accuracy"]) == (0, None)


@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_without_predictions_for_val_scores_are_null(kind, request):
    world = request.getfixturevalue(kind)
    world.refined = {"trained_on": world.refined["trained_on"]}
    metrics = world.run()
    count = metrics["images_without_truth"]
    assert (
        metrics["note"]
        == f"nothing to score: none of {count} val images has a prediction; likely val is not among extract.splits"
    )
    assert (metrics["images"], count) == (0, {"localization": 4, "segmentation": 3}[kind])


def test_masks_without_foreground_give_null_and_a_note(tmp_path):
    metrics = World(tmp_path, "track3", {"a": image([[1, 1]], truth=[[9, 0]])}, "foreground").run()
    assert re.match(
        "no foreground pixel in the truth of 1 images: no IoU; likely masks of another kind", metrics["note"]
    )
    assert (metrics["images"], metrics["peak_iou"], metrics["all_foreground_iou"], metrics["center_disc_iou"]) == (
        1,
        None,
        None,
        None,
    )


def test_masks_that_are_all_ignored_give_null_and_a_note(tmp_path):
    world = World(tmp_path, "track1", {"a": image([[1, 1]], truth=[[255, 255]])}, "labels")
    metrics = world.run()
    assert metrics["note"] == "every pixel in the truth of 1 images is ignored: no IoU"
    assert (metrics["images"], metrics["pixels"], metrics["ignored_pixels"], metrics["mean_iou"]) == (1, 0, 2, None)
    assert metrics["classes_absent"] == ["background", *CLASSES]
    assert list(world.rows("per_image.csv")[0].values()) == ["a", "", "ant", "", "", ""]


def test_some_missing_predictions_are_an_error(localization):
    del localization.refined["two"]
    with pytest.raises(
        ScoreError, match=r"refined: expected a prediction for each of 4 val images, missing=\['two'\]; likely made"
    ):
        localization.run()


def test_missing_maps_are_an_error(localization):
    del localization.maps["two"]
    with pytest.raises(StoreError, match="maps: expected image id 'two', not among the 4 in the store"):
        localization.run()


def test_a_store_of_another_stage_is_an_error(localization):
    localization.refined = localization.maps
    with pytest.raises(
        StoreError,
        match=r"refined: one: expected the arrays \['before', 'after'\], missing=\['before', 'after'\]; likely",
    ):
        localization.run()


def test_a_damaged_prediction_is_an_error(localization):
    localization.refined["one"]["after"] = localization.refined["one"]["after"][:20]
    with pytest.raises(DataError, match="refined: one/after: expected PNG bytes"):
        localization.run()


def test_a_prediction_of_another_size_is_an_error(localization):
    localization.refined["one"] = localization.refined["two"]
    with pytest.raises(ScoreError, match=r"^one: expected a uint8 score and a bool mask of one shape"):
        localization.run()


def test_a_prediction_with_255_is_an_error(segmentation):
    segmentation.refined["one"]["after"] = np.frombuffer(encode_png(np.full((2, 3), 255, np.uint8)), np.uint8)
    with pytest.raises(
        ScoreError, match=r"^one: expected predicted labels 0..3, got \[255\]; 255 marks ignored pixels"
    ):
        segmentation.run()


def test_maps_of_another_class_list_are_an_error(segmentation):
    segmentation.maps["one"]["predicted"] = np.array([3], np.int32)
    with pytest.raises(ScoreError, match=r"^one: expected one predicted class in 0..2, got \[3\]"):
        segmentation.run()
