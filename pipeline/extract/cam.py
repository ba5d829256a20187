"""Class activation maps: the classifier's weights applied to every position of its feature map."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.models.cell_offset import Offset
from pipeline.models.parts import split_batch


def clamp_negative_weights(weights: Tensor) -> Tensor:
    """Set negative classifier weights to 0 (NWC); a new tensor, the logits keep all weights. Shape: (K, C)

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV
    2020, section 4.2

    >>> clamp_negative_weights(torch.tensor([[1.0, -2.0]]))
    tensor([[1., 0.]])
    """
    return weights.clamp(min=0)


def class_activation_maps(features: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    """Class activation maps of the wanted classes of a whole batch, in one product.

        M_k(h, w) = sum over c of weights[k, c] * F_c(h, w)

    The bias is no part of it, and F is not thresholded whatever the pooling: the mean of a map over its positions plus
    the bias is the logit of a classifier with global average pooling.

    Args:
        features: activations after the last ReLU. Shape: (N, C, H, W)
        weights: of the classifier, or clamped (NWC). Shape: (K, C)
        wanted: class indices of each image. Shape: (N, P)

    Returns:
        maps as float32. Shape: (N, P, H, W)

    Raises:
        ValueError: if the shapes do not fit

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, equation 2

    >>> features, weights = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), torch.tensor([[1.0, -1.0]])
    >>> class_activation_maps(features, weights, wanted=torch.tensor([[0]]))
    tensor([[[[-2.,  2.]]]])
    """
    if features.ndim != 4 or weights.ndim != 2 or features.shape[1] != weights.shape[1] or len(wanted) != len(features):
        raise ValueError(
            f"expected features (N, C, H, W), weights (K, C) and wanted (N, P), got {tuple(features.shape)}, "
            f"{tuple(weights.shape)} and {tuple(wanted.shape)}"
        )
    with torch.autocast(features.device.type, enabled=False):
        chosen = weights.float()[wanted]  # (N, P, C)
        parts = split_batch(features)
        each = zip(chosen.chunk(len(parts)), parts, strict=True)
        maps = torch.cat([torch.bmm(own, part.float().flatten(start_dim=2)) for own, part in each])  # (N, P, H * W)
    unflattened: Tensor = maps.unflatten(2, features.shape[2:])
    return unflattened


def mean_over_views(maps: Sequence[Tensor], offsets: Sequence[Offset]) -> Tensor:
    """Average raw maps of several views on a grid that divides the image evenly, with as many cells as the finest view.

    Args:
        maps: of each view, mirrored ones mirrored back. Shapes: (N, P, h, w)
        offsets: (y, x) of each view's cells from their even share of the image, in its cells; to the right positive

    Returns:
        means. Shape: (N, P, H, W)

    Raises:
        ValueError: if a view has no offset
    """
    finest = max(((view.shape[2], view.shape[3]) for view in maps), key=math.prod)
    return torch.stack([resample(view, finest, offset) for view, offset in zip(maps, offsets, strict=True)]).mean(dim=0)


def resample(maps: Tensor, shape: tuple[int, int], offset: Offset) -> Tensor:
    """Bilinear values of maps at the centers of `shape` cells that divide the image evenly.

    Cell i of n lies at (i + 0.5 + offset) / n of the image; beyond the outermost cells their value is repeated. Without
    an offset that is a bilinear resize, position centers aligned (align_corners = False), as everywhere else.

    Args:
        maps: Shape: (N, P, h, w)
        offset: (y, x), in cells of `maps`

    Returns:
        `maps` itself where nothing changes. Shape: (N, P, *shape)
    """
    if tuple(maps.shape[2:]) == shape and offset == (0.0, 0.0):
        return maps
    rows, columns = (
        _hat_weights(maps.shape[2 + axis], shape[axis], offset[axis], maps.device, maps.dtype) for axis in (0, 1)
    )
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


@lru_cache(maxsize=1024)  # copying one to a GPU waits for all that it has to do
def _hat_weights(source: int, target: int, offset: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The linear interpolation along one axis as a matrix; rows sum to 1. Shape: (target, source)"""
    places = (torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5 - offset
    distances = places.clamp(0, source - 1)[:, None] - torch.arange(source)
    return (1 - distances.abs()).clamp(min=0).to(device, dtype)
