"""Which images train, which choose the epoch, and in which order an epoch sees them."""

from collections import Counter

import numpy as np
import pytest
import torch
from support.helpers import train_settings
from support.training import quick, relabeled

from pipeline.core.errors import TrainError
from pipeline.core.manifest import Manifest, from_rows
from pipeline.train.run import fit
from pipeline.train.split import make_order
from pipeline.train.targets import several_labels


def test_nothing_to_hold_out_is_an_error(colors: Manifest, start: str) -> None:
    few = from_rows(colors.table.to_pylist()[::6][:3], colors.classes, colors.root, colors.mask_kind)
    assert [record.labels for record in few] == [(0,), (1,), (2,)]
    with pytest.raises(TrainError, match="expected train images to hold out, found none among 3"):
        fit(few, quick(start, checkpoint="held_out_loss"))


def test_without_training_labels_there_is_nothing_to_learn(colors: Manifest, start: str) -> None:
    for loss in ("single_label", "multi_label"):
        with pytest.raises(TrainError, match="expected images with a label, got none"):
            fit(relabeled(colors, {"train": []}), quick(start, loss=loss))


def test_a_uniform_epoch_sees_every_image_once_in_its_own_order() -> None:
    targets, settings = torch.zeros(50, dtype=torch.int64), train_settings(sampling="uniform")
    orders = [make_order(targets, settings)(epoch).tolist() for epoch in (1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != list(range(50))
    assert make_order(targets, settings)(1).tolist() == orders[0]
    assert make_order(targets, train_settings(sampling="uniform", seed=9))(1).tolist() != orders[0]


def test_a_balanced_epoch_draws_classes_equally_often() -> None:
    targets = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)
    settings = train_settings(sampling="class_balanced")
    order = make_order(targets, settings)
    drawn = np.concatenate([order(epoch) for epoch in range(30)])
    assert len(drawn) == 3000
    counts = Counter(targets[drawn].tolist())
    # 1000 expected of each class, standard deviation 26: five of them. Uniform draws would give 2400, 450 and 150
    assert all(abs(counts[k] - 1000) < 130 for k in range(3)), counts
    # and inside a class all images alike: 200 expected of each of class 2, standard deviation 14
    assert all(abs(count - 200) < 70 for image, count in Counter(drawn.tolist()).items() if image >= 95)


def test_a_balanced_epoch_of_several_labels_follows_the_weights() -> None:
    """Three images of class 0 alone, one of class 0 and 1: weights 1/4 each, and 1/4 + 1."""
    targets = several_labels([(0,), (0,), (0,), (0, 1)], 2)
    settings = train_settings(sampling="class_balanced", loss="multi_label")
    order = make_order(targets, settings)
    drawn = np.concatenate([order(epoch) for epoch in range(1000)])
    expected = 4000 * (5 / 4) / (5 / 4 + 3 / 4)  # 2500, standard deviation 31
    assert abs((drawn == 3).sum() - expected) < 160


def test_the_weights_are_computed_once_for_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    weights = np.array([0.0, 0.5, 0.5])
    monkeypatch.setattr("pipeline.train.split.sampling_weights", lambda targets: calls.append(1) or weights)
    order = make_order(torch.tensor([0, 1, 2]), train_settings(sampling="class_balanced"))
    drawn = [set(order(epoch).tolist()) for epoch in range(20)]
    assert set.union(*drawn) == {1, 2}  # the weights decide
    assert len(calls) == 1


def test_one_class_cannot_be_learnt_against_itself(colors: Manifest, start: str) -> None:
    alone = Manifest(relabeled(colors, {}).table, ("thing",), colors.root, colors.mask_kind)
    with pytest.raises(TrainError, match="expected 'multi_label' with one class, got 'single_label'"):
        fit(alone, quick(start, loss="single_label"))
