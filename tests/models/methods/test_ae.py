"""Adversarial erasing: regions, what is erased at test, the union of the rounds, and the training of all rounds."""

from typing import Any

import numpy as np
import pytest
import torch
from support.helpers import extract_settings, make_tiny, random_features, random_images
from support.training import quick
from torch import Tensor

from pipeline.core.manifest import Manifest
from pipeline.extract.network import View, raw_maps_of
from pipeline.models.classifier import Classifier
from pipeline.models.methods.ae import Method, Round
from pipeline.train.run import fit


def make(name: str = "test_resnet", loss: str = "single_label", **options: Any) -> Classifier:
    """Every round with weights of its own."""
    classifier = make_tiny(name=name, loss=loss, method="ae", method_options=options)
    torch.manual_seed(1)
    for part in classifier.extra.values():
        assert isinstance(part, Round)
        for parameter in part.backbone.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
        torch.nn.init.normal_(part.head.weight, std=0.3)
    return classifier


def region(classifier: Classifier, features: Tensor, targets: Tensor) -> Tensor:
    return classifier.method.find_regions(classifier, features, targets)


def test_a_region_by_hand() -> None:
    """Map 10, 8.5, 8, 3, -20: what is above 0.8 of the maximum, the negative part does not stretch the range."""
    classifier = make()
    classifier.head.weight.data.zero_()
    classifier.head.weight.data[1, :2] = torch.tensor([1.0, -1.0])
    features = torch.zeros(2, 96, 1, 5)
    features[0, 0, 0], features[0, 1, 0, 4] = torch.tensor([10.0, 8.5, 8.0, 3.0, 0.0]), 20.0
    features[1, 1] = 4.0  # nowhere positive
    assert region(classifier, features, torch.tensor([1, 1])).tolist() == [
        [[True, True, False, False, False]],
        [[False] * 5],
    ]


def test_the_region_of_several_labels_is_the_union_and_empty_without_a_label() -> None:
    classifier, features = make(), random_features(2, 96, 4, 5)
    both = region(classifier, features, torch.tensor([[1, 0, 1], [0, 0, 0]]))
    one, other = (region(classifier, features[:1], torch.tensor([k])) for k in (0, 2))
    assert torch.equal(both[:1], one | other)
    assert not both[1].any()
    assert 0 < float(both[0].float().mean()) < 1


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("rounds", [2, 3])
def test_features_and_maps_of_all_rounds(name: str, rounds: int) -> None:
    """Redone step by step: each round sees the image without all regions before; the maps are united by maximum."""
    classifier, images = make(name, rounds=rounds, threshold=0.5), random_images(2, 3, 64, 96)
    wanted = torch.tensor([[0, 2], [1, 0]])
    with torch.inference_mode():
        features = classifier.features(images)
        first = classifier.backbone_features(images)
        labels = classifier.logits(first).argmax(dim=1)
        assert torch.equal(classifier.logits(features), classifier.logits(first))
        color = np.round(255 * np.array(classifier.design.normalization.mean))
        head, part, expected, gone = classifier.head, first, [first], torch.zeros(2, 4, 6, dtype=torch.bool)
        for later in classifier.extra.values():
            assert isinstance(later, Round)
            maps = torch.einsum("nc,nchw->nhw", head.weight[labels], part).clamp(min=0)
            gone |= maps > 0.5 * maps.amax(dim=(1, 2), keepdim=True)
            seen = images.clone()
            for n, y, x in gone.nonzero().tolist():
                seen[n, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = torch.tensor(color).byte()[:, None, None]
            pixels = (seen / 255 - classifier.mean) / classifier.std
            part, head = later.backbone(pixels).relu(), later.head
            expected.append(part)
        torch.testing.assert_close(features, torch.cat(expected, dim=1), atol=1e-4, rtol=1e-4)
        extract = extract_settings(placement="grid", negative_weights="clamp")
        found = raw_maps_of(classifier, [View(features, False)], wanted, extract)
    heads = [one.head.weight.detach() for one in (classifier, *classifier.extra.values())]  # type: ignore[union-attr]
    for n, p in ((0, 0), (0, 1), (1, 0), (1, 1)):
        each = []
        for weights, of_round in zip(heads, expected, strict=True):
            cam = torch.einsum("c,chw->hw", weights[wanted[n, p]].clamp(min=0), of_round[n])
            each.append(cam / cam.max())
        torch.testing.assert_close(found[n, p], torch.stack(each).amax(dim=0), atol=1e-3, rtol=0)


def test_with_several_labels_an_image_all_likely_ones_are_erased() -> None:
    classifier = make(loss="multi_label", threshold=0.5)
    seen: list[Tensor] = []
    backbone = classifier.extra["round_2"].backbone
    classifier.head.weight.data.abs_()
    backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))  # type: ignore[operator]
    shares = []
    for bias in (torch.tensor([9.0, 9.0, -9.0]), torch.tensor([9.0, -9.0, -9.0]), torch.tensor([-9.0, -9.5, -9.5])):
        classifier.head.bias.data = 10 * bias
        with torch.inference_mode():
            classifier.features(random_images(1, 3, 64, 96))
        shares.append(float((seen.pop().abs() < 0.02).all(dim=1).float().mean()))
    assert shares[0] > shares[1] == shares[2] > 0


def test_every_round_is_trained_on_what_is_left(colors: Manifest, start: str) -> None:
    """The second round of a frozen backbone has the same backbone and another head."""
    settings = quick(start, method="ae", method_options={"threshold": 0.3}, epochs=2)
    trained = fit(colors, settings)
    plain = fit(colors, quick(start, epochs=2))
    later = trained.classifier.extra["round_2"]
    assert isinstance(later, Round)
    assert torch.equal(trained.classifier.head.weight, plain.classifier.head.weight)
    assert not torch.equal(later.head.weight, plain.classifier.head.weight)
    assert later.head.weight.abs().max() > 0
    for name, value in plain.classifier.backbone.state_dict().items():
        assert torch.equal(value, later.backbone.state_dict()[name])
    assert trained.facts.parameters > 2 * plain.facts.parameters - 10


def test_one_round_is_the_baseline() -> None:
    classifier = make_tiny(method="ae", method_options={"rounds": 1})
    assert not list(classifier.extra.parameters())
    assert classifier.method == Method(rounds=1)
    images = random_images(2, 3, 48, 64)
    with torch.inference_mode():
        assert torch.equal(classifier.features(images), make_tiny().features(images))
