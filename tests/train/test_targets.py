"""Labels to targets: which class is kept, how often an image is drawn, and losses redone by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.helpers import train_settings

from pipeline.core.errors import TrainError
from pipeline.train.settings import AsymmetricSettings
from pipeline.train.targets import (
    ROWS_AT_ONCE,
    choose_held_out,
    choose_labels,
    class_weights,
    classification_loss,
    hits,
    log_odds,
    make_targets,
    sampling_weights,
    several_labels,
)

# images with the class: 0 in three, 1 in two, 2 in one, 3 in two
LABELS = [(0, 1), (0,), (0, 2), (1, 3), (3,)]


def test_rarest_and_most_frequent_class() -> None:
    assert choose_labels(LABELS, "rarest", 0).tolist() == [
        1,
        0,
        2,
        1,
        3,
    ]  # image 3: a tie of 1 and 3, the lower index wins
    assert choose_labels(LABELS, "most_frequent", 0).tolist() == [0, 0, 0, 1, 3]


def test_the_order_of_labels_does_not_matter() -> None:
    turned = [tuple(reversed(labels)) for labels in LABELS]
    for choice in ("rarest", "most_frequent"):
        assert choose_labels(turned, choice, 0).tolist() == choose_labels(LABELS, choice, 0).tolist()


def test_a_random_class_depends_on_the_seed_alone_and_is_fair() -> None:
    labels = [(2, 5, 7)] * 3000
    chosen = choose_labels(labels, "random", 1)
    assert chosen.tolist() == choose_labels(labels, "random", 1).tolist() != choose_labels(labels, "random", 2).tolist()
    counts = np.bincount(chosen, minlength=8)
    assert counts.nonzero()[0].tolist() == [2, 5, 7]
    # 1000 expected, standard deviation 26: five of them
    assert np.abs(counts[[2, 5, 7]] - 1000).max() < 130


def test_single_label_targets_leave_images_without_label_out() -> None:
    targets = make_targets([(), (1,), (), (0, 1), (0,), (0,)], 2, train_settings(loss="single_label"))
    assert targets.kept.tolist() == [1, 3, 4, 5]
    assert targets.values.tolist() == [1, 1, 0, 0]  # class 0 in three images, class 1 in two: the rarest is kept
    assert targets.values.dtype == torch.int64


def test_several_labels_keep_every_image() -> None:
    targets = make_targets([(), (1,), (0, 2)], 3, train_settings(loss="multi_label"))
    assert targets.kept.tolist() == [0, 1, 2]
    assert targets.values.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert targets.values.dtype == torch.uint8


@pytest.mark.parametrize("loss", ["single_label", "multi_label"])
@pytest.mark.parametrize("labels", [[], [(), ()]])
def test_nothing_to_learn_from_is_an_error(labels: list[tuple[int, ...]], loss: str) -> None:
    with pytest.raises(TrainError, match="expected images with a label, got none; likely an index without labels"):
        make_targets(labels, 3, train_settings(loss=loss))


def test_sampling_weights_of_single_labels() -> None:
    # class 0 in three images, class 1 in one: each class weighs one half
    assert sampling_weights(torch.tensor([0, 0, 1, 0])).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 2, 1 / 6])


def test_sampling_weights_of_several_labels() -> None:
    rows = several_labels([(0, 1), (0,), (0,), ()], 3)
    # class 0 in 3 images, class 1 in 1, class 2 in none: 1/3 + 1, 1/3, 1/3, and the smallest for the empty one
    unscaled = np.array([4 / 3, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(sampling_weights(rows), unscaled / unscaled.sum())


def test_sampling_weights_without_any_label_are_uniform() -> None:
    assert sampling_weights(torch.zeros(4, 2)).tolist() == [0.25] * 4


def test_sampling_weights_of_many_rows_are_those_of_the_whole_table() -> None:
    """More rows than are converted at once; the formula over all of them."""
    rows = torch.from_numpy(np.random.default_rng(0).random((2 * ROWS_AT_ONCE + 3, 5)) < 0.3).to(torch.uint8)
    present = rows.numpy().astype(float)
    total = (present / present.sum(axis=0)).sum(axis=1)
    total[total == 0] = total[total > 0].min()
    assert (present.sum(axis=1) == 0).any()
    np.testing.assert_allclose(sampling_weights(rows), total / total.sum(), rtol=1e-12)


def test_sampling_weights_draw_a_class_and_then_one_of_its_images() -> None:
    """The chance of each image, added up over both draws."""
    labels = [(0,), (0, 1), (0,), (2, 1), (0, 2), (2,)]
    chance = np.zeros(len(labels))
    for k in range(3):
        images = [n for n, row in enumerate(labels) if k in row]
        chance[images] += 1 / 3 / len(images)
    np.testing.assert_allclose(sampling_weights(several_labels(labels, 3)), chance)


LOGITS = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])


def slow_softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def test_cross_entropy_by_hand() -> None:
    p = [slow_softmax(row) for row in LOGITS.tolist()]
    expected = -(math.log(p[0][1]) + math.log(p[1][0])) / 2
    assert classification_loss(LOGITS, torch.tensor([1, 0]), "single_label").item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_of_several_labels_shares_the_target() -> None:
    p = [slow_softmax(row) for row in LOGITS.tolist()]
    expected = -((math.log(p[0][0]) + math.log(p[0][1])) / 2 + math.log(p[1][2])) / 2
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert classification_loss(LOGITS, rows, "single_label").item() == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_by_hand() -> None:
    p = [slow_softmax(row) for row in LOGITS.tolist()]
    wanted = [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]  # 0.3 of the target spread over three classes
    expected = (
        -sum(w * math.log(q) for row, ps in zip(wanted, p, strict=True) for w, q in zip(row, ps, strict=True)) / 2
    )
    loss = classification_loss(LOGITS, torch.tensor([1, 2]), "single_label", label_smoothing=0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_binary_cross_entropy_by_hand() -> None:
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    terms = [
        -math.log(1 / (1 + math.exp(-x))) if y else -math.log(1 - 1 / (1 + math.exp(-x)))
        for logits, row in zip(LOGITS.tolist(), rows.tolist(), strict=True)
        for x, y in zip(logits, row, strict=True)
    ]
    # summed over three classes, the mean over two images
    assert classification_loss(LOGITS, rows, "multi_label").item() == pytest.approx(sum(terms) / 2, rel=1e-6)


def asymmetric(positive: float = 0.0, negative: float = 0.0, margin: float = 0.0) -> AsymmetricSettings:
    return AsymmetricSettings(positive, negative, margin)


@pytest.mark.parametrize(
    "loss", [asymmetric(1.0, 4.0, 0.05), asymmetric(0.0, 2.0, 0.0), asymmetric(0.0, 0.0, 0.3), asymmetric(2.5)]
)
def test_asymmetric_loss_by_hand(loss: AsymmetricSettings) -> None:
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    total = 0.0
    for logits, row in zip(LOGITS.tolist(), rows.tolist(), strict=True):
        for x, y in zip(logits, row, strict=True):
            p = 1 / (1 + math.exp(-x))
            q = max(p - loss.margin, 0.0)
            if y:
                total -= (1 - p) ** loss.gamma_positive * math.log(p)
            else:
                total -= q**loss.gamma_negative * math.log(1 - q)
    found = classification_loss(LOGITS, rows, "multi_label", asymmetric=loss).item()
    assert found == pytest.approx(total / 2, rel=1e-5)


def test_an_absent_class_below_the_margin_loses_nothing() -> None:
    logits = torch.tensor([[math.log(0.04 / 0.96)]], requires_grad=True)  # p = 0.04
    loss = classification_loss(logits, torch.zeros(1, 1), "multi_label", asymmetric=asymmetric(0.0, 4.0, 0.05))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.item() == 0.0


@settings(max_examples=50, deadline=None)
@given(st.floats(-120, 120), st.booleans(), st.floats(0, 5), st.floats(0, 5), st.sampled_from([0.0, 0.05, 0.5]))
def test_the_asymmetric_loss_is_finite_and_never_above_binary_cross_entropy(
    logit: float, present: bool, positive: float, negative: float, margin: float
) -> None:
    logits, rows = torch.tensor([[logit]], requires_grad=True), torch.tensor([[float(present)]])
    loss = classification_loss(logits, rows, "multi_label", asymmetric=asymmetric(positive, negative, margin))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    plain = classification_loss(logits, rows, "multi_label").item()
    assert 0 <= loss.item() <= plain * (1 + 1e-5) + 1e-6


def test_weights_of_classes_by_hand() -> None:
    """Class 0 in 1 of 5 images, class 1 in 4, class 2 in none; a missing label of class 0 counts a half."""
    rows = several_labels([(0, 1), (1,), (1,), (1,), ()], 3)
    wanted = train_settings(loss="multi_label", class_weights="balanced", unsure_classes={"a": 0.5})
    weights = class_weights(rows, "abc", wanted)
    assert weights is not None
    assert weights.absent.tolist() == [0.5, 1.0, 1.0]
    assert weights.present.tolist() == [0.5 * 4 / 1, 1 / 4, 5 / 1]  # at least one image is counted
    # -log p is log 2 everywhere: of image 0, 2 + 1/4 of the present ones and 1 of the absent class 2
    loss = classification_loss(torch.zeros(1, 3), rows[:1], "multi_label", weights=weights)
    assert loss.item() == pytest.approx(math.log(2) * (2 + 0.25 + 1), rel=1e-6)


def test_classes_of_all_images_or_none_are_not_balanced_with_nothing() -> None:
    rows = several_labels([(0,), (0,)], 2)
    weights = class_weights(rows, "ab", train_settings(loss="multi_label", class_weights="balanced"))
    assert weights is not None
    assert weights.present.tolist() == [1.0, 2.0]


def test_without_weights_nothing_is_weighted_and_unknown_names_are_refused() -> None:
    rows = several_labels([(0,), ()], 1)
    assert class_weights(rows, ["cat"], train_settings(loss="multi_label")) is None
    with pytest.raises(TrainError, match=r"expected names of classes, such as 'cat', got \['dog'\]"):
        class_weights(rows, ["cat"], train_settings(loss="multi_label", unsure_classes={"dog": 0.5}))


def test_a_missing_label_of_weight_0_changes_nothing() -> None:
    wanted = train_settings(loss="multi_label", unsure_classes={"a": 0.0})
    weights = class_weights(several_labels([(0,), (1,)], 2), "ab", wanted)
    logits = torch.tensor([[3.0, 1.0]], requires_grad=True)
    classification_loss(logits, torch.tensor([[0, 1]]), "multi_label", weights=weights).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].item() == 0.0
    assert logits.grad[0, 1].item() == pytest.approx(1 / (1 + math.exp(-1)) - 1, rel=1e-5)


def test_the_weighted_bias_starts_where_its_loss_has_its_minimum() -> None:
    rows = several_labels([(0,)] * 30 + [()] * 970 + [(1,)] * 200, 2)
    weights = class_weights(rows, "ab", train_settings(loss="multi_label", class_weights="balanced"))
    bias = log_odds(rows, weights).float().requires_grad_()
    classification_loss(bias.expand(len(rows), 2), rows, "multi_label", weights=weights).backward()
    assert bias.grad is not None
    assert bias.grad.abs().max() < 1e-3  # half an image is added on both sides
    assert log_odds(rows, weights)[0].item() == pytest.approx(math.log(300.5 / 1170.5))  # weight 10, the largest


@pytest.mark.parametrize("classes", [2, 12, 200])
def test_both_losses_move_logits_on_one_scale(classes: int) -> None:
    """Where a classifier says nothing yet, the gradient at the true class's logit: softmax - 1, and sigmoid - 1."""
    gradients = {}
    for loss, targets in (("single_label", torch.tensor([1])), ("multi_label", torch.eye(classes)[1:2])):
        logits = torch.zeros(1, classes, requires_grad=True)
        classification_loss(logits, targets, loss).backward()  # type: ignore[arg-type]
        assert logits.grad is not None
        gradients[loss] = logits.grad[0, 1].item()
    assert gradients == {"single_label": pytest.approx(1 / classes - 1), "multi_label": pytest.approx(-0.5)}


