"""Background activation suppression: the ratio by hand, where gradients flow, and whose map it is."""

from typing import Any

import pytest
import torch
from support.helpers import extract_settings, make_tiny, random_images
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import TrainError
from pipeline.extract.network import View, raw_maps_of
from pipeline.models.classifier import Classifier
from pipeline.models.inner import changed, choose_level
from pipeline.models.methods.bas import GENERATOR, background_ratio
from pipeline.train.targets import classification_loss

NAMES = ["test_resnet", "test_vit"]
IMAGES = random_images(2, 3, 64, 96)


def make(name: str = "test_resnet", loss: str = "single_label", **options: Any) -> Classifier:
    classifier = make_tiny(name=name, loss=loss, method="bas", method_options=options)
    torch.manual_seed(2)
    for parameter in classifier.extra.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    classifier.head.weight.data.abs_()  # so that less of the features is less of each class
    return classifier


def loss_of(classifier: Classifier, targets: Tensor) -> Tensor:
    kind = classifier.design.loss
    return classifier.loss(IMAGES, targets, lambda logits, rows: classification_loss(logits, rows, kind))


def inner_of(classifier: Classifier) -> Tensor:
    """What the level gives for the images."""
    level, seen = choose_level(classifier.backbone, "auto", "level"), []
    with changed(level, classifier.backbone, IMAGES, lambda maps: seen.append(maps) or maps):  # type: ignore[func-returns-value]
        classifier.backbone_features(IMAGES)
    return torch.cat(seen)


