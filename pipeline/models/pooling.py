"""From a feature map to one number a channel: global (GAP) and thresholded (TAP) average pooling."""

import torch
from torch import Tensor, nn

from pipeline.models.parts import split_batch
from pipeline.models.settings import Pooling


def global_average_pool(features: Tensor) -> Tensor:
    """Average each channel over all positions (GAP).

    Args:
        features: any activations. Shape: (N, C, H, W)

    Returns:
        channel means as float32. Shape: (N, C)

    Raises:
        ValueError: if `features` is not 4-D

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 2

    >>> global_average_pool(torch.tensor([[[[4.0, 1.0], [2.0, 0.0]]]]))
    tensor([[1.7500]])
    """
    _check(features)
    return features.float().mean(dim=(2, 3))


def thresholded_average_pool(features: Tensor, theta: float) -> Tensor:
    """Average each channel over its strong activations only (TAP).

    Per image and channel, with F the H x W activation map:

        p = sum(F[F > t]) / max(1, count(F > t)),    t = theta * max(F)

    The comparison is strict. A channel that is zero everywhere keeps no position and pools to 0, not NaN.
    theta = 0 averages the positive activations; it is not global average pooling. For the gradient the set of kept
    positions is a constant: each of them gets 1 / count, all others 0.

    Args:
        features: activations after the last ReLU, so not negative. Shape: (N, C, H, W)
        theta: share of the channel's own maximum, no unit, in [0, 1)

    Returns:
        pooled activations, in the unit of `features`, as float32. Shape: (N, C)

    Raises:
        ValueError: if `features` is not 4-D, or `theta` is outside [0, 1)

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV
    2020, section 4.1

    >>> thresholded_average_pool(torch.tensor([[[[4.0, 1.0], [2.0, 0.0]]]]), theta=0.3)
    tensor([[3.]])
    """
    _check(features)
    if not 0 <= theta < 1:
        raise ValueError(f"expected `theta` in [0, 1), got {theta}; it is a share of the maximum, not a percentage")
    theta = min(theta, 1 - 2**-23)  # closer to 1 it would round to 1 in float32, and not even the maximum would be kept
    return torch.cat([_mean_of_strong(part, theta) for part in split_batch(features)])


def _mean_of_strong(features: Tensor, theta: float) -> Tensor:
    features = features.float()  # a float16 sum over H x W can pass 65504
    with torch.no_grad():
        threshold = theta * features.amax(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        kept = (features > threshold).float()  # (N, C, H, W)
    # multiplied rather than selected: a NaN stays visible in its own channel instead of being dropped
    return (features * kept).sum(dim=(2, 3)) / kept.sum(dim=(2, 3)).clamp(min=1)  # (N, C)


def pool_gradient(pool: nn.Module, features: Tensor) -> Tensor:
    """The derivative of each channel's pooled value by its value at each position.

        J_ci = dp_c / dF_ci: 1 / (H * W) for global average pooling, 1 / count at the kept positions for TAP

    Pooling has to take each channel by itself; another channel's values then have no part in it.

    Args:
        pool: (N, C, H, W) to (N, C)
        features: any activations; no gradient flows into them. Shape: (N, C, H, W)

    Returns:
        J, float32. Shape: (N, C, H, W)
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = features.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(pool(leaf).sum(), leaf)
    return gradient.float()


def _check(features: Tensor) -> None:
    if features.ndim != 4:
        raise ValueError(f"expected `features` of shape (N, C, H, W), got {tuple(features.shape)}")


class GlobalAveragePool(nn.Module):
    """`global_average_pool` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        return global_average_pool(features)


class ThresholdedAveragePool(nn.Module):
    """`thresholded_average_pool` as a layer that remembers `theta`."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = theta

    def forward(self, features: Tensor) -> Tensor:
        return thresholded_average_pool(features, self.theta)

    def extra_repr(self) -> str:
        return f"theta={self.theta}"


def make_pool(name: Pooling, tap_threshold: float) -> nn.Module:
    """The pooling layer that `train.pooling` names."""
    return ThresholdedAveragePool(tap_threshold) if name == "tap" else GlobalAveragePool()
