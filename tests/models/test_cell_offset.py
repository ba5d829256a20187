"""Where the cells of a feature map look, of networks made to look at a known place."""

import copy
from collections.abc import Iterator

import pytest
import torch
from support.helpers import SMALL
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from torch import Tensor, nn

from pipeline.models.backbones import build_backbone
from pipeline.models.cell_offset import measure_offset

NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "GlobalResponseNorm")
ACTIVATIONS = ("ReLU", "ReLU6", "SiLU", "Hardswish", "GELU", "GELUTanh")


def centered(shape: torch.Size) -> Tensor:
    """Positive symmetric windows, most of it in the middle, so that a cell's weight fades before the border of the
    image."""
    weight = torch.full(shape, 0.005)
    if len(shape) == 4:
        rows, columns = (slice((length - 1) // 2, length // 2 + 1) for length in shape[2:])
        weight[:, :, rows, columns] = 1
    return weight / weight[0].sum()


def linear_copy(backbone: nn.Module) -> nn.Module:
    """The same network with equal positive weights and nothing between the convolutions: a weighted mean of the
    input."""
    backbone = copy.deepcopy(backbone).eval()
    for name, module in list(backbone.named_modules()):
        parent, _, leaf = name.rpartition(".")
        kind = type(module).__name__
        if isinstance(module, nn.MaxPool2d):  # its gradient would go to one pixel of the window
            pool = AvgPool2dSame if isinstance(module, MaxPool2dSame) else nn.AvgPool2d
            options = {"ceil_mode": module.ceil_mode}
            setattr(
                backbone.get_submodule(parent), leaf, pool(module.kernel_size, module.stride, module.padding, **options)
            )
        elif kind.startswith(NORMS) or kind in ACTIVATIONS:
            setattr(backbone.get_submodule(parent), leaf, nn.Identity())
    for module in backbone.modules():
        if type(module).__name__ == "StdConv2d":  # would take the mean off the weights
            module.__class__ = nn.Conv2d
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = centered(module.weight.shape)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    _mute_gates(backbone)
    return backbone


def _mute_gates(backbone: nn.Module) -> None:
    """Squeeze and excitation: zero weights on maps of one position, so that every gate is the same constant."""

    def mute(module: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs[0].shape[2:] == (1, 1):
            nn.init.zeros_(module.weight)

    hooks = [module.register_forward_hook(mute) for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        backbone(torch.rand(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()


def photographs(count: int = 6, shape: tuple[int, int] = (320, 384)) -> Iterator[Tensor]:
    """Noise that is rough and smooth at once, and no two rows or columns alike. Shape: (1, 3, H, W) each"""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        layers = [torch.randn((1, 3, 2**n, 2**n + 2), generator=generator) * 0.7**n for n in range(1, 7)]
        image = sum(nn.functional.interpolate(layer, size=shape, mode="bicubic") for layer in layers)
        yield ((image - image.min()) / (image.max() - image.min()) * 255).to(torch.uint8)


def spot(y: float, x: float) -> nn.Module:
    """A network of one layer at stride 16 whose cells see a spot of some 10 pixels, `(y, x)` pixels from their
    middle."""
    layer = nn.Conv2d(3, 2, 47, stride=16, padding=16, bias=False)  # pixel 23.5 of its window is the middle of the cell
    rows, columns = torch.meshgrid(torch.arange(47.0) - 23.5 - y, torch.arange(47.0) - 23.5 - x, indexing="ij")
    layer.weight.data[:] = torch.exp(-(rows**2 + columns**2) / 50)
    return layer


@pytest.mark.parametrize("offset", [(0.0, 0.0), (-7.5, -7.5), (7.5, 3.0), (-2.0, 6.0), (0.0, -11.0)])
def test_the_offset_is_where_a_cell_looks(offset: tuple[float, float]) -> None:
    layer = spot(*offset)
    measured = measure_offset(lambda images: layer(images.float()), photographs())
    assert measured == pytest.approx((offset[0] / 16, offset[1] / 16), abs=0.03)


@pytest.mark.parametrize(
    ("name", "stride", "expected"),
    [
        (
            "resnet18",
            16,
            -7.5,
        ),  # padding 3 and 1 on either side of an even length: the first window lies on the corner pixel
        ("efficientnet_lite0", 16, -7.5),
        (SMALL, 16, 7.5),  # the same network, but TensorFlow pads on the right
        ("mobilenetv3_small_050", 32, -15.5),
        ("densenet121", 32, -1.5),  # pools of 2 x 2 pixels after the stem
        ("convnext_atto", 32, 0.0),  # patches without padding
        ("convnext_atto", 16, 8.0),  # windows of 2 x 2 at stride 1 are padded on the right
        ("resnet50d", 16, -0.5),
    ],
)
def test_with_weights_that_lean_nowhere_the_offset_is_that_of_the_padding(
    name: str, stride: int, expected: float
) -> None:
    """The arithmetic of paddings: each layer adds jump * ((k - 1) / 2 - p - (stride - 1) / 2)."""
    backbone = linear_copy(build_backbone(name, stride))
    cells = 448 // stride if stride == 32 else 320 // stride
    images = photographs(3, (cells * stride, (cells + 2) * stride))
    measured = measure_offset(lambda batch: backbone(batch.float() / 255), images)
    assert measured == pytest.approx((expected / stride, expected / stride), abs=0.05)


def test_weights_that_lean_move_the_cells_though_padding_is_even() -> None:
    """What padding arithmetic cannot see."""
    layer = nn.Conv2d(3, 1, 33, stride=16, padding=9, bias=False)  # its middle is half a pixel beside that of the cell
    nn.init.zeros_(layer.weight)
    layer.weight.data[:, :, 12:21, 2:11] = 1  # the middle one of rows 0..32; column 6, 10 to the left of the middle
    measured = measure_offset(lambda images: layer(images.float()), photographs())
    assert measured == pytest.approx((-0.5 / 16, -10.5 / 16), abs=0.05)


def test_where_nothing_can_be_said_there_is_no_offset() -> None:
    layer = spot(7.5, 7.5)
    assert measure_offset(lambda images: layer(images.float()), []) == (0.0, 0.0)
    flat = [torch.full((1, 3, 320, 320), 9, dtype=torch.uint8)]
    assert measure_offset(lambda images: layer(images.float())[..., 2:-2, 2:-2], flat) == (0.0, 0.0)
    small = list(photographs(2, (16 * 13, 320)))
    assert measure_offset(lambda images: layer(images.float()), small) == (0.0, 0.0)
    generator = torch.Generator().manual_seed(0)
    assert measure_offset(lambda images: torch.rand((1, 4, 20, 20), generator=generator), photographs()) == (0.0, 0.0)


def test_images_that_say_nothing_do_not_spoil_the_others() -> None:
    layer = spot(7.5, 3.0)
    flat = torch.zeros((1, 3, 320, 320), dtype=torch.uint8)
    one = measure_offset(lambda images: layer(images.float()), photographs())
    assert measure_offset(lambda images: layer(images.float()), [flat, *photographs(), flat]) == one
