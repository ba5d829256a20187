"""What holds for every training method: switched off it is the baseline, stopped it goes on, and a model is its
files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.fixtures import colors, single_thread, start
from support.helpers import random_images
from support.methods_table import CONVOLUTIONAL, METHODS, OFF, TRANSFORMER
from support.stopping import fit_with_stops
from support.training import equal, quick

from pipeline.core.manifest import Manifest
from pipeline.extract.cam import class_activation_maps
from pipeline.models.classifier import Classifier, load_classifier, save_classifier
from pipeline.models.methods import method_names
from pipeline.train.run import fit
from pipeline.train.settings import TrainSettings

__all__ = ["colors", "single_thread", "start"]


def trained_settings(start: str, name: str, method: str, options: dict[str, Any], **changes: Any) -> TrainSettings:
    """A trained backbone, the convolutional one with its file of weights and the head first."""
    backbone: dict[str, Any] = {"trained": True}
    if name == TRANSFORMER:
        backbone |= {"name": name, "weights": "none", "weights_from": None}
    else:
        changes = {"head_epochs": 2, **changes}
    values = {"epochs": 2, "batch_size": 6, "method": method, "method_options": options, **changes}
    return quick(start, backbone=backbone, **values)


def test_the_table_has_every_method() -> None:
    assert set(method_names()) == {"baseline", *METHODS}
    assert set(OFF) == set(METHODS)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("method", sorted(OFF))
def test_a_method_that_is_switched_off_is_the_baseline(
    method: str, trained: bool, colors: Manifest, start: str, tmp_path: Path
) -> None:
    """Byte by byte, in what is written of the weights."""
    written = []
    for name, options in (("baseline", {}), (method, OFF[method])):
        if trained:
            settings = trained_settings(start, CONVOLUTIONAL, name, options)
        else:
            settings = quick(start, epochs=2, method=name, method_options=options)
        save_classifier(fit(colors, settings).classifier, tmp_path / name)
        written.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert written[0] == written[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [CONVOLUTIONAL, TRANSFORMER])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    method: str, name: str, colors: Manifest, start: str, tmp_path: Path
) -> None:
    """And differs from the baseline's, its model reads back, and its maps are numbers."""
    settings = trained_settings(start, name, method, METHODS[method])
    whole = fit(colors, settings)
    again = fit_with_stops(colors, settings, tmp_path, [1, 4])
    assert equal(again.classifier.state_dict(), whole.classifier.state_dict())
    assert [row.train_loss for row in again.training.history] == [row.train_loss for row in whole.training.history]
    plain = fit(colors, trained_settings(start, name, "baseline", {}))
    learnt = whole.classifier.state_dict()
    if method == "ae":  # its first round is the baseline
        assert not torch.equal(learnt["extra.round_2.head.weight"], learnt["head.weight"])
    else:
        assert any(not torch.equal(learnt[key], value) for key, value in plain.classifier.state_dict().items())
    save_classifier(whole.classifier, tmp_path / "model")
    check_maps(load_classifier(tmp_path / "model"), whole.classifier.eval())


def check_maps(read: Classifier, kept: Classifier) -> None:
    """Maps of a classifier that was read back are those of the one in memory, at shapes that are not square."""
    images, wanted = random_images(2, 3, 64, 96), torch.tensor([[0, 2], [1, 0]])
    with torch.inference_mode():
        found = [one.maps(one.features(images), wanted, class_activation_maps).numpy() for one in (read, kept)]
    assert found[0].shape == (2, 2, 4, 6)
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("loss", ["single_label", "multi_label"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_frozen_backbone_stays_as_loaded_and_both_losses_work(
    method: str, loss: str, colors: Manifest, start: str
) -> None:
    settings = quick(start, epochs=1, loss=loss, checkpoint="val_loss", method=method, method_options=METHODS[method])
    classifier = fit(colors, settings).classifier
    assert equal(classifier.backbone.state_dict(), fit(colors, quick(start, epochs=1)).classifier.backbone.state_dict())
    assert classifier.head.weight.abs().max() > 0
