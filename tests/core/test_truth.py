"""Masks and boxes as the scorers want them, from files on disk."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.images import encode_png
from pipeline.core.manifest import Record
from pipeline.core.truth import has_foreground, has_label_map, read_foreground, read_foreground_map, read_label_map

SHAPE = (3, 5)
MASK = np.array([[0, 1, 2, 128, 129], [254, 255, 0, 0, 0], [0, 0, 0, 0, 3]], np.uint8)


@pytest.fixture
def record(tmp_path):
    def make(mask=None, boxes=(), labels=(1,), size=(5, 3)):
        path = None
        if mask is not None:
            path = tmp_path / "mask.png"
            path.write_bytes(encode_png(mask))
        return Record("a", tmp_path / "a.jpg", *size, labels, "val", path, boxes)

    return make


def test_a_foreground_mask_is_foreground_above_128(record):
    mask, ignored = read_foreground(record(MASK), "foreground")
    assert np.argwhere(mask).tolist() == [[0, 4], [1, 0], [1, 1]]
    assert not ignored.any()
    assert (mask.dtype, ignored.dtype, mask.shape, ignored.shape) == (bool, bool, SHAPE, SHAPE)


def test_a_mask_of_labels_is_foreground_in_1_to_254_and_ignored_at_255(record):
    mask, ignored = read_foreground(record(MASK), "labels")
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 0], [2, 4]]
    assert np.argwhere(ignored).tolist() == [[1, 1]]


def test_foreground_and_ignored_pixels_are_one_array(record):
    found = read_foreground_map(record(np.array([[0, 2, 255]], np.uint8), size=(3, 1)), "labels")
    assert (found.dtype, found.tolist()) == (np.uint8, [[0, 1, 255]])


def test_boxes_are_filled_with_inclusive_corners_and_cut_at_the_border(record):
    mask, ignored = read_foreground(record(boxes=((0, 1, 1, 2), (3, -2, 8, 0))), "foreground")
    assert mask.astype(int).tolist() == [[0, 0, 0, 1, 1], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]
    assert not ignored.any()


def test_a_mask_wins_over_boxes(record):
    mask, _ = read_foreground(record(MASK, boxes=((0, 0, 4, 2),)), "foreground")
    assert mask.sum() == 3


def test_a_size_that_is_not_in_the_manifest_is_read_from_the_image(record, tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode_png(np.zeros((3, 5), np.uint8)))
    assert read_foreground(record(boxes=((0, 0, 0, 0),), size=(0, 0)), "foreground")[0].shape == SHAPE
    (tmp_path / "a.jpg").write_bytes(encode_png(np.zeros((4, 5), np.uint8)))
    with pytest.raises(DataError, match="expected the size of its image, 5x4"):
        read_foreground(record(MASK, size=(0, 0)), "labels")


def test_a_label_map_is_read_as_stored(record):
    stored = np.array([[0, 1, 2, 3, 255]] * 3, np.uint8)
    assert read_label_map(record(stored, labels=()), "labels", 3).tolist() == stored.tolist()


def test_a_foreground_mask_takes_the_class_of_the_single_label(record):
    labels = read_label_map(record(MASK, labels=(6,)), "foreground", 10)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 0, 0, 0, 7], [7, 7, 0, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("mask_kind", ["foreground", "labels"])
def test_boxes_take_the_class_of_the_single_label(record, mask_kind):
    assert read_label_map(record(boxes=((4, 0, 4, 1),), labels=(0,)), mask_kind, 1)[:, 3:].tolist() == [
        [0, 1],
        [0, 1],
        [0, 0],
    ]


def test_class_254_fits(record):
    assert read_label_map(record(MASK, labels=(253,)), "foreground", 254).max() == 254


@pytest.mark.parametrize(
    ("mask", "boxes", "labels", "foreground", "in_foreground_masks", "in_label_masks"),
    [
        (True, False, (), True, False, True),
        (True, False, (1,), True, True, True),
        (True, False, (1, 2), True, False, True),
        (False, True, (1,), True, True, True),
        (False, True, (1, 2), True, False, False),
        (False, True, (), True, False, False),
        (False, False, (1,), False, False, False),
    ],
)
def test_which_images_have_truth(record, mask, boxes, labels, foreground, in_foreground_masks, in_label_masks):
    made = record(MASK if mask else None, ((0, 0, 1, 1),) if boxes else (), labels)
    assert has_foreground(made) is foreground
    assert has_label_map(made, "foreground") is in_foreground_masks
    assert has_label_map(made, "labels") is in_label_masks


@pytest.mark.parametrize("mask_kind", ["foreground", "labels"])
def test_a_mask_of_another_size_is_refused(record, mask_kind):
    expected = (
        r"mask.png: expected the size of its image, 3x5 \(width x height\), got 5x3; likely width and height swapped$"
    )
    for read in (lambda made: read_foreground(made, mask_kind), lambda made: read_label_map(made, mask_kind, 254)):
        with pytest.raises(DataError, match=expected):
            read(record(MASK, size=(3, 5)))
        with pytest.raises(DataError, match=r"expected the size of its image, 5x4 \(width x height\), got 5x3$"):
            read(record(MASK, size=(5, 4)))


def test_values_of_other_classes_are_refused(record):
    message = (
        r"mask.png: expected mask values 0..3 or 255, got \[128, 129, 254\]; likely a mask of other classes, or set"
    )
    with pytest.raises(DataError, match=message):
        read_label_map(record(MASK), "labels", 3)


def test_a_foreground_mask_of_zero_and_one_is_refused(record):
    message = (
        "mask.png: expected a foreground mask of 0 and 255, got values 0 and 1; likely class ids, set "
        "preprocess.source.masks"
    )
    with pytest.raises(DataError, match=message):
        read_foreground(record((MASK == 0).astype(np.uint8)), "foreground")


@pytest.mark.parametrize("value", [0, 2, 128])
def test_a_foreground_mask_without_foreground_is_read(record, value):
    assert not read_foreground(record(np.full(SHAPE, value, np.uint8)), "foreground")[0].any()


@pytest.mark.parametrize("labels", [(), (1, 2), (9,), (-1,)])
def test_foreground_of_an_unknown_class_is_refused(record, labels):
    with pytest.raises(
        DataError, match=r"mask.png: expected one label in 0..8 that names the class of the foreground, got \["
    ):
        read_label_map(record(MASK, labels=labels), "foreground", 9)


@pytest.mark.parametrize(
    "box", [(5, 0, 6, 1), (0, 3, 1, 4), (-3, 0, -1, 1), (0, -3, 1, -1), (3, 0, 2, 1), (0, 2, 1, 1)]
)
def test_a_box_outside_the_image_is_refused(record, box):
    message = (
        rf"a.jpg: expected boxes x0 y0 x1 y1 inside 5x3 \(width x height\), got {' '.join(map(str, box))}; corners are"
    )
    with pytest.raises(DataError, match=message):
        read_foreground(record(boxes=(box,)), "foreground")


def test_an_image_without_truth_is_refused(record):
    with pytest.raises(DataError, match=r"a.jpg: expected a mask or boxes, got neither$"):
        read_foreground(record(), "foreground")


def test_too_many_classes_are_refused(record):
    with pytest.raises(
        DataError, match=r"a.jpg: expected at most 254 classes for a label map, got 255; it has 8 bits$"
    ):
        read_label_map(record(MASK), "foreground", 255)


def test_a_missing_mask_is_named(record):
    made = record(MASK)
    Path(made.mask).unlink()
    with pytest.raises(DataError, match=r"mask.png: expected an image, found no file"):
        read_foreground(made, "foreground")
