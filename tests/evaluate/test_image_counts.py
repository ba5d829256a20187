"""Counts of the images: what is written is read, and gives the score of the whole set and of parts of it."""

import numpy as np
import pytest
from support.evaluation import SETTINGS, changed, image, localization_world, segmentation_world

from pipeline.core.errors import StoreError
from pipeline.evaluate.image_counts import (
    IMAGE_COUNTS,
    ImageCounts,
    StoredImageCounts,
    read_image_counts,
    score_of_counts,
    write_image_counts,
)
from pipeline.evaluate.intervals import mean_iou_score, peak_iou_score


@pytest.mark.parametrize(
    ("world", "task", "key"),
    [(localization_world, "localization", "peak_iou"), (segmentation_world, "segmentation", "mean_iou")],
)
def test_the_counts_of_a_run_give_its_scores(tmp_path, world, task, key):
    made = world(tmp_path)
    metrics = made.run()
    counts = read_image_counts(tmp_path / "report" / IMAGE_COUNTS)
    every = np.ones((1, metrics["images"]), np.int64)
    assert len(counts.ids) == metrics["images"]
    assert score_of_counts(counts.after, task, SETTINGS)(every).tolist() == [metrics[key]]
    assert score_of_counts(counts.before, task, SETTINGS)(every).tolist() == [metrics["before_crf"][key]]


def test_images_are_in_the_order_of_their_ids(tmp_path):
    """The first image is found, the second is not: a weight of 1 for one of them says which is which."""
    made = localization_world(tmp_path)
    images = {"b": image([[9, 0]], truth=[[255, 0]]), "a": image([[0, 9]], truth=[[255, 0]])}
    made = type(made)(tmp_path / "two", "track3", images, "foreground")
    made.run()
    counts = read_image_counts(tmp_path / "two" / "report" / IMAGE_COUNTS)
    assert counts.ids == ("a", "b")
    assert score_of_counts(counts.after, "localization", SETTINGS)(np.eye(2, dtype=np.int64)).tolist() == [0.5, 1.0]


def test_the_settings_say_how_counts_are_read():
    random = np.random.default_rng(0)
    maps, weights = random.integers(0, 9, (5, 2, 256), np.int32), random.integers(0, 3, (4, 5))
    mean = score_of_counts(maps, "localization", changed(average="mean", comparison=">"))
    assert mean(weights).tolist() == peak_iou_score(maps, ">", "mean")(weights).tolist()
    labels = np.sort(random.integers(0, 9, (5, 3, 4), np.int32), axis=1)
    foreground = score_of_counts(labels, "segmentation", changed(classes="foreground"))
    assert foreground(weights).tolist() == mean_iou_score(labels, "foreground")(weights).tolist()


def test_what_is_written_is_read_and_equal_counts_give_equal_bytes(tmp_path):
    counts = ImageCounts(("a", "ü/1"), np.arange(12, dtype=np.int32).reshape(2, 3, 2), np.ones((2, 3, 2), np.int32))
    for name in ("one.npz", "other.npz"):
        write_image_counts(tmp_path / name, counts)
    for read in (read_image_counts(tmp_path / "one.npz"), StoredImageCounts(tmp_path / "one.npz")):
        assert read.ids == counts.ids
        np.testing.assert_array_equal(read.before, counts.before)
        np.testing.assert_array_equal(read.after, counts.after)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_a_file_that_is_missing_damaged_or_of_something_else_is_refused(tmp_path):
    with pytest.raises(StoreError, match="found no file; run `evaluate` again"):
        read_image_counts(tmp_path / IMAGE_COUNTS)
    (tmp_path / IMAGE_COUNTS).write_bytes(b"PK\x03\x04 half")
    with pytest.raises(StoreError, match="likely damaged"):
        read_image_counts(tmp_path / IMAGE_COUNTS)
    np.savez(tmp_path / IMAGE_COUNTS, ids=np.array(["a"]))
    with pytest.raises(StoreError, match="expected the arrays ids, before and after"):
        read_image_counts(tmp_path / IMAGE_COUNTS)
    with pytest.raises(StoreError, match="expected the arrays ids, before and after"):
        _ = StoredImageCounts(tmp_path / IMAGE_COUNTS).before
    assert StoredImageCounts(tmp_path / IMAGE_COUNTS).ids == ("a",)  # asked for alone
