"""Adversarial complementary learning: what is erased, the loss of both branches, gradients, and the fused maps."""

from typing import Any

import pytest
import torch
from support.helpers import extract_settings, make_tiny, random_features, random_images
from torch import Tensor

from pipeline.extract.cam import class_activation_maps
from pipeline.extract.network import View, raw_maps_of
from pipeline.models.classifier import Classifier
from pipeline.models.methods.acol import HEAD, Branch, Method
from pipeline.train.targets import classification_loss


def make(name: str = "test_resnet", pooling: str = "gap", loss: str = "single_label", **options: Any) -> Classifier:
    """Both heads random, no convolutions unless asked for."""
    classifier = make_tiny(name=name, pooling=pooling, loss=loss, method="acol", method_options={"width": 0, **options})
    torch.nn.init.normal_(second_head(classifier).weight, std=0.3)
    return classifier


def second_head(classifier: Classifier) -> torch.nn.Linear:
    head = classifier.extra[HEAD]
    assert isinstance(head, torch.nn.Linear)
    return head


def erase(classifier: Classifier, features: Tensor, targets: Tensor) -> Tensor:
    assert isinstance(classifier.method, Method)
    return classifier.method.erase(classifier, features, features, targets)


def loss_of(classifier: Classifier, features: Tensor, targets: Tensor) -> Tensor:
    classifier.backbone_features = lambda images: features  # type: ignore[method-assign]
    kind = classifier.design.loss
    return classifier.loss(torch.zeros(1), targets, lambda logits, rows: classification_loss(logits, rows, kind))


def test_what_is_erased_by_hand() -> None:
    """Map of class 0: 10, 7, 4, 0 and -2, scaled to [0, 1] by 12: 1, 0.75, 0.5, 0.17, 0; from 0.6 on it is erased."""
    classifier = make()
    classifier.head.weight.data.zero_()
    classifier.head.weight.data[0, :2] = torch.tensor([1.0, -1.0])
    features = torch.zeros(1, 96, 1, 5)
    features[0, 0, 0], features[0, 1, 0] = torch.tensor([10.0, 7.0, 4.0, 0.0, 0.0]), torch.tensor([0.0, 0, 0, 0, 2])
    features[0, 5] = 3.0
    rest = erase(classifier, features, torch.tensor([0]))
    assert rest[0, 5, 0].tolist() == [0.0, 0.0, 3.0, 3.0, 3.0]
    assert rest[0, 1, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9, 1.0])
def test_the_peak_goes_and_whatever_reaches_the_threshold(threshold: float) -> None:
    classifier, features = make(threshold=threshold), random_features(4, 96, 6, 7)
    erased = (erase(classifier, features, torch.tensor([0, 1, 2, 0])).sum(dim=1) == 0).flatten(1)
    maps = class_activation_maps(features, classifier.head.weight, torch.tensor([[0], [1], [2], [0]]))[:, 0].flatten(1)
    low, high = maps.amin(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)
    assert torch.equal(erased, (maps - low) / (high - low) >= threshold)
    assert erased.gather(1, maps.argmax(dim=1, keepdim=True)).all()


def test_the_peaks_of_all_labels_are_erased_and_nothing_without_a_label() -> None:
    classifier, features = make(), random_features(2, 96, 4, 5)
    rest = erase(classifier, features, torch.tensor([[1, 0, 1], [0, 0, 0]]))
    gone = [erase(classifier, features[:1], torch.tensor([k])) == 0 for k in (0, 2)]
    assert torch.equal(rest[:1] == 0, gone[0] | gone[1])
    assert torch.equal(rest[1], features[1])


@pytest.mark.parametrize("loss", ["single_label", "multi_label"])
@pytest.mark.parametrize("pooling", ["gap", "tap"])
def test_the_loss_is_the_sum_of_both(loss: Any, pooling: str) -> None:
    classifier, features = make(pooling=pooling, loss=loss, weight=0.5), random_features(2, 96, 4, 5)
    targets = torch.tensor([2, 0]) if loss == "single_label" else torch.tensor([[1, 0, 1], [0, 1, 0]])
    rest = erase(classifier, features, targets)
    first = classification_loss(classifier.head(classifier.pool(features)), targets, loss)
    second = classification_loss(second_head(classifier)(classifier.pool(rest)), targets, loss)
    torch.testing.assert_close(loss_of(classifier, features, targets), first + 0.5 * second)


def test_the_second_loss_sends_no_gradient_to_what_was_erased_nor_to_the_first_head() -> None:
    classifier, targets = make(weight=1.0e6), torch.tensor([2, 0])  # the first loss is nothing beside it
    features = random_features(2, 96, 4, 5).requires_grad_()
    loss_of(classifier, features, targets).backward()
    gone = (erase(classifier, features, targets) == 0).all(dim=1, keepdim=True).expand_as(features)
    assert features.grad is not None
    assert features.grad[gone].abs().max() < 1.0
    assert features.grad[~gone].abs().max() > 100.0
    assert classifier.head.weight.grad is not None
    assert classifier.head.weight.grad.abs().max() < 10.0
    second = second_head(classifier).weight.grad
    assert second is not None
    assert second.abs().max() > 1000.0


@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_maps_are_the_larger_of_both_branches_scaled(width: int, name: str) -> None:
    classifier = make(name, width=width)
    for parameter in classifier.extra.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    features = random_features(2, classifier.head.in_features, 5, 6)
    wanted = torch.tensor([[0, 2], [1, 0]])
    extract = extract_settings(placement="grid", negative_weights="clamp")
    found = raw_maps_of(classifier, [View(features, False)], wanted, extract)

    def unit(values: Tensor) -> Tensor:
        return (values - values.min()) / (values.max() - values.min())

    with torch.no_grad():
        first = classifier.extra["first_branch"](features)
        for n, p in ((0, 0), (0, 1), (1, 0), (1, 1)):
            k = int(wanted[n, p])
            plain = torch.einsum("c,chw->hw", classifier.head.weight[k], first[n])
            rest = classifier.extra["second_branch"]((features[n] * (unit(plain) < 0.6))[None])[0]
            ours = torch.einsum("c,chw->hw", classifier.head.weight[k].clamp(min=0), first[n])
            theirs = torch.einsum("c,chw->hw", second_head(classifier).weight[k].clamp(min=0), rest)
            torch.testing.assert_close(found[n, p], torch.maximum(unit(ours), unit(theirs)), atol=1e-4, rtol=0)


def test_a_branch_begins_as_identity_and_both_heads_as_the_one_that_was_trained_alone() -> None:
    branch, features = Branch(6, 3), random_features(2, 6, 4, 5)
    assert torch.equal(branch(features), features)
    classifier = make(width=4)
    classifier.method.head_trained(classifier)
    assert torch.equal(second_head(classifier).weight, classifier.head.weight)
    assert second_head(classifier).weight is not classifier.head.weight


def test_features_in_half_precision_give_logits_and_maps() -> None:
    """As extraction has them outside autocast."""
    classifier, wanted = make(width=4), torch.tensor([[0], [1]])
    with torch.inference_mode():
        features = random_features(2, 96, 4, 5).bfloat16()
        torch.testing.assert_close(classifier.logits(features), classifier.logits(features.float()))
        assert classifier.maps(features, wanted, class_activation_maps).dtype == torch.float32


def test_without_the_second_loss_there_is_no_branch() -> None:
    classifier = make_tiny(method="acol", method_options={"weight": 0.0})
    assert not list(classifier.extra.parameters())
    images = random_images(2, 3, 48, 64)
    with torch.inference_mode():
        assert torch.equal(classifier(images), make_tiny()(images))
