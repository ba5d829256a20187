"""A new classifier."""

import numpy as np
import pytest
import torch
from support.helpers import train_settings
from support.training import quick

from pipeline.core.manifest import Manifest
from pipeline.train.build import new_classifier
from pipeline.train.run import fit
from pipeline.train.split import split_data


def test_several_labels_start_at_the_odds_of_the_classes(colors: Manifest, start: str) -> None:
    slow = {"learning_rate": 1e-9}
    several = fit(colors, quick(start, loss="multi_label", epochs=1, views=1, optimizer=slow))
    one = fit(colors, quick(start, loss="single_label", epochs=1, views=1, optimizer=slow))
    assert several.classifier.head.bias.tolist() == pytest.approx([np.log(6.5 / 12.5)] * 3, abs=1e-5)
    assert one.classifier.head.bias.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "requested", "own", "note"),
    [
        ("test_vit", 16, 16, ""),
        ("test_vit", 32, 16, "train.backbone.output_stride: expected 32, got 16, which is what 'test_vit' has\n"),
    ],
)
def test_a_backbone_with_another_output_stride_is_told_once(
    colors: Manifest, name: str, requested: int, own: int, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = {"name": name, "weights": "none", "trained": True, "output_stride": requested}
    settings = train_settings(backbone=backbone)
    classifier = new_classifier(settings, split_data(colors, settings).train, 3, torch.device("cpu"))
    assert classifier.design.output_stride == own
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first.startswith(f"{name}: {classifier.parameter_count():,} parameters")
    assert rest == note


def test_a_transformer_is_trained_on_views_that_are_no_whole_patches(colors: Manifest) -> None:
    backbone = {"name": "test_vit", "weights": "none", "trained": True}
    settings = train_settings(backbone=backbone, crop=50, resize=60, epochs=2)
    trained = fit(colors, settings)
    assert trained.facts.output_stride == 16
    assert trained.classifier.design.offset == (0.0, 0.0)
    assert trained.training.history[-1].train_loss < trained.training.history[0].train_loss