def test_the_bias_starts_at_the_odds_of_each_class() -> None:
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    expected = [math.log(1.5 / 2.5), math.log(3.5 / 0.5), math.log(0.5 / 3.5)]
    assert log_odds(rows).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("classes", [10, 200])
def test_from_the_odds_the_first_gradients_are_those_of_cross_entropy(classes: int) -> None:
    every = torch.eye(classes).repeat(50, 1)  # each class in as many images
    logits = log_odds(every)[None].requires_grad_()
    classification_loss(logits, every[:1], "multi_label").backward()
    even = torch.zeros(1, classes, requires_grad=True)
    classification_loss(even, torch.tensor([0]), "single_label").backward()
    torch.testing.assert_close(logits.grad, even.grad, rtol=0.02, atol=1e-3)  # half an image is added on both sides


def test_held_out_images_are_a_tenth_and_leave_every_class_one() -> None:
    ids = [f"n{n:05d}" for n in range(3000)]
    labels = [(n % 3,) for n in range(3000)]
    held = choose_held_out(ids, labels, seed=0)
    assert 240 < held.sum() < 360  # 300 ± 3.6 standard deviations
    assert not np.array_equal(held, choose_held_out(ids, labels, seed=1))


def test_another_image_moves_no_other_in_or_out() -> None:
    ids, labels = [f"n{n}" for n in range(200)], [(n % 2,) for n in range(200)]
    held = dict(zip(ids, choose_held_out(ids, labels, 0), strict=True))
    more = dict(zip(["new", *ids], choose_held_out(["new", *ids], [(0,), *labels], 0), strict=True))
    assert {image_id: more[image_id] for image_id in ids} == held


def test_a_class_keeps_its_images_where_all_would_be_held_out() -> None:
    ids = [f"n{n}" for n in range(400)]
    (first, second, *_) = np.flatnonzero(choose_held_out(ids, [(0,)] * 400, 0)).tolist()
    labels: list[tuple[int, ...]] = [(0,)] * 400
    labels[first], labels[second] = (1,), (0, 1)  # all images of class 1 are drawn
    held = choose_held_out(ids, labels, 0)
    assert not held[first]
    assert not held[second]
    labels[second] = (0,)
    labels[first] = ()  # nothing to compare with
    held = choose_held_out(ids, labels, 0)
    assert held[second]
    assert not held[first]


def test_hits() -> None:
    assert hits(LOGITS, torch.tensor([1, 0])).tolist() == [True, False]
    rows = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])  # the best class is 1, then 2
    assert hits(LOGITS, rows).tolist() == [True, False]
