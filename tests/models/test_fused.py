"""Fused batch norms: by hand, against the network as it is, and where nothing can be fused."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.backbones import Normalization, build_backbone, normalize
from pipeline.models.classifier import Classifier, Design
from pipeline.models.fused import example_image, fuse_backbone, fuse_batch_norms, fused_backbone


def with_statistics(network: nn.Module) -> nn.Module:
    """The network with other statistics in each batch norm than those it begins with."""
    random = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                assert values is not None
                values.data.uniform_(low, high, generator=random)
    return network.eval()


@pytest.fixture
def classifier() -> Classifier:
    design = Design("resnet18", 32, "gap", 0.0, 3, "single_label", Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))
    return Classifier(design).eval()


def norms_of(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_weights_by_hand() -> None:
    convolution, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    nn.init.constant_(convolution.weight, 3.0)
    nn.init.constant_(convolution.bias, 5.0)  # type: ignore[arg-type]
    norm.running_mean, norm.running_var = torch.tensor([1.0]), torch.tensor([4.0])
    nn.init.constant_(norm.weight, 6.0)
    nn.init.constant_(norm.bias, 7.0)
    network = nn.Sequential(convolution, norm).eval()
    fused = fuse_batch_norms(network, torch.rand(1, 1, 4, 4)).requires_grad_(False)
    # s = 6 / sqrt(4) = 3: weight 3 * 3, bias (5 - 1) * 3 + 7
    assert float(fused[0].weight) == 9.0  # type: ignore[index]
    assert float(fused[0].bias) == 19.0  # type: ignore[index]
    assert isinstance(fused[1], nn.Identity)  # type: ignore[index]
    assert convolution.weight.item() == 3.0  # the network itself stays as it was


def test_what_follows_the_norm_stays() -> None:
    network = with_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), BatchNormAct2d(8, act_layer=nn.ReLU6)))
    images = 20 * torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    fused = fuse_batch_norms(network, images)
    assert norms_of(fused) == 0
    with torch.no_grad():
        expected, found = network(images), fused(images)
    assert float(found.min()) == 0.0
    assert float(found.max()) == 6.0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stride", "left"),
    [("tf_efficientnet_lite0", 16, 0), ("resnet18", 32, 0), ("seresnet50", 32, 0), ("resnetv2_50", 32, 17)],
)
def test_same_features(name: str, stride: int, left: int) -> None:
    torch.manual_seed(0)
    network = with_statistics(build_backbone(name, stride))  # resnetv2_50: norms before convolutions cannot be fused
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(2))
    fused = fuse_batch_norms(network, images)
    assert norms_of(network) > norms_of(fused) == left
    with torch.no_grad():
        expected, found = network(images), fused(images)
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_network_without_batch_norms_is_returned() -> None:
    network = build_backbone("convnext_atto", 32)
    assert fuse_batch_norms(network, torch.rand(1, 3, 64, 64)) is network


class Twice(nn.Module):
    """One convolution that runs twice, with a norm after each."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.second(self.shared(self.first(self.shared(images))))
        return output


class Around(nn.Module):
    """The output of the convolution goes around the norm, too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.convolution(images)
        return output + self.norm(output)


class Standardized(nn.Conv2d):
    """A convolution that changes its weights in each pass."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(input, weight / weight.std(dim=(1, 2, 3), keepdim=True), self.bias)


@pytest.mark.parametrize("network", [Twice(), Around(), nn.Sequential(Standardized(3, 3, 1), nn.BatchNorm2d(3))])
def test_what_cannot_be_fused_stays(network: nn.Module) -> None:
    with_statistics(network)
    assert fuse_batch_norms(network, torch.rand(1, 3, 5, 5)) is network


def test_example_image_leaves_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = example_image(torch.device("cpu"))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert torch.equal(first, example_image(torch.device("cpu")))


def test_classifier_has_its_own_backbone_afterwards(classifier: Classifier) -> None:
    with_statistics(classifier)
    whole, state = classifier.backbone, {name: value.clone() for name, value in classifier.state_dict().items()}
    images = example_image(torch.device("cpu"))
    with torch.inference_mode():
        expected = classifier.backbone_features(images)
        with fused_backbone(classifier):
            assert norms_of(classifier.backbone) == 0
            torch.testing.assert_close(classifier.backbone_features(images), expected, rtol=1e-4, atol=1e-4)
    assert classifier.backbone is whole
    assert all(torch.equal(value, classifier.state_dict()[name]) for name, value in state.items())


def test_fused_backbone_can_be_differentiated(classifier: Classifier) -> None:
    with torch.inference_mode():  # as the stages run
        fused = fuse_backbone(with_statistics(classifier))  # type: ignore[arg-type]
    images = normalize(example_image(torch.device("cpu")), classifier.mean, classifier.std).requires_grad_()
    fused(images).sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0
