"""The maximum and percentiles as the standard of maps."""

import numpy as np
import pytest
from support.finished_run import ellipse

from pipeline.evaluate.diagnostics_sample import StoredMap
from pipeline.evaluate.standards import LEVELS, compare_standards, own_threshold


def _stored(cam, inside, ignored=None, name="a"):
    inside = np.array(inside, bool)
    ignored = np.zeros_like(inside) if ignored is None else np.array(ignored, bool)
    return StoredMap(name, np.array(cam, np.float32), inside, ignored)


def _peaked(number):
    """A plateau of 1 on the object with a peak of `number` on one pixel; half as much beside it, 0 in a corner."""
    inside = ellipse(number)
    cam = np.where(inside, 1, 0.5)
    cam[0, 0] = 0
    cam[tuple(np.argwhere(inside)[0])] = number
    return _stored(cam, inside, name=f"image {number}")


def test_percentiles_beat_the_maximum_where_peaks_differ():
    """Maps of one shape whose peaks are 1 to 6 times as high as the plateau: one threshold of the maximum fits few."""
    rows = {row.percentile: row for row in compare_standards(_peaked(number) for number in range(1, 7))}
    assert tuple(rows) == LEVELS
    assert rows[99.0].peak_iou == 1.0  # the plateau is the standard of every map
    assert rows[99.0].maximum_over_standard == pytest.approx(3.5)  # mean of 1 to 6
    assert rows[100.0].maximum_over_standard == 1
    assert rows[100.0].peak_iou < 0.8
    assert rows[100.0].own_threshold_variation > rows[99.0].own_threshold_variation + 0.1


def test_the_own_threshold_is_a_share_of_the_standard():
    stored = _stored([[0, 1, 2, 4]], [[False, False, True, True]])
    assert own_threshold(stored.cam, stored) == pytest.approx(2, abs=4 / 255)  # {>= 2} is the object
    assert own_threshold(stored.cam / 4, stored) == pytest.approx(0.5, abs=1 / 255)


def test_a_map_without_a_value_has_the_threshold_0():
    stored = _stored([[0, 0]], [[False, True]])
    assert own_threshold(stored.cam, stored) == 0
    assert {row.own_threshold_variation for row in compare_standards([stored])} == {None}


def test_ignored_pixels_do_not_count():
    cam, inside = [[4, 1, 2, 0]], [[False, False, True, False]]
    rows = compare_standards([_stored(cam, inside, [[True, True, False, False]])])
    assert {row.peak_iou for row in rows} == {1.0}
    assert max(row.peak_iou for row in compare_standards([_stored(cam, inside)])) == 0.5


def test_maps_without_an_object_are_no_sample():
    assert compare_standards([]) == []
    assert compare_standards([_stored([[1, 2]], [[False, False]])]) == []
    assert compare_standards([_stored([[1, 2]], [[True, False]], [[True, False]])]) == []
