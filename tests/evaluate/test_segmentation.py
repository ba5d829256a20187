"""Track 1 from stored label maps: hand-computed scores, and what ignored pixels and missing labels do to them."""

import numpy as np
import pytest
from support.evaluation import CLASSES, World, changed, image

from pipeline.core.errors import ScoreError
from pipeline.core.images import encode_png


def test_segmentation_exact_values(segmentation):
    metrics = segmentation.run()
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
    assert (metrics["class_precision"], metrics["class_recall"], metrics["class_f1"]) == (2 / 3, 2 / 3, 2 / 3)
    before = metrics["before_crf"]
    assert before["mean_iou"] == pytest.approx((0 + 2 / 6 + 2 / 3) / 3)
    assert (before["class_precision"], before["class_recall"]) == (1.0, 2 / 3)
    assert metrics["all_background_iou"] == pytest.approx((5 / 9) / 3)
    assert metrics["top_class_everywhere_iou"] == before["mean_iou"]  # without the CRF, every image was painted so
    assert before["mean_iou"] <= metrics["top_class_disc_iou"] < 1
    assert (metrics["labeled_images"], metrics["classification_accuracy"]) == (3, 1.0)


def test_intervals_are_over_images(segmentation):
    """Each end is that of one image twice, a quarter of the resamples; but the least gain is that of both."""
    metrics = segmentation.run()
    assert metrics["mean_iou_interval"] == [round((3 / 4 + 2 / 3) / 2, 6), 1.0]
    assert metrics["before_crf"]["mean_iou_interval"] == [round(2 / 6 / 2, 6), round(2 / 3 / 2, 6)]
    both = metrics["mean_iou"] - metrics["before_crf"]["mean_iou"]
    assert metrics["crf_gain_interval"] == [round(both, 6), round(1 - 2 / 3 / 2, 6)]


def test_intervals_are_of_the_reading_that_ranks(segmentation):
    metrics = segmentation.run(changed(classes="foreground"))
    assert metrics["mean_iou_interval"] == [round(2 / 3, 6), 1.0]  # ant in one image, cat in the other
    assert metrics["before_crf"]["mean_iou_interval"] == [round(2 / 6, 6), round(2 / 3, 6)]


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
    metrics = segmentation.run(changed(classes="foreground"))
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


def test_masks_that_are_all_ignored_give_null_and_a_note(tmp_path):
    world = World(tmp_path, "track1", {"a": image([[1, 1]], truth=[[255, 255]])}, "labels")
    metrics = world.run()
    assert metrics["note"] == "every pixel in the truth of 1 images is ignored: no IoU"
    assert (metrics["images"], metrics["pixels"], metrics["ignored_pixels"], metrics["mean_iou"]) == (1, 0, 2, None)
    assert metrics["classes_absent"] == ["background", *CLASSES]
    assert list(world.rows("per_image.csv")[0].values()) == ["a", "", "ant", "", "", ""]


def test_a_prediction_with_255_is_an_error(segmentation):
    segmentation.refined["one"]["after"] = np.frombuffer(encode_png(np.full((2, 3), 255, np.uint8)), np.uint8)
    with pytest.raises(
        ScoreError, match=r"^one: expected predicted labels 0..3, got \[255\]; 255 marks ignored pixels"
    ):
        segmentation.run()


def test_mean_iou_and_what_it_loses_add_up_to_1(segmentation):
    metrics = segmentation.run()
    assert metrics["mean_iou"] + sum(metrics["iou_lost"].values()) == pytest.approx(1)
    foreground = segmentation.run(changed(classes="foreground"))
    assert foreground["mean_iou_foreground"] + sum(foreground["iou_lost"].values()) == pytest.approx(1)


def test_confusion_names_what_was_taken_for_what(segmentation):
    segmentation.run()
    assert [list(row.values()) for row in segmentation.rows("confusion.csv")] == [
        ["background", "background", "4"],
        ["background", "ant", "1"],
        ["ant", "ant", "2"],
        ["cat", "cat", "2"],
    ]
