"""Backbones: any timm network whose features are a map."""

import difflib
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from pipeline.core.errors import TrainError


@dataclass(frozen=True, slots=True)
class Normalization:
    """What the weights expect of their input: (pixel / 255 - mean) / std, per channel RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def build_backbone(name: str, output_stride: int) -> nn.Module:
    """Make a network without pooling and classifier: images (N, 3, H, W) in, features (N, C, h, w) out.

    Raises:
        TrainError: if timm knows no such model, or it cannot have this output stride, or its features are no map
    """
    if name not in timm.list_models():
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise TrainError(
            f"train.backbone.name: expected a timm model, got {name!r}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    # almost every network has 32 by default; passing it would exclude networks without such an argument
    stride: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        backbone: nn.Module = timm.create_model(name, num_classes=0, global_pool="", **stride)
    except (TypeError, NotImplementedError, AssertionError) as error:
        hint = "set output_stride to 32" if output_stride != 32 else "likely one whose pooling cannot be taken away"
        raise TrainError(
            f"train.backbone: expected a model that can have output stride {output_stride}, got {name!r} ({error}); "
            f"{hint}"
        ) from error
    _check_features(backbone, name, output_stride)
    return backbone


def count_channels(backbone: nn.Module) -> int:
    """C, the number of channels of the features."""
    channels = getattr(
        backbone, "head_hidden_size", backbone.num_features
    )  # MobileNets widen their features before the classifier
    assert isinstance(channels, int)  # of every timm model
    return channels


def _check_features(backbone: nn.Module, name: str, output_stride: int) -> None:
    side = 4 * output_stride
    try:
        with torch.inference_mode():
            features = backbone.eval()(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise TrainError(
            f"train.backbone.name: expected a network for images of any size, got {name!r} ({error}); likely a "
            "transformer"
        ) from error
    if features.ndim != 4 or features.shape[1] != count_channels(backbone):
        raise TrainError(
            f"train.backbone.name: expected features of shape (N, C, h, w), got {tuple(features.shape)} from {name!r}; "
            "likely a transformer or a network with channels last"
        )
    if features.shape[2] * output_stride != side:
        raise TrainError(
            f"train.backbone.output_stride: expected {side // output_stride} positions for {side} pixels, "
            f"got {features.shape[2]} from {name!r}; likely this network has another stride"
        )


def normalization(name: str) -> Normalization:
    """What the published weights of a model expect, as timm records it.

    ImageNet's mean and std where it records nothing.
    """
    config = timm.get_pretrained_cfg(name)
    mean, std = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
