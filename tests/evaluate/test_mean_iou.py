"""Mean IoU and accuracies against hand-computed values, plain loops, and their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core.errors import ScoreError
from pipeline.evaluate.mean_iou import MeanIoU, class_iou, confusion_matrix, image_mean_iou

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 1, 1, 1], [0, 2, 0, 2]], np.uint8)


def state_of(pairs, classes, first=0):
    state = MeanIoU(classes)
    for number, (truth, prediction) in enumerate(pairs, first):
        state.accumulate(truth, prediction, f"image{number}")
    return state


def label_maps(classes, ignore):
    values = [*range(classes + 1), 255] if ignore else [*range(classes + 1)]
    return lambda shape: arrays.arrays(np.uint8, shape, elements=st.sampled_from(values))


@st.composite
def pairs_of_label_maps(draw, classes=3):
    pairs = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
        pairs.append((draw(label_maps(classes, True)(shape)), draw(label_maps(classes, False)(shape))))
    pairs[0][0][0, 0] = 0  # some pixel is scored
    return pairs


def test_exact_values():
    state = state_of([(TRUTH, PREDICTION)], classes=4)
    # background: 2 found, 3 true, 3 predicted; class 1: 2, 2, 3; class 2: 1, 2, 1 (the prediction at 255 is ignored)
    scores = state.compute()
    np.testing.assert_array_equal(scores.class_iou, [2 / 4, 2 / 3, 1 / 2, np.nan, np.nan])
    assert scores.mean_iou == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3, abs=1e-15)
    assert scores.mean_iou_foreground == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-15)
    assert scores.pixel_accuracy == 5 / 7
    assert scores.mean_accuracy == pytest.approx((2 / 3 + 1 + 1 / 2) / 3, abs=1e-15)
    assert (scores.present, scores.absent) == ((0, 1, 2), (3, 4))
    assert (state.images, state.pixels, state.ignored_pixels) == (1, 7, 1)


def test_the_matrix_has_truth_in_rows_and_prediction_in_columns():
    assert confusion_matrix(TRUTH, PREDICTION, 2, "a").tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_accumulate_returns_the_matrix_of_the_image_alone():
    state = state_of([(TRUTH, TRUTH * (TRUTH != 255))], classes=2)
    own = state.accumulate(TRUTH, PREDICTION, "b")
    assert own.tolist() == confusion_matrix(TRUTH, PREDICTION, 2, "b").tolist()
    assert image_mean_iou(own) == pytest.approx(5 / 9, abs=1e-15)
    assert state.pixels == 14


def test_a_class_that_is_only_predicted_counts_as_zero_and_not_as_absent():
    scores = state_of([(np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 1]], np.uint8))], classes=2).compute()
    assert scores.class_iou[1] == 0
    assert scores.mean_iou == 0.375
    assert scores.mean_accuracy == 0.75  # over the classes in the truth: background alone
    assert scores.absent == (2,)


def test_background_only_has_no_foreground_mean():
    scores = state_of([(np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8))], classes=2).compute()
    assert (scores.mean_iou, scores.mean_iou_foreground) == (1.0, None)


def test_an_image_that_is_all_ignored_changes_no_score():
    state = state_of([(TRUTH, PREDICTION)], classes=2)
    before = state.matrix.copy()
    own = state.accumulate(np.full((2, 3), 255, np.uint8), np.ones((2, 3), np.uint8), "b")
    assert image_mean_iou(own) is None
    assert (state.matrix == before).all()
    assert (state.images, state.ignored_pixels) == (2, 7)


@settings(max_examples=40, deadline=None)
@given(pairs=pairs_of_label_maps())
def test_equals_a_plain_loop(pairs):
    scores = state_of(pairs, classes=3).compute()
    flat = [
        (t, a)
        for truth, prediction in pairs
        for t, a in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True)
        if t != 255
    ]
    ious, recalls = [], []
    for k in range(4):
        union = sum(k in pair for pair in flat)
        ious.append(flat.count((k, k)) / union if union else None)
        true = sum(t == k for t, _ in flat)
        recalls += [flat.count((k, k)) / true] if true else []
    assert [None if np.isnan(iou) else iou for iou in scores.class_iou.tolist()] == ious
    present = [iou for iou in ious if iou is not None]
    foreground = [iou for iou in ious[1:] if iou is not None]
    assert scores.mean_iou == pytest.approx(sum(present) / len(present), rel=1e-14)
    assert scores.mean_iou_foreground == (
        pytest.approx(sum(foreground) / len(foreground), rel=1e-14) if foreground else None
    )
    assert scores.pixel_accuracy == sum(t == a for t, a in flat) / len(flat)
    assert scores.mean_accuracy == pytest.approx(sum(recalls) / len(recalls), rel=1e-14)
    assert scores.absent == tuple(k for k in range(4) if ious[k] is None)
    assert sorted(scores.absent + scores.present) == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(pairs=pairs_of_label_maps(), data=st.data())
def test_merging_in_any_order_gives_the_same_state(pairs, data):
    whole, merged = state_of(pairs, classes=3), MeanIoU(3)
    for number, pair in data.draw(st.permutations(list(enumerate(pairs)))):
        merged.merge(state_of([pair], classes=3, first=number))
    assert merged.matrix.tolist() == whole.matrix.tolist()
    assert merged.image_counts().tolist() == whole.image_counts().tolist()
    assert (merged.images, merged.pixels, merged.ignored_pixels) == (whole.images, whole.pixels, whole.ignored_pixels)
    assert merged.compute().mean_iou == whole.compute().mean_iou


@settings(max_examples=30, deadline=None)
@given(pairs=pairs_of_label_maps())
def test_scores_are_bounded_and_a_perfect_prediction_gets_one(pairs):
    scores = state_of(pairs, classes=3).compute()
    assert all(0 <= value <= 1 for value in (scores.mean_iou, scores.pixel_accuracy, scores.mean_accuracy))
    perfect = state_of(
        [(truth, np.where(truth == 255, 1, truth).astype(np.uint8)) for truth, _ in pairs], classes=3
    ).compute()
    assert (perfect.mean_iou, perfect.pixel_accuracy, perfect.mean_accuracy) == (1.0, 1.0, 1.0)


def test_254_classes_fit():
    truth = np.array([[254, 253, 255]], np.uint8)
    scores = state_of([(truth, np.array([[254, 254, 0]], np.uint8))], classes=254).compute()
    assert (scores.class_iou[254], scores.class_iou[253], len(scores.absent)) == (0.5, 0.0, 253)


def test_iou_of_large_counts():
    matrix = np.array([[3 * 2**40, 2**40], [0, 0]])
    assert class_iou(matrix).tolist() == [0.75, 0.0]


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (
            TRUTH,
            PREDICTION.T,
            r"^a: expected truth and prediction as uint8 of one shape \(H, W\), "
            r"got uint8 \(2, 4\) and uint8 \(4, 2\); likely",
        ),
        (TRUTH, PREDICTION[:, :3], r"got uint8 \(2, 4\) and uint8 \(2, 3\)$"),
        (TRUTH, PREDICTION.astype(np.int64), r"got uint8 \(2, 4\) and int64 \(2, 4\)$"),
        (TRUTH.astype(np.int64), PREDICTION, r"got int64 \(2, 4\) and uint8 \(2, 4\)$"),
        (TRUTH[None], PREDICTION[None], r"got uint8 \(1, 2, 4\) and uint8 \(1, 2, 4\)$"),
        (
            np.full((1, 1), 3, np.uint8),
            np.zeros((1, 1), np.uint8),
            r"^a: expected truth labels 0..2 or 255, got \[3\]; likely a mask of another class list$",
        ),
        (np.full((1, 1), 2, np.uint8), np.full((1, 1), 3, np.uint8), r"^a: expected predicted labels 0..2, got \[3\]$"),
        (
            np.full((1, 1), 255, np.uint8),
            np.full((1, 1), 255, np.uint8),
            r"^a: expected predicted labels 0..2, got \[255\]; 255 marks ignored pixels, which only the truth may",
        ),
    ],
)
def test_wrong_input_is_refused_with_its_id(truth, prediction, message):
    with pytest.raises(ScoreError, match=message):
        MeanIoU(2).accumulate(truth, prediction, "a")


@pytest.mark.parametrize("classes", [0, 255])
def test_the_number_of_classes_must_fit(classes):
    with pytest.raises(ScoreError, match=rf"^expected 1..254 classes, got {classes}; a label map has 8 bits$"):
        MeanIoU(classes)


def test_states_of_other_classes_do_not_merge():
    with pytest.raises(ScoreError, match=r"^expected a state of 2 classes, got one of 3$"):
        MeanIoU(2).merge(MeanIoU(3))


def test_an_image_counts_once():
    state = state_of([(TRUTH, PREDICTION)], classes=2)
    with pytest.raises(ScoreError, match=r"^image0: expected every image once, got it a second time$"):
        state.accumulate(TRUTH, PREDICTION, "image0")
    with pytest.raises(ScoreError, match=r"^expected every image once, got some in two states: \['image0'\]$"):
        state.merge(state_of([(TRUTH, PREDICTION)], classes=2))
    assert (state.images, state.pixels) == (1, 7)


@settings(max_examples=30, deadline=None)
@given(pairs=pairs_of_label_maps())
def test_counts_of_images_sum_to_the_matrix(pairs):
    state = state_of(pairs, classes=3)
    counts = state.image_counts()
    assert counts.shape == (len(pairs), 3, 4)
    whole = (np.diagonal(state.matrix), state.matrix.sum(axis=1), state.matrix.sum(axis=0))
    np.testing.assert_array_equal(counts.sum(axis=0), whole)


def test_counts_of_images_stand_in_the_order_of_the_ids():
    state = MeanIoU(2)
    state.accumulate(TRUTH, PREDICTION, "b")
    state.accumulate(np.full((1, 3), 2, np.uint8), np.zeros((1, 3), np.uint8), "a")
    assert state.image_counts().tolist() == [
        [[0, 0, 0], [0, 0, 3], [3, 0, 0]],  # right, true, predicted pixels of background and two classes
        [[2, 2, 1], [3, 2, 2], [3, 3, 1]],
    ]


def test_nothing_is_computed_without_pixels():
    with pytest.raises(
        ScoreError, match=r"^expected scored pixels, got none; likely an empty id list, or all pixels are ignored$"
    ):
        MeanIoU(2).compute()