def test_the_ratio_by_hand() -> None:
    """Class 1 of image 0: whole max(1, 0) + max(3, 0) + max(-8, 0) = 4, background 1: 0.25. Image 1 has more behind its
    foreground than in front, which counts as 0."""
    weights = torch.tensor([[5.0, 5.0], [1.0, -1.0]])
    features = torch.tensor([[[[1.0, 3.0, 0.0]], [[0.0, 0.0, 8.0]]], [[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]])
    behind = torch.tensor([[[[1.0, 0.0, 0.0]], [[0.0, 5.0, 0.0]]], [[[3.0, 3.0, 3.0]], [[0.0, 0.0, 0.0]]]])
    assert float(background_ratio(features, behind, weights, torch.tensor([1, 1]))) == pytest.approx((0.25 + 0) / 2)
    # of class 0: (5 * 1 + 5 * 5) / (5 * 12) = 0.5; an image without a label does not count
    rows = torch.tensor([[1, 1], [0, 0]])
    assert float(background_ratio(features, behind, weights, rows)) == pytest.approx((0.5 + 0.25) / 2)
    assert float(background_ratio(features, behind, weights, 0 * rows)) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", ["single_label", "multi_label"])
def test_the_loss_is_the_sum_of_its_terms(name: str, loss: Any) -> None:
    """Each term redone: the mask at the level, the network once more behind it, the final features times the map."""
    classifier = make(name, loss, strength=0.7, area=2.0, foreground=0.3)
    targets = torch.tensor([2, 0]) if loss == "single_label" else torch.tensor([[1, 0, 1], [0, 1, 0]])
    with torch.no_grad():
        features, inner = classifier.backbone_features(IMAGES), inner_of(classifier)
        maps = classifier.extra[GENERATOR](inner).sigmoid()
        labels = [[2], [0]] if loss == "single_label" else [[0, 2], [1]]
        mask = torch.stack([maps[n, ks].amax(dim=0, keepdim=True) for n, ks in enumerate(labels)])
        level = choose_level(classifier.backbone, "auto", "level")
        with changed(level, classifier.backbone, IMAGES, lambda x: x * (1 - mask)):
            behind = classifier.backbone_features(IMAGES)
        resized = functional.interpolate(mask, features.shape[2:], mode="bilinear")
        whole, guided = (
            classification_loss(classifier.logits(x), targets, loss) for x in (features, features * resized)
        )
        ratio = background_ratio(features, behind, classifier.head.weight, targets)
        expected = whole + 0.7 * (ratio + 2.0 * mask.mean() + 0.3 * guided)
        torch.testing.assert_close(loss_of(classifier, targets), expected)
    assert 0 < float(ratio) < 1


def gradients(classifier: Classifier, targets: Tensor) -> dict[str, Tensor]:
    """The gradients of all parameters, by name."""
    classifier.zero_grad()
    loss_of(classifier, targets).backward()
    return {name: value.grad for name, value in classifier.named_parameters() if value.grad is not None}


@pytest.mark.parametrize(
    ("name", "after"), [("test_resnet", "backbone.layer4"), ("test_vit", "backbone.network.blocks.5")]
)
def test_the_background_teaches_the_generator_and_what_stands_before_it(name: str, after: str) -> None:
    """Without area and foreground, the ratio adds nothing to the gradients of the head and of what stands behind the
    level; what stands before it learns through the generator. With the foreground term all learn."""
    targets = torch.tensor([2, 0])
    off, ratio = make(name, area=0.0, foreground=0.0, strength=1.0e-9), make(name, area=0.0, foreground=0.0)
    plain, added = gradients(off, targets), gradients(ratio, targets)
    behind = [key for key in plain if key.startswith((after, "head"))]
    assert len(behind) > 4
    for key in behind:
        torch.testing.assert_close(added[key], plain[key])
    assert added["extra.generator.weight"].abs().max() > 1.0e-4
    first = next(iter(plain))
    assert (added[first] - plain[first]).abs().max() > 1.0e-6
    guided = gradients(make(name, area=0.0, foreground=9.0), targets)
    taught = {key for key in behind if (guided[key] - plain[key]).abs().max() > 0}
    assert "head.weight" in taught
    assert any(key.startswith(after) for key in taught)


def test_a_step_against_the_gradient_enlarges_the_map() -> None:
    """With the ratio alone, which takes activation from the background; with the area alone the map becomes smaller."""
    targets = torch.tensor([2, 0])
    for options, grows in (({"area": 0.0}, True), ({"area": 1.0e4}, False)):
        classifier = make(foreground=0.0, **options)
        with torch.no_grad():
            before = classifier.extra[GENERATOR](inner_of(classifier)).sigmoid()
        gradients(classifier, targets)
        rate = 1.0e-4 if options["area"] else 1.0
        with torch.no_grad():
            for parameter in classifier.extra.parameters():
                assert parameter.grad is not None
                parameter -= rate * parameter.grad
            after = classifier.extra[GENERATOR](inner_of(classifier)).sigmoid()
        change = float((after - before)[[0, 1], [2, 0]].mean())
        assert (change > 0) == grows


@pytest.mark.parametrize("name", NAMES)
def test_the_map_is_the_generator_s_and_logits_are_the_head_s(name: str) -> None:
    classifier, wanted = make(name), torch.tensor([[0, 2], [1, 0]])
    with torch.inference_mode():
        features = classifier.features(IMAGES)
        found = raw_maps_of(classifier, [View(features, False)], wanted, extract_settings(placement="grid"))
        maps = classifier.extra[GENERATOR](inner_of(classifier)).sigmoid()
        plain = classifier.backbone_features(IMAGES)
        assert torch.equal(classifier.logits(features), classifier.logits(plain))
    expected = torch.stack([maps[n, wanted[n]] for n in range(2)])
    torch.testing.assert_close(found, functional.interpolate(expected, plain.shape[2:], mode="bilinear"))
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    assert not classifier.method.reads_weights


def test_batch_norms_that_are_trained_count_the_whole_images_once() -> None:
    classifier = make().train()
    classifier.loss(IMAGES, torch.tensor([2, 0]), classification_of)
    counts = {int(value) for name, value in classifier.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {1}


def classification_of(logits: Tensor, targets: Tensor) -> Tensor:
    return classification_loss(logits, targets, "single_label")


def test_a_level_that_the_backbone_lacks_is_refused() -> None:
    with pytest.raises(TrainError, match=r"train.method_options.level: expected levels .* got 'conv9'"):
        make_tiny(method="bas", method_options={"level": "conv9"})
