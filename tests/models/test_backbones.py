"""Backbones: which networks are taken, which are refused and why, and how fine their maps are."""

import pytest
import timm
import torch
from support.helpers import SMALL, TINY, random_images

from pipeline.core.errors import TrainError
from pipeline.models.backbones import build_backbone, normalization, normalize, stride_of
from pipeline.models.feature_map import count_channels
from pipeline.models.settings import WHEELS


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", [TINY, *WHEELS])
def test_the_output_stride_is_the_size_of_one_position(name: str, stride: int) -> None:
    backbone = build_backbone(name, stride)
    features = backbone(random_images(2, 3, 64, 96).float())
    assert features.shape == (2, count_channels(backbone), 64 // stride, 96 // stride)


def test_networks_that_widen_their_features_late_are_taken() -> None:
    backbone = build_backbone("mobilenetv3_small_050", 32)
    assert backbone(torch.zeros(1, 3, 64, 32)).shape == (1, count_channels(backbone), 2, 1)


@pytest.mark.parametrize(
    ("name", "requested", "own"),
    [
        ("test_resnet", 8, 8),
        ("test_vit", 16, 16),
        ("test_vit", 32, 16),
        ("test_mambaout", 16, 32),
        pytest.param("densenet121", 16, 32, marks=pytest.mark.slow),
        pytest.param("vit_small_patch14_dinov2", 16, 14, marks=pytest.mark.slow),
        # 4 and 8 cells of 224 and 448 pixels look like an output stride of 56
        pytest.param("csatv2", 16, 64, marks=pytest.mark.slow),
    ],
)
def test_a_network_that_cannot_have_the_stride_keeps_its_own(name: str, requested: int, own: int) -> None:
    backbone = build_backbone(name, requested)
    assert stride_of(backbone) == own
    assert backbone(torch.zeros(1, 3, 3 * own, 5 * own)).shape[2:] == (3, 5)
    # what design.json records builds the same network again
    again = build_backbone(name, own)
    assert (type(again), again.state_dict().keys()) == (type(backbone), backbone.state_dict().keys())


def test_convolutional_networks_are_timms_own_modules() -> None:
    """The names of their tensors are part of the files of earlier runs."""
    plain = timm.create_model(TINY, num_classes=0, global_pool="")
    assert build_backbone(TINY, 16).state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tf_efficientnet_lite",
            "timm model, got 'tf_efficientnet_lite'; did you mean 'tf_efficientnet_lite",
        ),
        ("zzz", "timm model, got 'zzz'; `timm.list_models\\(\\)` names them$"),
        pytest.param(
            "crossvit_tiny_240",
            "that gives a feature map, got 'crossvit_tiny_240': it has 14 x 14 cells for 240 x 240 pixels",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_networks_that_cannot_do_are_refused(name: str, message: str) -> None:
    with pytest.raises(TrainError, match=f"^train.backbone.name: expected a .*{message}"):
        build_backbone(name, 16)


def test_normalization_is_that_of_the_weights() -> None:
    assert normalization("resnet50").mean == (0.485, 0.456, 0.406)
    assert normalization("resnet50").std == (0.229, 0.224, 0.225)
    # these were trained with (pixel - 127) / 128; ImageNet's numbers cost them 7-10 points of accuracy
    small = normalization(SMALL)
    assert small.mean == pytest.approx((127 / 255,) * 3, abs=0.003)
    assert small.std == pytest.approx((128 / 255,) * 3, abs=0.003)


def test_images_are_normalized_as_published() -> None:
    pixels = torch.arange(0, 240, 10, dtype=torch.uint8).view(1, 2, 4, 3).permute(0, 3, 1, 2)  # channels last
    before, mean, std = pixels.clone(), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.3, 0.4])
    found = normalize(pixels, mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1))
    for channel in range(3):
        expected = (pixels[0, channel].double() / 255 - mean[channel].double()) / std[channel].double()
        torch.testing.assert_close(found[0, channel].double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(pixels, before)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_every_set_of_published_weights_has_one_number_for_each_color() -> None:
    """Pixels are divided by 255 first, whatever the weights: also those for inputs of 0..1 or -1..1."""
    names = timm.list_pretrained()
    assert len(names) > 1000
    for name in names:
        values = normalization(name)
        assert len(values.mean) == len(values.std) == 3, name
        assert all(0 <= mean < 1 and 0 < std <= 1 for mean, std in zip(values.mean, values.std, strict=True)), name
    assert normalization("vit_tiny_patch16_224.augreg_in21k_ft_in1k").mean == (0.5, 0.5, 0.5)
    assert normalization("test_vit").std == (0.5, 0.5, 0.5)
