"""Backbones: which networks are taken, which are refused with what advice, and how fine their maps are."""

import pytest
import torch
from support.helpers import SMALL, TINY, random_images

from pipeline.core.errors import TrainError
from pipeline.models.backbones import build_backbone, count_channels, normalization


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", [SMALL, TINY])
def test_the_output_stride_is_the_size_of_one_position(name: str, stride: int) -> None:
    backbone = build_backbone(name, stride)
    features = backbone(random_images(2, 3, 64, 96).float())
    assert features.shape == (2, count_channels(backbone), 64 // stride, 96 // stride)


def test_networks_that_widen_their_features_late_are_taken() -> None:
    backbone = build_backbone("mobilenetv3_small_050", 32)
    assert backbone(torch.zeros(1, 3, 64, 32)).shape == (1, count_channels(backbone), 2, 1)


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        (
            "tf_efficientnet_lite",
            16,
            "expected a timm model, got 'tf_efficientnet_lite'; did you mean 'tf_efficientnet_lite",
        ),
        ("zzz", 16, "expected a timm model, got 'zzz'$"),
        (
            "vit_tiny_patch16_224",
            32,
            "expected a network for images of any size, got 'vit_tiny.* doesn't match .*transformer",
        ),
        (
            "vit_tiny_patch16_224",
            16,
            "can have output stride 16, got 'vit_tiny.*output_stride.*; set output_stride to 32",
        ),
        (
            "test_vit",
            32,
            r"expected features of shape \(N, C, h, w\), got \(1, \d+, 64\) from 'test_vit'; likely a transformer",
        ),
        ("test_mambaout", 32, "network with channels last"),
        ("densenet121", 16, "can have output stride 16, got 'densenet121'.*; set output_stride to 32"),
        (
            "efficientvit_b0",
            32,
            "can have output stride 32, got 'efficientvit_b0'.*; likely one whose pooling cannot be taken",
        ),
        (
            "inception_v3",
            32,
            "expected 4 positions for 128 pixels, got 2 from 'inception_v3'; likely this network has another",
        ),
    ],
)
def test_networks_that_cannot_do_are_refused(name: str, stride: int, message: str) -> None:
    with pytest.raises(TrainError, match=f"^train.backbone.*{message}"):
        build_backbone(name, stride)


def test_normalization_is_that_of_the_weights() -> None:
    assert normalization("resnet50").mean == (0.485, 0.456, 0.406)
    assert normalization("resnet50").std == (0.229, 0.224, 0.225)
    # these were trained with (pixel - 127) / 128; ImageNet's numbers cost them 7-10 points of accuracy
    small = normalization(SMALL)
    assert small.mean == pytest.approx((127 / 255,) * 3, abs=0.003)
    assert small.std == pytest.approx((128 / 255,) * 3, abs=0.003)
