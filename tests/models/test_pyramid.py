"""Pyramids of feature maps: one map a stride, the finest of 4 pixels, of networks that have them."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import TrainError
from pipeline.models.backbones import build_backbone
from pipeline.models.pyramid import pyramid_channels, pyramid_maps

slow = pytest.mark.slow


class Levels(nn.Module):
    """The mean color of each patch of several sizes, as often as a level is listed; its number is a channel more."""

    def __init__(self, *sides: int) -> None:
        super().__init__()
        self.sides = sides

    def forward_intermediates(self, images: torch.Tensor, intermediates_only: bool) -> list[torch.Tensor]:
        assert intermediates_only
        maps = [nn.functional.avg_pool2d(images, side) for side in self.sides]
        return [torch.cat([level, torch.full_like(level[:, :1], n)], dim=1) for n, level in enumerate(maps)]


def test_the_last_map_of_each_stride_from_4_on_the_finest_first() -> None:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    maps = pyramid_maps(Levels(2, 4, 8, 8, 16), images)
    assert [tuple(level.shape) for level in maps] == [(2, 4, 16, 24), (2, 4, 8, 12), (2, 4, 4, 6)]
    assert [level[0, 3, 0, 0].item() for level in maps] == [1, 3, 4]
    torch.testing.assert_close(maps[1][:, :3], nn.functional.avg_pool2d(images, 8))


@pytest.mark.parametrize(
    ("name", "output_stride", "channels"),
    [
        ("resnet10t", 32, (64, 128, 256, 512)),
        ("convnext_atto", 32, (40, 80, 160, 320)),
        ("tf_efficientnet_lite0", 32, (24, 40, 112, 320)),
        ("resnet10t", 16, (64, 128, 512)),
        pytest.param("swin_tiny_patch4_window7_224", 32, (96, 192, 384, 768), marks=slow),  # takes long to build
    ],
)
def test_strides_double_from_4_to_the_output_stride(name: str, output_stride: int, channels: tuple[int, ...]) -> None:
    backbone = build_backbone(name, output_stride)
    assert pyramid_channels(backbone, name) == channels
    with torch.inference_mode():
        maps = pyramid_maps(backbone, torch.zeros(2, 3, 64, 96))
    strides = [4 * 2**level for level in range(len(channels))]
    assert strides[-1] == output_stride
    assert [tuple(level.shape) for level in maps] == [
        (2, width, 64 // stride, 96 // stride) for width, stride in zip(channels, strides, strict=True)
    ]


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_a_network_of_one_stride_is_refused(name: str) -> None:
    message = rf"student\.backbone\.name: .* stride 4 and coarser ones, got '{name}': its maps have strides \[16\]"
    with pytest.raises(TrainError, match=message):
        pyramid_channels(build_backbone(name, 16), name)


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(TrainError, match="got 'mine': 'Linear' object has no attribute 'forward_inter"):
        pyramid_channels(nn.Linear(1, 1), "mine")
