"""Pixels to instances: scores as shares, and the least area."""

import numpy as np
import pytest
from support.export import LABELS, NAMES

from pipeline.export.images import Named, localized, segmented

NAMED = Named("a", "deep/a.jpg")


def test_a_label_map_by_hand() -> None:
    image = segmented(NAMED, LABELS, np.array([0.5, 0.25, 1], np.float32), NAMES)
    found = [(one.class_name, one.class_id, one.score, one.box, one.area) for one in image.instances]
    assert found == [
        ("ant", 1, 0.5, (0, 0, 2, 2), 8),
        ("honey bee", 2, 0.25, (4, 2, 4, 3), 2),
        ("cow", 3, 1.0, (6, 1, 6, 2), 2),
        ("honey bee", 2, 0.25, (4, 0, 4, 0), 1),
    ]
    assert (image.name, image.file_name, image.file, image.shape, image.left_out) == (
        "a",
        "deep/a.jpg",
        None,
        (4, 7),
        0,
    )


@pytest.mark.parametrize(("threshold", "boxes"), [(100, [(0, 0, 1, 0), (3, 0, 3, 0)]), (101, [(0, 0, 0, 0)])])
def test_a_score_map_by_hand(threshold: int, boxes: list[tuple[int, int, int, int]]) -> None:
    image = localized(NAMED, np.array([[204, 100, 0, 100]], np.uint8), threshold, 1, NAMES)
    assert [one.box for one in image.instances] == boxes
    assert {one.class_id for one in image.instances} == {2}
    assert image.instances[0].score == pytest.approx((152 if threshold == 100 else 204) / 255)


def test_smaller_instances_are_left_out_and_counted() -> None:
    image = segmented(NAMED, LABELS, np.ones(3, np.float32), NAMES, min_area=2)
    assert ([one.area for one in image.instances], image.left_out) == ([8, 2, 2], 1)
    assert localized(NAMED, LABELS, 1, 0, NAMES, min_area=9).instances == ()
    assert localized(NAMED, np.full((1, 1), 255, np.uint8), 256, 0, NAMES).instances == ()
