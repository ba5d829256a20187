"""Backbones: any timm network that gives a feature map, convolutional or transformer."""

import difflib
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from pipeline.core.errors import TrainError
from pipeline.models.feature_map import REFUSALS, RefusedError, count_channels, make_feature_map
from pipeline.models.settings import BackboneSettings

DEFAULT_STRIDE = 32  # of almost every convolutional network


@dataclass(frozen=True, slots=True)
class Normalization:
    """What the weights expect of their input: (pixel / 255 - mean) / std, per channel RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def build_backbone(name: str, output_stride: int, key: str = "train.backbone") -> nn.Module:
    """Make a network without pooling and classifier: images (N, 3, H, W) in, features (N, C, h, w) out.

    The output stride is a request: a network that cannot have it keeps its own. `stride_of` tells which it has. A
    convolutional network is timm's module itself; others are brought to a map by `FeatureMap`. `key` is that of the
    settings, for errors.

    Raises:
        TrainError: if timm knows no such model, or its features are no map
    """
    check_name(name, key)
    for stride in dict.fromkeys((output_stride, DEFAULT_STRIDE)):
        backbone = _convolutional(name, stride)
        if backbone is not None:
            return backbone
    try:
        return make_feature_map(name)
    except (RefusedError, *REFUSALS) as error:
        raise TrainError(
            f"{key}.name: expected a network that gives a feature map, got {name!r}: {error}; "
            "likely one that does not keep the positions of the image"
        ) from error


def check_name(name: str, key: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        TrainError: naming the nearest one, if one is near
    """
    if name not in timm.list_models():
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`timm.list_models()` names them"
        raise TrainError(f"{key}.name: expected a timm model, got {name!r}; {hint}")


def stride_of(backbone: nn.Module) -> int:
    """The output stride, in pixels, of a network of `build_backbone`: as requested, or its own."""
    stride = backbone.output_stride
    assert isinstance(stride, int)
    return stride


def _convolutional(name: str, stride: int) -> nn.Module | None:
    """The network as timm makes it, if its output is a map of this output stride already."""
    # passing the default would exclude networks without such an argument
    option: dict[str, Any] = {} if stride == DEFAULT_STRIDE else {"output_stride": stride}
    side = 4 * stride
    try:
        backbone: nn.Module = timm.create_model(name, num_classes=0, global_pool="", **option).eval()
        with torch.inference_mode():
            features = backbone(torch.zeros(1, 3, side, side))
    except REFUSALS:
        return None
    if not isinstance(features, torch.Tensor) or features.shape != (1, count_channels(backbone), 4, 4):
        return None
    backbone.output_stride = stride  # type: ignore[assignment]  # timm's modules keep other such facts as attributes
    return backbone


def normalize(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(pixel / 255 - mean) / std, in one new array: each further one would cost more than its arithmetic.

    Args:
        images: RGB, 0..255. Shape: (N, 3, H, W), uint8
        mean: as in `Normalization`. Shape: (1, 3, 1, 1), as `std`

    Returns:
        (N, 3, H, W), in the type of `mean`, channels last
    """
    scaled = images.to(mean.dtype, copy=True, memory_format=torch.channels_last)
    return scaled.div_(255).sub_(mean).div_(std)


def normalization_of(settings: BackboneSettings) -> Normalization:
    """What the weights that the settings name expect; the tags of a model on the hub differ in mean and std."""
    tag = settings.weights_from if settings.weights == "hub" else None
    return normalization(f"{settings.name}.{tag}" if tag else settings.name)


def normalization(name: str) -> Normalization:
    """What the published weights of a model expect, as timm records it.

    ImageNet's mean and std where it records nothing.
    """
    config = timm.get_pretrained_cfg(name)
    mean, std = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
