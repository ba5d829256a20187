"""Class activation maps: the classifier's weights applied to every position of its feature map."""

import torch
from torch import Tensor
from torch.nn import functional


def clamp_negative_weights(weights: Tensor) -> Tensor:
    """Set negative classifier weights to 0 (NWC); a new tensor, the logits keep all weights. Shape: (K, C)

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020,
    section 4.2

    >>> clamp_negative_weights(torch.tensor([[1.0, -2.0]]))
    tensor([[1., 0.]])
    """
    return weights.clamp(min=0)


def class_activation_maps(features: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    """Class activation maps of the wanted classes of a whole batch, in one product.

        M_k(h, w) = sum over c of weights[k, c] * F_c(h, w)

    The bias is no part of it, and F is not thresholded whatever the pooling: the mean of a map over its positions plus the
    bias is the logit of a classifier with global average pooling.

    Args:
        features: activations after the last ReLU. Shape: (N, C, H, W)
        weights: of the classifier, or clamped (NWC). Shape: (K, C)
        wanted: class indices of each image. Shape: (N, P)

    Returns:
        maps as float32. Shape: (N, P, H, W)

    Raises:
        ValueError: if the shapes do not fit

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, equation 2

    >>> class_activation_maps(torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]), torch.tensor([[1.0, -1.0]]), torch.tensor([[0]]))
    tensor([[[[-2.,  2.]]]])
    """
    if features.ndim != 4 or weights.ndim != 2 or features.shape[1] != weights.shape[1] or len(wanted) != len(features):
        raise ValueError(
            f"expected features (N, C, H, W), weights (K, C) and wanted (N, P), got {tuple(features.shape)}, "
            f"{tuple(weights.shape)} and {tuple(wanted.shape)}"
        )
    with torch.autocast(features.device.type, enabled=False):
        chosen = weights.float()[wanted]  # (N, P, C)
        maps = torch.bmm(chosen, features.float().flatten(start_dim=2))  # (N, P, H * W)
    unflattened: Tensor = maps.unflatten(2, features.shape[2:])
    return unflattened


def mean_over_views(maps: list[Tensor]) -> Tensor:
    """Average raw maps of several scales on the grid of the finest. Shapes: (N, P, h, w) each, (N, P, H, W)

    Bilinear, position centers aligned (align_corners = False), as everywhere else.
    """
    finest = max((tuple(view.shape[2:]) for view in maps), key=lambda shape: shape[0] * shape[1])
    resized = [
        view
        if tuple(view.shape[2:]) == finest
        else functional.interpolate(view, size=finest, mode="bilinear", align_corners=False)
        for view in maps
    ]
    return torch.stack(resized).mean(dim=0)
