"""Where the cells of a feature map look: padding arithmetic against what each input pixel contributes to a cell."""

import copy

import pytest
import torch
from helpers import SMALL
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from torch import Tensor, nn

from pipeline.learn.backbones import build_body
from pipeline.learn.placement import cell_offset

NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "GlobalResponseNorm")
ACTIVATIONS = ("ReLU", "ReLU6", "SiLU", "Hardswish", "GELU", "GELUTanh")


def centered(shape: torch.Size) -> Tensor:
    """Positive symmetric windows, most of it in the middle, so that a cell's weight fades before the border of the image."""
    weight = torch.full(shape, 0.005)
    if len(shape) == 4:
        rows, columns = (slice((length - 1) // 2, length // 2 + 1) for length in shape[2:])
        weight[:, :, rows, columns] = 1
    return weight / weight[0].sum()


def linear_copy(body: nn.Module) -> nn.Module:
    """The same network with equal positive weights and nothing between the convolutions: a weighted mean of the input."""
    body = copy.deepcopy(body).eval()
    for name, module in list(body.named_modules()):
        parent, _, leaf = name.rpartition(".")
        kind = type(module).__name__
        if isinstance(module, nn.MaxPool2d):  # its gradient would go to one pixel of the window
            pool = AvgPool2dSame if isinstance(module, MaxPool2dSame) else nn.AvgPool2d
            options = {"ceil_mode": module.ceil_mode}
            setattr(body.get_submodule(parent), leaf, pool(module.kernel_size, module.stride, module.padding, **options))
        elif kind.startswith(NORMS) or kind in ACTIVATIONS:
            setattr(body.get_submodule(parent), leaf, nn.Identity())
    for module in body.modules():
        if type(module).__name__ == "StdConv2d":  # would take the mean off the weights
            module.__class__ = nn.Conv2d
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = centered(module.weight.shape)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    _mute_gates(body)
    return body


def _mute_gates(body: nn.Module) -> None:
    """Squeeze and excitation: zero weights on maps of one position, so that every gate is the same constant."""

    def mute(module: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs[0].shape[2:] == (1, 1):
            nn.init.zeros_(module.weight)

    hooks = [module.register_forward_hook(mute) for module in body.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        body(torch.rand(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()


def measured_offset(body: nn.Module, stride: int) -> tuple[float, float]:
    """Centroid of the input gradient of the cell in the middle, less the middle of its stretch of the image."""
    image = torch.rand(1, 3, 352, 288, requires_grad=True)
    row, column = 352 // stride // 2, 288 // stride // 2
    linear_copy(body)(image)[0, :, row, column].sum().backward()
    assert image.grad is not None
    weight = image.grad[0].sum(dim=0)  # (H, W)
    assert weight.min() >= 0
    assert weight.max() > 0
    centroids = [
        (weight.sum(dim=1 - axis) * torch.arange(weight.shape[axis])).sum().item() / weight.sum().item() for axis in (0, 1)
    ]
    return centroids[0] - (row + 0.5) * stride + 0.5, centroids[1] - (column + 0.5) * stride + 0.5


@pytest.mark.parametrize(
    ("name", "stride", "expected"),
    [
        ("resnet18", 16, -7.5),  # padding 3 and 1 on either side of an even length: the first window lies on the corner pixel
        ("resnet18", 32, -15.5),
        ("seresnet18", 16, -7.5),
        ("legacy_seresnet18", 32, -13.5),  # its maximum pooling pads on the right alone: -0.5 + 1 - 2 - 4 - 8
        (SMALL, 16, 7.5),  # TensorFlow pads on the right
        (SMALL, 32, 15.5),
        ("efficientnet_lite0", 16, -7.5),  # the same network, padded on both sides
        ("mobilenetv3_small_050", 32, -15.5),
        ("densenet121", 32, -1.5),  # pools of 2 x 2 pixels after the stem
        ("convnext_atto", 32, 0.0),  # patches without padding
        ("convnext_atto", 16, 8.0),  # windows of 2 x 2 at stride 1 are padded on the right
        ("resnetv2_50x1_bit", 16, -7.5),  # padding is a layer of its own
        ("resnetblur18", 16, -7.5),
    ],
)
def test_the_offset_is_where_a_cell_looks(name: str, stride: int, expected: float) -> None:
    body = build_body(name, stride)
    assert cell_offset(body, stride) == (expected, expected)
    # what a cell sees is wider than the test image where the network is deep, and cut off unevenly: some hundredths of a pixel
    assert measured_offset(body, stride) == pytest.approx((expected, expected), abs=0.1)
