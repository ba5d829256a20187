"""Track 3 from stored score maps: hand-computed scores, what ignored pixels, boxes and missing labels do to them."""

import re

import pytest
from support.evaluation import World, changed, image

from pipeline.core.errors import ScoreError
from pipeline.evaluate.localization import BOX_SCORES
from pipeline.evaluate.metrics import BASELINES

DISC_BOX_SCORES = {key for key in BASELINES if key.startswith("center_disc_") and key != "center_disc_iou"}


def test_localization_exact_values(localization):
    metrics = localization.run()
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


def test_intervals_are_over_images(localization):
    """Resamples of three images, each resample of three equal ones 1 of 27. Best: `two` alone with the CRF, `one`
    without it; worst: either of them, and twice the image without foreground, at 200 or 90."""
    metrics = localization.run()
    assert metrics["peak_iou_interval"] == [3 / (4 + 2), 1.0]
    assert metrics["before_crf"]["peak_iou_interval"] == [2 / (6 + 2), 3 / 5]
    low, high = metrics["crf_gain_interval"]
    assert (low, high) == (round(3 / 6 - 3 / 7, 6), round(1 - 2 / 6, 6))  # `one` and twice no foreground; `two` alone
    assert "crf_gain_interval" not in metrics["before_crf"]


def test_intervals_are_of_the_reading_that_ranks(localization):
    metrics = localization.run(changed(average="mean"))
    assert metrics["peak_iou_interval"] == [0.75, 1.0]  # `one` alone, `two` alone; the third has no IoU
    assert metrics["before_crf"]["peak_iou_interval"] == [round(2 / 6, 6), 0.6]


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


def test_settings_choose_the_reading(localization):
    metrics = localization.run(changed(average="mean", comparison=">"))
    assert (metrics["peak_iou"], metrics["peak_threshold"]) == (0.875, 199)
    assert (metrics["peak_iou_pooled"], metrics["peak_iou_mean"]) == (5 / 7, 0.875)
    assert metrics["all_foreground_iou"] == (3 / 8 + 2 / 6) / 2
    assert (metrics["comparison"], metrics["average"]) == (">", "mean")
    row = localization.rows("per_image.csv")[0]  # pixels of exactly the peak threshold are background
    assert (row["iou_before"], row["iou_after"]) == ("0.600000", "0.750000")
    assert localization.rows("table.csv")[199]["after_crf_mean"] == "0.875000"


def test_without_boxes_there_are_no_box_scores(localization, tmp_path):
    full = localization.run()
    (tmp_path / "plain").mkdir()
    images = {"a": image([[9, 0, 0]], truth=[[255, 0, 0]])}
    metrics = World(tmp_path / "plain", "track3", images, "foreground").run()
    assert set(metrics) == set(full) - {*BOX_SCORES, *DISC_BOX_SCORES}
    assert set(metrics["before_crf"]) == set(full["before_crf"]) - set(BOX_SCORES)


def test_gt_known_uses_the_map_of_the_true_class(tmp_path):
    """Predicted: the wrong class, whose map is beside the object. The label's map is right."""
    beside, right = [[0, 0, 9, 9]], [[9, 9, 0, 0]]
    wrong = image(beside, boxes=[0, 0, 1, 0], labels=[1], top=2, of_label=right)
    metrics = World(tmp_path, "track3", {"a": wrong}, "foreground").run()
    assert (metrics["gt_known_loc"], metrics["max_box_acc_v2"], metrics["top1_loc"]) == (1.0, 1.0, 0.0)
    assert (metrics["peak_iou_gt_known"], metrics["pxap_gt_known"]) == (1.0, 1.0)
    assert metrics["peak_iou"] == 0.5  # what is submitted: no better than everything foreground
    assert (metrics["peak_iou_interval"], metrics["crf_gain_interval"]) == (None, None)  # of one image


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
    assert {metrics[name] for name in BOX_SCORES} == {None}
    assert {metrics["before_crf"][name] for name in BOX_SCORES} == {None}
    assert metrics["peak_iou"] == 1.0


def test_masks_of_labels_serve_track3_and_255_is_ignored(tmp_path):
    world = World(tmp_path, "track3", {"a": image([[9, 9, 9, 0]], truth=[[1, 3, 255, 0]])}, "labels")
    metrics = world.run()
    assert (metrics["peak_iou"], metrics["pixels"], metrics["ignored_pixels"]) == (1.0, 3, 1)


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


def test_a_prediction_of_another_size_is_an_error(localization):
    localization.refined["one"] = localization.refined["two"]
    with pytest.raises(ScoreError, match=r"^one: expected a uint8 score and a bool mask of one shape"):
        localization.run()


def test_peak_iou_and_what_it_loses_add_up_to_1(localization):
    for average in ("pooled", "mean"):
        metrics = localization.run(changed(average=average))
        assert metrics["peak_iou"] + sum(metrics["iou_lost"].values()) == pytest.approx(1)


def test_confusion_counts_images_by_label_and_prediction(localization):
    localization.run()
    rows = localization.rows("confusion.csv")
    assert list(rows[0]) == ["truth", "predicted", "images"]
    labeled = [row for row in localization.rows("per_image.csv") if row["label"]]
    assert sum(int(row["images"]) for row in rows) == len(labeled)
    right = sum(int(row["images"]) for row in rows if row["truth"] == row["predicted"])
    assert right == sum(row["predicted"] in row["label"].split(";") for row in labeled)
