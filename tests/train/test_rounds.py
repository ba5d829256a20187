"""Rounds of training: what later ones see, which weights they start from, and what is left when they are stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.stopping import fit_with_stops
from support.training import equal, quick

from pipeline.core.device import Hardware
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest
from pipeline.models.classifier import Classifier
from pipeline.train.build import new_classifier
from pipeline.train.data import Erased
from pipeline.train.rounds import find_regions
from pipeline.train.run import fit
from pipeline.train.split import split_data

STEPS = 5  # of an epoch: 18 images in batches of 4


@pytest.mark.parametrize("trained", [False, True])
def test_the_first_round_is_the_baseline_and_the_second_does_not_see_what_it_found(
    trained: bool, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of the second round have the mean color on their left half: the mirrored ones on their right."""
    settings = quick(start, method="two_rounds", epochs=2, views=2, crop=64, backbone={"trained": trained})
    seen: list[np.ndarray] = []
    features = Classifier.backbone_features

    def look(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
        seen.extend(images.permute(0, 2, 3, 1).numpy())
        return features(classifier, images)

    monkeypatch.setattr(Classifier, "backbone_features", look)
    both = fit(colors, settings)
    color = np.round(255 * np.array(both.classifier.design.normalization.mean)).astype(np.uint8)
    # without the columns at the edge, which the resize mixes
    halves = [((x[:, :30] == color).all(), (x[:, 34:] == color).all()) for x in seen]
    count = 2 * len(colors.select("train"))
    assert sum(left != right for left, right in halves) == count
    assert sum(right and not left for left, right in halves) > count // 5
    assert not any(left and right for left, right in halves)

    plain = fit(colors, quick(start, epochs=2, views=2, crop=64, backbone={"trained": trained}))
    ours = both.classifier.state_dict()
    assert equal({name: ours[name] for name in plain.classifier.state_dict()}, plain.classifier.state_dict())
    assert not torch.equal(ours["extra.second.weight"], ours["head.weight"])
    assert both.training.best.val_loss == plain.training.best.val_loss
    assert [row.epoch for row in both.training.history] == [1, 2, 3, 4]
    assert [row.train_loss for row in both.training.history[:2]] == [row.train_loss for row in plain.training.history]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("stops", [[3], [2 * STEPS], [2 * STEPS + 3, 4]])
def test_rounds_that_were_stopped_end_as_those_that_were_not(
    stops: list[int], trained: bool, colors: Manifest, start: str, tmp_path: Path
) -> None:
    settings = quick(start, method="two_rounds", epochs=2, backbone={"trained": trained})
    whole, again = fit(colors, settings), fit_with_stops(colors, settings, tmp_path, stops)
    assert equal(again.classifier.state_dict(), whole.classifier.state_dict())
    assert [row.train_loss for row in again.training.history] == [row.train_loss for row in whole.training.history]


def test_regions_are_those_of_whole_images_without_what_is_erased_already(colors: Manifest, start: str) -> None:
    """The classifier sees the image at `resize`, uncropped and unmirrored, and images without a label have none."""
    settings, hardware = quick(start, method="two_rounds"), Hardware(torch.device("cpu"), "fp32")
    data = split_data(colors, settings)
    classifier = new_classifier(settings, data.train, data.classes, hardware.device)
    cells = np.zeros((len(data.train_files), 1, 2), bool)
    cells[3, 0, 1] = True
    erased = Erased(cells, np.array([7, 8, 9], np.uint8))
    given: list[torch.Tensor] = []
    classifier.backbone_features = lambda images: given.append(images) or images[:, :, ::32, ::16].float()  # type: ignore[assignment, func-returns-value]
    object.__setattr__(data, "erased", erased)
    regions = find_regions(classifier, classifier.method, data, settings, hardware)
    assert regions.shape == (18, 2, 4)
    assert (regions == [True, True, False, False]).all()
    images = torch.cat(given).permute(0, 2, 3, 1).numpy()
    original = read_rgb(data.train_files[3])
    original[:, original.shape[1] // 2 :] = [7, 8, 9]
    np.testing.assert_array_equal(images[3], resize_image(original, (64, 64)))
    np.testing.assert_array_equal(images[4], resize_image(read_rgb(data.train_files[4]), (64, 64)))
