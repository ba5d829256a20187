"""Feature maps of one network at several strides, as decoders of segmentation networks want them."""

import torch
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.models.feature_map import REFUSALS, FeatureMap

FINEST = 4  # pixels; decoders start from the map of this stride


def pyramid_maps(backbone: nn.Module, images: Tensor) -> list[Tensor]:
    """The last feature map of each stride from 4 on, the finest first.

    Args:
        backbone: a network of `build_backbone`
        images: normalized, sides whole multiples of its largest stride. Shape: (N, 3, H, W)

    Returns:
        maps (N, C_s, H / s, W / s) for the strides s = 4, 8, …
    """
    network = backbone.network if isinstance(backbone, FeatureMap) else backbone
    maps: list[Tensor] = network.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
    by_width = {level.shape[3]: level for level in maps if level.shape[3] * FINEST <= images.shape[3]}
    return [by_width[width] for width in sorted(by_width, reverse=True)]


def pyramid_channels(backbone: nn.Module, name: str, side: int = 128) -> tuple[int, ...]:
    """The channels of each map of `pyramid_maps`.

    Raises:
        TrainError: if the network has no map of stride 4 or none that is coarser
    """
    try:
        with torch.inference_mode():
            maps = pyramid_maps(backbone.eval(), torch.zeros(1, 3, side, side))
    except (*REFUSALS, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainError(_refusal(name, f"{reason}; likely a network for images of certain sizes")) from error
    strides = [side // level.shape[3] for level in maps]
    if len(maps) < 2 or strides[0] != FINEST:
        raise TrainError(_refusal(name, f"its maps have strides {strides}; likely a plain transformer"))
    return tuple(level.shape[1] for level in maps)


def _refusal(name: str, reason: str) -> str:
    return (
        f"student.backbone.name: expected a network with feature maps at stride {FINEST} and coarser ones, got "
        f"{name!r}: {reason}"
    )
