"""Boxes of score maps against a flood fill over all thresholds, and accuracies against hand-computed values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core.errors import ScoreError
from pipeline.evaluate import boxes as module
from pipeline.evaluate.boxes import (
    BoxAccuracy,
    box_iou,
    component_boxes,
    nested_overlaps,
    outlined_boxes,
    overlaps_at_thresholds,
)

DELTAS = (0.3, 0.5, 0.7)


def slow_components(mask):
    """Pixel sets of the 8-connected components, by flood fill."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    components = []
    while left:
        frontier, component = [left.pop()], set()
        while frontier:
            y, x = frontier.pop()
            component.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            frontier += near
        components.append(component)
    return components


def slow_box(component):
    rows, columns = [y for y, _ in component], [x for _, x in component]
    return min(columns), min(rows), max(columns), max(rows)


def slow_iou(first, second):
    def pixels(box):
        return {(x, y) for x in range(box[0], box[2] + 1) for y in range(box[1], box[3] + 1)}

    return len(pixels(first) & pixels(second)) / len(pixels(first) | pixels(second))


def slow_overlaps(score, truth):
    """(largest, any) at every threshold; the largest is the first by size, then y0, x0, y1, x1."""
    rows = []
    for threshold in range(256):
        components = slow_components(score >= threshold)
        keys = sorted((-len(c), slow_box(c)[1], slow_box(c)[0], slow_box(c)[3], slow_box(c)[2]) for c in components)
        boxes = [(x0, y0, x1, y1) for _, y0, x0, y1, x1 in keys]
        ious = [max(slow_iou(box, true) for true in truth) for box in boxes]
        rows.append((ious[0], max(ious)) if ious else (0.0, 0.0))
    return np.array(rows).T


@st.composite
def scored_images(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 7)))
    score = draw(arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 3, 4, 5, 90, 252, 253, 255])))
    boxes = []
    for _ in range(draw(st.integers(1, 2))):
        x0, y0 = draw(st.integers(0, shape[1] - 1)), draw(st.integers(0, shape[0] - 1))
        boxes.append((x0, y0, draw(st.integers(x0, shape[1] - 1)), draw(st.integers(y0, shape[0] - 1))))
    return score, boxes, draw(st.sampled_from([True, False, None]))


def state_of(images, deltas=DELTAS):
    state = BoxAccuracy(deltas)
    for number, (score, boxes, right) in enumerate(images):
        state.accumulate(score, boxes, f"image{number}", right)
    return state


def filled(shape, *painted):
    score = np.zeros(shape, np.uint8)
    for value, (x0, y0, x1, y1) in painted:
        score[y0 : y1 + 1, x0 : x1 + 1] = value
    return score


def test_corners_are_inclusive():
    assert box_iou(np.array([[2, 1, 2, 1]]), np.array([[2, 1, 2, 1], [2, 1, 3, 1], [3, 1, 3, 1]])).tolist() == [
        [1.0, 0.5, 0.0]
    ]


def test_iou_of_boxes_apart_in_both_directions_is_zero():
    assert box_iou(np.array([[0, 0, 1, 1]]), np.array([[5, 6, 7, 8]])).tolist() == [[0.0]]  # not (-3) * (-4) / ...


def test_components_touch_at_corners_and_come_largest_first():
    mask = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1]], bool)
    boxes, areas = component_boxes(mask)
    assert boxes.tolist() == [[0, 0, 2, 2], [4, 0, 4, 0], [4, 2, 4, 2]]
    assert areas.tolist() == [3, 1, 1]


def test_a_component_away_from_the_corner_keeps_its_place():
    boxes, _ = component_boxes(filled((9, 12), (1, (7, 4, 9, 6))).astype(bool))
    assert boxes.tolist() == [[7, 4, 9, 6]]


@pytest.mark.parametrize("shape", [(3, 5), (0, 5)])
def test_an_empty_mask_has_no_components(shape):
    boxes, areas = component_boxes(np.zeros(shape, bool))
    assert (boxes.shape, areas.shape) == ((0, 4), (0,))
    assert not overlaps_at_thresholds(np.zeros((0, 5), np.uint8), np.array([[0, 0, 4, 0]])).any()


