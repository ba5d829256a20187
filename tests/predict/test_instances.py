"""Components by hand, and against a flood fill in loops."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.errors import SettingsError
from pipeline.predict.instances import components, instances_of_labels, instances_of_scores, large_enough, least_pixels

NAMES = ("ant", "bee", "cow")


def slow_components(mask: NDArray[np.bool_]) -> set[frozenset[tuple[int, int]]]:
    """The pixels (row, column) of each 8-connected component."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, set()
    while left:
        waiting, part = [left.pop()], set()
        while waiting:
            y, x = waiting.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting += near
        found.add(frozenset(part))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_components_equal_a_flood_fill(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 14)) < 0.1 * (seed + 1)
    found = set()
    for (x0, y0, x1, y1), area, crop in components(mask):
        rows, columns = np.nonzero(crop)
        assert crop.shape == (y1 - y0 + 1, x1 - x0 + 1)
        assert crop.any(axis=1)[[0, -1]].all(), "the box is tight"
        assert crop.any(axis=0)[[0, -1]].all()
        assert area == len(rows)
        found.add(frozenset(zip((rows + y0).tolist(), (columns + x0).tolist(), strict=True)))
    assert found == slow_components(mask)


def test_instances_of_a_score_map_by_hand() -> None:
    score = np.array([[200, 100, 0, 0, 250], [0, 0, 0, 0, 0], [0, 90, 90, 120, 0]], np.uint8)
    large, middle, small = instances_of_scores(score, score >= 90, 1, NAMES)
    assert [(one.class_name, one.class_id) for one in (large, middle, small)] == [("bee", 2)] * 3
    assert [one.box for one in (large, middle, small)] == [(1, 2, 3, 2), (0, 0, 1, 0), (4, 0, 4, 0)]
    assert [one.area for one in (large, middle, small)] == [3, 2, 1]
    assert [one.score for one in (large, middle, small)] == [100.0, 150.0, 250.0]
    assert np.array_equal(sum(one.mask.astype(int) for one in (large, middle, small)), (score >= 90).astype(int))
    assert instances_of_scores(score, score > 250, 1, NAMES) == ()


def test_instances_of_a_label_map_are_of_one_class_each() -> None:
    """Classes that touch are apart; the score is the probability of the class."""
    label_map = np.array([[1, 1, 3, 0], [1, 0, 3, 0], [0, 0, 0, 1]], np.uint8)
    found = instances_of_labels(label_map, np.array([0.25, 0.5, 0.75], np.float32), NAMES)
    assert [(one.class_name, one.class_id, one.score, one.box, one.area) for one in found] == [
        ("ant", 1, 0.25, (0, 0, 1, 1), 3),
        ("cow", 3, 0.75, (2, 0, 2, 1), 2),
        ("ant", 1, 0.25, (3, 2, 3, 2), 1),
    ]
    for one in found:
        assert one.mask.shape == label_map.shape
        assert (label_map[one.mask] == one.class_id).all()
    assert instances_of_labels(np.zeros((2, 3), np.uint8), np.zeros(3, np.float32), NAMES) == ()


@pytest.mark.parametrize(
    ("min_area", "areas", "left_out"),
    [(0, [6, 2, 1], 0), (1, [6, 2, 1], 0), (2, [6, 2], 1), (2 / 40, [6, 2], 1), (0.051, [6], 2), (7, [], 3)],
)
def test_small_instances_are_left_out_by_pixels_or_by_share(min_area: float, areas: list[int], left_out: int) -> None:
    """On 40 pixels; below 1 the least area is a share of them, and an instance of just this area stays."""
    mask = np.zeros((4, 10), np.bool_)
    mask[:2, :3], mask[0, 5:7], mask[3, 9] = True, True, True
    found = instances_of_scores(mask.astype(np.uint8), mask, 0, NAMES)
    kept, count = large_enough(found, min_area, (4, 10))
    assert ([one.area for one in kept], count) == (areas, left_out)


@pytest.mark.parametrize("wrong", [-1, -0.1, float("nan"), float("inf")])
def test_a_least_area_that_is_none(wrong: float) -> None:
    with pytest.raises(SettingsError, match="min_area: expected pixels, or below 1 a share of the image"):
        least_pixels(wrong, (4, 10))
