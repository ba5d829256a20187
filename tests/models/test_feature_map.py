"""Networks that become a map: the right cells in the right places, at any size of the image."""

import math

import pytest
import timm
import torch
from torch import Tensor, nn

from pipeline.models.backbones import build_backbone
from pipeline.models.feature_map import FeatureMap, Layout, RefusedError, make_feature_map

slow = pytest.mark.slow
# a transformer of tokens, channels last, padded windows, one size only; the real ones take longer to build
FAST = ("test_vit", "test_vit4", "test_mambaout", "test_maxvit", "test_vit_relpos")
REAL = (
    "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "inception_v3",
    "vit_small_patch14_dinov2", "hiera_tiny_224", "swinv2_tiny_window8_256",
)  # fmt: skip
ALL = [*FAST, *(pytest.param(name, marks=slow) for name in REAL)]


class Averages(nn.Module):
    """The mean color of each patch of 8 x 8 pixels, after three tokens of no patch, as a transformer has them."""

    num_features = 3

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, images: Tensor) -> Tensor:
        assert not any(side % 8 for side in images.shape[2:]), "whole patches only"
        patches = nn.functional.avg_pool2d(images, 8)  # (N, 3, h, w)
        if self.form == "tokens":
            others = torch.full((len(images), 3, 3), 99.0)
            return torch.cat([others, patches.flatten(2).transpose(1, 2)], dim=1)
        return patches.permute(0, 2, 3, 1) if self.form == "channels last" else patches


def layout(form: str = "tokens", multiple: int = 8, margin: int = 0, fixed: bool = False) -> Layout:
    return Layout("forward", 8, multiple, margin, 3 if form == "tokens" else 0, form == "channels last", 3, fixed)


def ramp(height: int, width: int) -> Tensor:
    """Each pixel has its row, its column and 1 as colors. Shape: (1, 3, H, W)"""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([rows, columns, torch.ones_like(rows)])[None]


@pytest.mark.parametrize("multiple", [8, 56])
@pytest.mark.parametrize("form", ["tokens", "channels last", "channels first"])
def test_each_cell_holds_its_own_pixels(form: str, multiple: int) -> None:
    features = FeatureMap(Averages(form), layout(form, multiple))(ramp(24, 40))
    assert features.shape == (1, 3, 3, 5)
    assert features[0, 0, :, 0].tolist() == [3.5, 11.5, 19.5]
    assert features[0, 1, 0].tolist() == [3.5, 11.5, 19.5, 27.5, 35.5]
    assert features[0, 2].tolist() == [[1.0] * 5] * 3, "no token of another kind, no padding"


def test_a_cell_that_the_image_fills_in_part_is_padded_with_zeros() -> None:
    features = FeatureMap(Averages("tokens"), layout(multiple=32))(ramp(20, 36))
    assert features[0, 2].tolist() == [[1, 1, 1, 1, 0.5], [1, 1, 1, 1, 0.5], [0.5, 0.5, 0.5, 0.5, 0.25]]


def test_cells_that_are_lost_at_the_rim_come_back() -> None:
    """A convolution of 24 pixels without padding loses a cell on every side; its windows stay centered on the cells."""
    window = nn.Conv2d(3, 3, 24, stride=8, groups=3, bias=False)
    nn.init.zeros_(window.weight)
    window.weight.data[:, :, 8:16, 8:16] = 1 / 64
    features = FeatureMap(window, layout("channels first", margin=16))(ramp(24, 40))
    torch.testing.assert_close(features, nn.functional.avg_pool2d(ramp(24, 40), 8))


def test_a_network_of_one_size_sees_the_whole_image() -> None:
    """Resized to 32 x 32 and back: the middle of a ramp stays where it is, for the step from cell to cell is linear."""
    features = FeatureMap(Averages("tokens"), layout(multiple=32, fixed=True))(ramp(64, 96))
    assert features.shape == (1, 3, 8, 12)
    torch.testing.assert_close(features[0, 0, 1:-1, 0], torch.arange(8.0)[1:-1] * 8 + 3.5, atol=0.2, rtol=0)
    torch.testing.assert_close(features[0, 1, 0, 2:-2], torch.arange(12.0)[2:-2] * 8 + 3.5, atol=0.3, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_any_size_gives_the_cells_of_the_image(name: str) -> None:
    backbone = build_backbone(name, 16).eval()
    for height, width in ((70, 130), (96, 64), (161, 48)):
        shape = backbone(torch.zeros(2, 3, height, width)).shape
        cells = (math.ceil(height / backbone.output_stride), math.ceil(width / backbone.output_stride))
        assert shape == (2, backbone.num_features, *cells)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_features_change_most_where_the_image_does(name: str, corner: tuple[int, int]) -> None:
    torch.manual_seed(0)
    backbone, (height, width) = build_backbone(name, 16).eval(), (170, 250)
    images = torch.zeros(2, 3, height, width)
    rows, columns = (slice(-60, None) if far else slice(0, 60) for far in corner)
    images[1, :, rows, columns] = 2
    with torch.inference_mode():
        plain, marked = backbone(images)
    change = (marked - plain).abs().sum(dim=0)
    row, column = divmod(int(change.argmax()), change.shape[1])
    assert (2 * row + 1 > change.shape[0], 2 * column + 1 > change.shape[1]) == (bool(corner[0]), bool(corner[1]))


def test_tokens_are_what_timms_classifier_would_average() -> None:
    """Final norm included: these networks have it behind their pooling, or before it, and the weights know which."""
    torch.manual_seed(0)
    backbone = make_feature_map("test_vit2").eval()  # register tokens, averaged cells
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        features = backbone(images)
        tokens = backbone.network.forward_features(images)  # (1, 1 + 24, C)
        normed = backbone.network.fc_norm(tokens)
    assert backbone.layout.prefix == backbone.network.num_prefix_tokens == 1
    assert not isinstance(backbone.network.fc_norm, nn.Identity)
    torch.testing.assert_close(features[0, :, 2, 4], normed[0, 1 + 2 * 6 + 4])


def test_timm_makes_the_same_tokens_of_an_image_that_needs_no_padding() -> None:
    torch.manual_seed(0)
    backbone, reference = make_feature_map("test_vit").eval(), timm.create_model("test_vit", num_classes=0).eval()
    reference.load_state_dict(backbone.network.state_dict())
    images = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        expected = reference.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)[0]
        torch.testing.assert_close(backbone(images), expected)


@pytest.mark.slow
def test_a_network_without_a_map_says_why() -> None:
    with pytest.raises(RefusedError, match="it has 14 x 14 cells for 240 x 240 pixels, no whole output stride"):
        make_feature_map("crossvit_tiny_240")
