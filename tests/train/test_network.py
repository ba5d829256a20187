"""The whole network, and the head first."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from support.helpers import TINY, train_settings
from support.training import equal, quick

from pipeline.core.manifest import Manifest, from_rows
from pipeline.train.build import make_classifier
from pipeline.train.run import fit
from pipeline.train.step import Batch
from pipeline.train.trainer import Task


def test_the_whole_network_learns(colors: Manifest) -> None:
    backbone = {"name": TINY, "weights": "none", "trained": True, "batch_norm": "trained"}
    settings = train_settings(backbone=backbone, epochs=2, batch_size=6, checkpoint="last", loss="single_label")
    torch.manual_seed(settings.seed)
    fresh = make_classifier(settings, 3)
    trained, again = fit(colors, settings), fit(colors, settings)
    learnt = dict(trained.classifier.named_parameters())
    for name, value in fresh.named_parameters():
        assert not torch.equal(value, learnt[name]), f"{name} did not move"
    assert equal(trained.classifier.state_dict(), again.classifier.state_dict())
    assert not trained.classifier.training


def test_one_epoch_of_the_whole_network_from_imagenet_weights(colors: Manifest) -> None:
    backbone = {"trained": True, "batch_norm": "frozen"}
    settings = train_settings(
        backbone=backbone, epochs=1, batch_size=3, accumulation_steps=2, sampling="class_balanced"
    )
    fresh, trained = make_classifier(settings, 3), fit(colors, settings)
    before, after = fresh.backbone.state_dict(), trained.classifier.backbone.state_dict()
    moved = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"weight", "bias"}, "all that learns, and no running statistics"
    assert len(trained.training.history) == 1


class Seen(Exception):  # noqa: N818
    """Ends a run once its batches have been looked at."""


@pytest.mark.parametrize("sampling", ["uniform", "class_balanced"])
def test_images_and_targets_stay_together(
    sampling: str, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The color of an image says what its target must be, in training and in validation, beside images without
    label."""
    rows = sorted(colors.table.to_pylist(), key=lambda row: (row["split"], row["id"].rpartition("_")[2]))
    for n in (0, 7, 10, 18):
        rows[n]["labels"] = []
    gaps = from_rows(rows, colors.classes, colors.root, colors.mask_kind)
    counts = []

    def see(task: Task, *rest: Any) -> None:
        held_out: list[Iterable[Batch]] = []
        monkeypatch.setattr(
            "pipeline.train.network.validate", lambda logits, batches, *rest, **_: held_out.append(batches)
        )
        task.validate(1)
        for batches in (task.train_batches(1, 0), task.train_batches(2, 0), *held_out):
            pairs = [pair for inputs, targets in batches for pair in zip(inputs, targets, strict=True)]
            for image, target in pairs:
                color = int(image.float().mean(dim=(1, 2)).argmax())
                assert color == (int(target) if target.ndim == 0 else int(target.argmax()))
            counts.append(len(pairs))
        raise Seen

    monkeypatch.setattr("pipeline.train.network.Trainer", see)
    with pytest.raises(Seen):
        fit(gaps, quick(start, backbone={"trained": True}, sampling=sampling))
    assert counts == [15, 15, 5]


def test_the_head_learns_first_on_the_backbone_as_loaded(colors: Manifest, start: str) -> None:
    """With a backbone that barely moves the result is that of a frozen one.

    Without a head start the head is near zero.
    """
    slow = {"learning_rate": 1e-9, "head_multiplier": 1.0}
    frozen = fit(colors, quick(start, epochs=8, optimizer={"learning_rate": 0.02}))
    backbone = {"trained": True}
    both = fit(colors, quick(start, epochs=1, backbone=backbone, head_epochs=8, optimizer={"learning_rate": 0.02}))
    assert both.facts.head_start_val_loss == frozen.training.best.val_loss
    assert both.facts.head_start_val_accuracy == frozen.training.best.val_accuracy
    assert frozen.facts.head_start_val_loss is None
    cold = fit(colors, quick(start, epochs=1, backbone=backbone, optimizer=slow))
    assert cold.classifier.head.weight.abs().max() < 1e-6
    assert both.classifier.head.weight.abs().max() > 1e-3
    assert not equal(both.classifier.backbone.state_dict(), frozen.classifier.backbone.state_dict())
