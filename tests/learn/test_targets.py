"""Labels to targets: which class is kept, how often an image is drawn, and losses redone by hand."""

import math

import numpy as np
import pytest
import torch
from helpers import train_settings

from pipeline.errors import TrainError
from pipeline.learn.targets import (
    choose_labels,
    classification_loss,
    hits,
    make_targets,
    sampling_weights,
    several_labels,
)

# images with the class: 0 in three, 1 in two, 2 in one, 3 in two
LABELS = [(0, 1), (0,), (0, 2), (1, 3), (3,)]


def test_rarest_and_most_frequent_class() -> None:
    assert choose_labels(LABELS, "rarest", 0).tolist() == [1, 0, 2, 1, 3]  # image 3: a tie of 1 and 3, the lower index wins
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
    assert targets.values.dtype == torch.float32


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
    # class 0 in 3 images, class 1 in 1, class 2 in none: (1/3 + 1) / 2, 1/3, 1/3, and the smallest for the empty one
    unscaled = np.array([2 / 3, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(sampling_weights(rows), unscaled / unscaled.sum())


def test_sampling_weights_without_any_label_are_uniform() -> None:
    assert sampling_weights(torch.zeros(4, 2)).tolist() == [0.25] * 4


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
    expected = -sum(w * math.log(q) for row, ps in zip(wanted, p, strict=True) for w, q in zip(row, ps, strict=True)) / 2
    loss = classification_loss(LOGITS, torch.tensor([1, 2]), "single_label", label_smoothing=0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_binary_cross_entropy_by_hand() -> None:
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    terms = [
        -math.log(1 / (1 + math.exp(-x))) if y else -math.log(1 - 1 / (1 + math.exp(-x)))
        for logits, row in zip(LOGITS.tolist(), rows.tolist(), strict=True)
        for x, y in zip(logits, row, strict=True)
    ]
    assert classification_loss(LOGITS, rows, "multi_label").item() == pytest.approx(sum(terms) / 6, rel=1e-6)


def test_hits() -> None:
    assert hits(LOGITS, torch.tensor([1, 0])).tolist() == [True, False]
    rows = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])  # the best class is 1, then 2
    assert hits(LOGITS, rows).tolist() == [True, False]