def test_largest_is_by_pixels_not_by_box():
    hollow = filled((6, 12), (255, (0, 0, 5, 5)), (0, (1, 1, 5, 5)), (255, (7, 0, 9, 3)))  # 11 pixels in 36; 12 in 12
    overlaps = overlaps_at_thresholds(hollow, np.array([[7, 0, 9, 3]]))
    assert overlaps[:, -1].tolist() == [1.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(image=scored_images())
def test_equals_a_flood_fill(image):
    score, truth, _ = image
    np.testing.assert_array_equal(overlaps_at_thresholds(score, np.array(truth)), slow_overlaps(score, truth))


def test_equals_a_flood_fill_on_a_larger_image():
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (5, 6)).astype(np.uint8)
    score = np.kron(rough, np.ones((3, 4), np.uint8)) // 2 + rng.integers(0, 128, (15, 24)).astype(np.uint8)
    truth = [(3, 2, 12, 11), (15, 1, 20, 13)]
    np.testing.assert_array_equal(overlaps_at_thresholds(score, np.array(truth)), slow_overlaps(score, truth))


@settings(max_examples=40, deadline=None)
@given(image=scored_images())
def test_a_map_of_one_component_needs_no_labeling(image):
    score, truth, _ = image
    y, x = np.mgrid[: score.shape[0], : score.shape[1]]
    hill = np.clip(250 - 40 * np.hypot(y - 2, x - 3), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(nested_overlaps(hill, np.array(truth)), overlaps_at_thresholds(hill, np.array(truth)))


@pytest.mark.parametrize("peak", [1, 2, 3, 5])
def test_a_saturated_map_is_right_at_the_threshold_it_peaks_at(peak):
    """The CRF leaves 0 and 255 and, around the object, values of 1 to 3: every fourth threshold would miss them."""
    saturated = filled((4, 12), (peak, (2, 1, 7, 2)))
    scores = state_of([(saturated, [(2, 1, 7, 2)], True)]).compute()
    assert (scores.gt_known_loc, scores.threshold, scores.max_box_acc_v2) == (1.0, peak, 1.0)


def test_a_component_in_the_hole_of_another_has_a_box():
    ring = filled((7, 9), (200, (0, 0, 8, 6)), (0, (1, 1, 7, 5)), (200, (3, 2, 5, 4)))
    boxes, first, contours = outlined_boxes(ring > 0, int((ring > 0).sum()))
    assert sorted(boxes.tolist()) == [[0, 0, 8, 6], [3, 2, 5, 4]]
    assert (boxes[first].tolist(), contours) == ([0, 0, 8, 6], 3)


def test_the_largest_is_counted_where_boxes_do_not_tell():
    # a hook of 11 pixels around a square of 12: both bounds leave both in doubt
    hollow = filled((6, 12), (1, (0, 0, 5, 5)), (0, (1, 1, 5, 5)), (1, (2, 2, 5, 4))).astype(bool)
    boxes, first, _ = outlined_boxes(hollow, 23)
    assert boxes[first].tolist() == [2, 2, 5, 4]


@settings(max_examples=100, deadline=None)
@given(mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 9))).filter(np.any))
def test_outlines_give_the_boxes_of_the_labeled_components(mask):
    expected, _ = component_boxes(mask)
    boxes, first, _ = outlined_boxes(mask, int(mask.sum()))
    assert sorted(boxes.tolist()) == sorted(expected.tolist())
    assert boxes[first].tolist() == expected[0].tolist()


def test_a_crowded_map_gives_the_same_by_labeling(monkeypatch):
    score = np.random.default_rng(1).integers(0, 256, (24, 31)).astype(np.uint8)
    followed = overlaps_at_thresholds(score, np.array([[3, 2, 20, 15]]))
    monkeypatch.setattr(module, "CROWDED", -1)
    np.testing.assert_array_equal(overlaps_at_thresholds(score, np.array([[3, 2, 20, 15]])), followed)


