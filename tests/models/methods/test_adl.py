"""The attention-based dropout layer: masks by hand, the random choice, gradients, and nothing at test."""

from collections import Counter

import pytest
import torch
from support.helpers import make_tiny, random_features, random_images

from pipeline.core.errors import TrainError
from pipeline.models.methods.adl import Method

FEATURES = torch.tensor([[[[4.0, 2.0, 0.0]], [[6.0, 7.0, 1.0]]]])  # means over channels: 5, 4.5, 0.5


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_the_drop_mask_by_hand() -> None:
    """gamma 0.9: 0.9 * 5 = 4.5, which is not above itself; 5 is. gamma 0.8: both are above 4."""
    assert Method(drop_rate=1.0).weigh(FEATURES).tolist() == [[[[0.0, 2.0, 0.0]], [[0.0, 7.0, 1.0]]]]
    assert Method(drop_rate=1.0, threshold=0.8).weigh(FEATURES).tolist() == [[[[0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]]]


def test_the_importance_map_by_hand() -> None:
    expected = FEATURES / (1 + torch.exp(-torch.tensor([5.0, 4.5, 0.5])))
    torch.testing.assert_close(Method(drop_rate=0.0).weigh(FEATURES), expected)


def test_the_threshold_is_each_image_s_own_and_negative_values_do_not_count() -> None:
    features = torch.cat([FEATURES, FEATURES / 64])
    dropped = Method(drop_rate=1.0).weigh(features) == 0
    assert torch.equal(dropped[0], dropped[1])
    signed = torch.tensor([[[[-9.0, 1.0]], [[3.0, 1.0]]]])  # attention 1.5 and 1
    assert Method(drop_rate=1.0).weigh(signed).tolist() == [[[[0.0, 1.0]], [[0.0, 1.0]]]]


def test_how_often_each_mask_is_taken() -> None:
    method, features = Method(probability=0.8, drop_rate=0.75), random_features(1, 4, 3, 5)
    dropped = Method(drop_rate=1.0).weigh(features)

    def which(found: torch.Tensor) -> str:
        return "same" if torch.equal(found, features) else "drop" if torch.equal(found, dropped) else "importance"

    counts = Counter(which(method.weigh(features)) for _ in range(800))
    assert counts["same"] / 800 == pytest.approx(0.2, abs=0.05)
    assert counts["drop"] / 800 == pytest.approx(0.8 * 0.75, abs=0.06)


def test_no_gradient_flows_where_a_position_is_dropped() -> None:
    features = FEATURES.clone().requires_grad_()
    Method(drop_rate=1.0).weigh(features).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[[[0.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]]]]
    features.grad = None
    Method(drop_rate=0.0).weigh(features).sum().backward()
    attention = torch.tensor([5.0, 4.5, 0.5]).sigmoid()
    own = FEATURES.sum(dim=1)[0] * attention * (1 - attention) / 2  # through the map itself, the mean of 2 channels
    torch.testing.assert_close(features.grad[0, 1], attention + own)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("layers", ["auto", "last", "auto last"])
def test_layers_are_changed_in_training_alone(name: str, layers: str) -> None:
    plain = make_tiny(name=name)
    ours = make_tiny(name=name, method="adl", method_options={"layers": layers, "drop_rate": 1.0})
    images = random_images(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours.features(images), plain.features(images))
        for one in (plain, ours):
            one.train()
            for module in one.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()
        whole, changed = plain.features(images), ours.features(images)
    assert not torch.equal(changed, whole)
    if layers == "last":
        dropped = changed.sum(dim=1, keepdim=True) == 0
        torch.testing.assert_close(changed, whole * ~dropped)
        assert 0 < float(dropped.float().mean()) < (0.5 if name == "test_resnet" else 1.0)  # a norm levels the means
        assert dropped.flatten(1).gather(1, whole.mean(dim=1).flatten(1).argmax(dim=1, keepdim=True)).all()


def test_gradients_reach_the_backbone_and_hooks_are_gone() -> None:
    classifier = make_tiny(method="adl").train()
    classifier.features(random_images(2, 3, 64, 96)).sum().backward()
    first = next(classifier.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0
    assert not any(module._forward_hooks for module in classifier.modules())


def test_a_level_that_the_backbone_lacks_is_refused_when_the_classifier_is_made() -> None:
    with pytest.raises(TrainError, match=r"train.method_options.layers: expected levels .* got 'layer7'"):
        make_tiny(method="adl", method_options={"layers": "layer7 last"})


def test_pooled_features_are_enough_if_nothing_is_changed() -> None:
    methods = [make_tiny(method="adl", method_options={"probability": p}).method for p in (0.0, 0.1)]
    assert [method.uses_pooled_features for method in methods] == [True, False]
    assert [method.compiles for method in methods] == [True, False]