def test_accuracies_exact_values():
    # true box 0 0 9 1 (20 pixels). First: IoU 0.5 at 100, 1/20 at 200. Second: large wrong part, small right one.
    truth = [(0, 0, 9, 1)]
    first = filled((2, 20), (100, (0, 0, 4, 1)), (200, (0, 0, 0, 0)))
    second = filled((6, 20), (100, (0, 0, 9, 1)), (100, (0, 3, 19, 5)))
    state = state_of([(first, truth, True), (second, truth, False)])
    scores = state.compute()
    # t = 0: whole images, 20/40 and 20/120; 1..100: 0.5 and 0 (largest) or 1 (any); 101..200: 0.05 and nothing
    assert (scores.gt_known_loc, scores.threshold) == (0.5, 100)
    assert scores.top1_loc == 0.5
    assert scores.max_box_acc_v2 == pytest.approx((1 + 1 + 0.5) / 3)


def test_top1_needs_box_and_class_and_a_label():
    truth = [(0, 0, 3, 1)]
    perfect, wrong = filled((2, 9), (255, (0, 0, 3, 1))), filled((2, 9), (255, (5, 0, 8, 1)))
    state = state_of([(perfect, truth, True), (perfect, truth, False), (perfect, truth, None), (wrong, truth, True)])
    scores = state.compute()
    assert scores.gt_known_loc == 3 / 4
    assert scores.top1_loc == 1 / 3
    assert state_of([(perfect, truth, None)]).compute().top1_loc is None


def test_top1_is_taken_at_the_threshold_that_is_best_for_the_boxes():
    truth = [(0, 0, 3, 0)]
    low, high = filled((1, 30), (100, (0, 0, 3, 0))), filled((1, 30), (200, (0, 0, 3, 0)), (100, (4, 0, 29, 0)))
    scores = state_of([(low, truth, True), (high, truth, False), (high, truth, False)]).compute()
    assert (scores.gt_known_loc, scores.threshold, scores.top1_loc) == (2 / 3, 200, 0.0)  # top1 would be 1 / 3 at 100


def test_an_overlap_equal_to_the_level_is_right():
    score = filled((1, 20), (255, (0, 0, 2, 0)))
    assert state_of([(score, [(0, 0, 9, 0)], None)], deltas=(3 / 10,)).compute().max_box_acc_v2 == 1.0
    assert state_of([(score, [(0, 0, 9, 0)], None)], deltas=(0.31,)).compute().max_box_acc_v2 == 1.0  # at t = 0: 10/20
    assert state_of([(score, [(0, 0, 9, 0)], None)], deltas=(0.51,)).compute().max_box_acc_v2 == 0.0


def test_levels_may_peak_at_different_thresholds():
    # 255 holds half of one object, 100 all of another: no single threshold is best for both levels
    first = filled((1, 30), (255, (0, 0, 9, 0)), (100, (10, 0, 29, 0)))
    second = filled((1, 30), (100, (0, 0, 4, 0)))
    state = state_of([(first, [(0, 0, 9, 0)], None), (second, [(0, 0, 9, 0)], None)], deltas=(0.3, 1.0))
    assert state.any.max(axis=1).tolist() == [2, 1]
    assert state.compute().max_box_acc_v2 == 0.75


@settings(max_examples=40, deadline=None)
@given(images=st.lists(scored_images(), min_size=1, max_size=4), data=st.data())
def test_merging_in_any_order_gives_the_same_state(images, data):
    whole, merged = state_of(images), BoxAccuracy(DELTAS)
    for image in data.draw(st.permutations(images)):
        merged.merge(state_of([image]))
    assert merged.compute() == whole.compute()
    for name in ("largest", "top1", "any"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert (merged.images, merged.labeled) == (whole.images, whole.labeled)


@settings(max_examples=40, deadline=None)
@given(images=st.lists(scored_images(), min_size=1, max_size=3))
def test_scores_are_bounded_and_some_component_is_at_least_as_good_as_the_largest(images):
    state = state_of(images, deltas=(0.5,))
    scores = state.compute()
    assert 0 <= scores.gt_known_loc <= scores.max_box_acc_v2 <= 1
    assert scores.top1_loc is None or 0 <= scores.top1_loc <= 1
    assert state.largest[scores.threshold] == state.largest.max()
    assert (state.largest[scores.threshold + 1 :] < state.largest.max()).all()


@settings(max_examples=30, deadline=None)
@given(images=st.lists(scored_images(), min_size=1, max_size=3))
def test_a_map_that_is_the_box_is_right_at_255(images):
    perfect = [(filled(score.shape, (255, boxes[0])), boxes, True) for score, boxes, _ in images]
    scores = state_of(perfect).compute()
    assert (scores.gt_known_loc, scores.threshold, scores.top1_loc, scores.max_box_acc_v2) == (1.0, 255, 1.0, 1.0)


def test_a_black_map_has_one_box_at_zero_and_none_above():
    overlaps = overlaps_at_thresholds(np.zeros((2, 5), np.uint8), np.array([[0, 0, 4, 0]]))
    assert overlaps[:, :2].tolist() == [[0.5, 0.0], [0.5, 0.0]]
    assert not overlaps[:, 1:].any()


@pytest.mark.parametrize(
    ("score", "boxes", "message"),
    [
        (np.zeros((2, 3)), [(0, 0, 1, 1)], r"^a: expected a uint8 score of shape \(H, W\), got float64 \(2, 3\)$"),
        (
            np.zeros((2, 3, 3), np.uint8),
            [(0, 0, 1, 1)],
            r"^a: expected a uint8 score of shape \(H, W\), got uint8 \(2, 3, 3\)$",
        ),
        (
            np.zeros((2, 3), np.uint8),
            [],
            r"^a: expected boxes \(x0, y0, x1, y1\) with x0 <= x1 and y0 <= y1, got \[\]$",
        ),
        (np.zeros((2, 3), np.uint8), [(2, 0, 1, 1)], r"got \[\(2, 0, 1, 1\)\]$"),
        (np.zeros((2, 3), np.uint8), [(0, 0, 1, 1), (0, 1, 1, 0)], r"got \[\(0, 0, 1, 1\), \(0, 1, 1, 0\)\]$"),
    ],
)
def test_wrong_input_is_refused_with_its_id(score, boxes, message):
    with pytest.raises(ScoreError, match=message):
        BoxAccuracy(DELTAS).accumulate(score, boxes, "a", None)


def test_states_of_other_levels_do_not_merge():
    with pytest.raises(ScoreError, match=r"^expected a state with box_iou \(0.3,\), got one with \(0.5,\)$"):
        BoxAccuracy((0.3,)).merge(BoxAccuracy((0.5,)))


def test_nothing_is_computed_without_images():
    with pytest.raises(ScoreError, match=r"^expected images with boxes, got none; likely an empty id list$"):
        BoxAccuracy(DELTAS).compute()


def test_hits_of_each_image_add_up_to_the_counts():
    """Whatever the order of the images and of the states that they come from."""
    random, states = np.random.default_rng(0), [BoxAccuracy(DELTAS), BoxAccuracy(DELTAS)]
    for number in range(7):
        score = random.integers(0, 256, (6, 9)).astype(np.uint8)
        states[number % 2].accumulate(score, [(1, 1, 5, 4)], f"n{(5 * number) % 7}", None)
    states[0].merge(states[1])
    hits = states[0].image_hits()
    assert hits.shape == (7, 4, 256)
    assert hits.dtype == np.bool_
    np.testing.assert_array_equal(hits[:, 0].sum(axis=0), states[0].largest)
    np.testing.assert_array_equal(hits[:, 1:].sum(axis=0), states[0].any)
    alone = BoxAccuracy(DELTAS)
    alone.accumulate(np.full((6, 9), 7, np.uint8), [(0, 0, 8, 5)], "a", None)
    assert alone.image_hits()[0].sum(axis=1).tolist() == [8, 8, 8, 8]  # right at 0..7
