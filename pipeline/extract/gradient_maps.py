"""Maps from the gradient of a class's logit: Grad-CAM, Grad-CAM++, LayerCAM and BagCAMs. No training is needed.

The logit is linear in the pooled features, y_k = w_k · p, and pooling takes each channel by itself. So the gradient at
position i is a product, w_kc * J_ci, with J = dp / dF from `pipeline.models.pooling.pool_gradient`, and the network
needs no backward pass. By arithmetic:

- Grad-CAM is the positive part of CAM with all weights, up to a factor 1 / (H * W), for both poolings
- with global average pooling LayerCAM is CAM with clamped weights (NWC), up to the same factor; with thresholded
  average pooling it is NWC on the positions that each channel keeps
- BagCAMs is close to LayerCAM: its first factor is 1 + (share of a channel in the logit) / (H * W)
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.extract.cam import clamp_negative_weights, class_activation_maps
from pipeline.models.pooling import pool_gradient

MapName = Literal["cam", "gradcam", "gradcam++", "layercam", "bagcams"]
MapRule = Callable[[Tensor, Tensor, Tensor], Tensor]  # features (N, C, h, w), weights (K, C), wanted (N, P)
_GradientRule = Callable[[Tensor, Tensor, Tensor], Tensor]  # features, J of one shape, weights (N, P, C)
EPSILON = 1e-6  # as in pytorch-grad-cam; keeps 0 / 0 at 0


def make_map_rule(name: MapName, negative_weights: Literal["keep", "clamp"], pool: nn.Module) -> MapRule:
    """The rule that `extract.map` names, for a classifier with this pooling.

    Args:
        name: `cam`, or one of the gradient maps of this module
        negative_weights: of `cam`; the others do not read it
        pool: of the classifier, which decides the gradient
    """
    if name == "cam":
        return _clamped_cam if negative_weights == "clamp" else class_activation_maps
    rule = _RULES[name]

    def gradient_maps(features: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return rule(features.float(), pool_gradient(pool, features), weights.float()[wanted])

    return gradient_maps


def _clamped_cam(features: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    return class_activation_maps(features, clamp_negative_weights(weights), wanted)


def grad_cam(features: Tensor, gradient: Tensor, weights: Tensor) -> Tensor:
    """The channels weighed by the mean of their gradient.

        M = relu(sum over c of mean_i(w_c * J_ci) * F_c)

    Args:
        features: F, not negative. Shape: (N, C, H, W), float32
        gradient: J, of the pooled features by the features. Shape: (N, C, H, W)
        weights: of the wanted classes of each image. Shape: (N, P, C)

    Returns:
        maps, not negative. Shape: (N, P, H, W)

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    2017, equations 1 and 2
    """
    return _weigh(weights * gradient.mean(dim=(2, 3))[:, None], features).clamp(min=0)


def grad_cam_plus_plus(features: Tensor, gradient: Tensor, weights: Tensor) -> Tensor:
    """The channels weighed by their positive gradient, positions by second and third powers of it.

        M = relu(sum over c of u_c * F_c),   u_c = sum over i of a_ci * relu(g_ci),   g_ci = w_c * J_ci
        a_ci = g_ci^2 / (2 * g_ci^2 + g_ci^3 * sum_j F_cj), 0 where g_ci = 0

    Arguments and result as in `grad_cam`.

    Source: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional
    Networks", WACV 2018
    """
    sums = features.sum(dim=(2, 3), keepdim=True)
    channels = torch.stack([_plus_plus(weights[:, k, :, None, None] * gradient, sums) for k in range(weights.shape[1])])
    return _weigh(channels.transpose(0, 1), features).clamp(min=0)


def _plus_plus(gradient: Tensor, sums: Tensor) -> Tensor:
    """u_c of one class an image. Shapes: (N, C, H, W) and (N, C, 1, 1) to (N, C)"""
    square = gradient.square()
    shares = torch.where(gradient != 0, square / (2 * square + sums * square * gradient + EPSILON), 0)
    return (shares * gradient.clamp(min=0)).sum(dim=(2, 3))


def layer_cam(features: Tensor, gradient: Tensor, weights: Tensor) -> Tensor:
    """Each position of each channel weighed by its own positive gradient.

        M_i = sum over c of relu(w_c * J_ci) * F_ci

    Arguments and result as in `grad_cam`.

    Source: Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE Transactions
    on Image Processing 30, 2021
    """
    return _weigh(clamp_negative_weights(weights), gradient * features)


def bag_cams(features: Tensor, gradient: Tensor, weights: Tensor) -> Tensor:
    """The mean of the maps of all regional localizers, one for each position of the feature map.

        M_i = sum over c of relu(mean_j(1 + g_cj * F_cj) * g_ci * F_ci),   g_ci = w_c * J_ci / |y|,   y = w · p

    g is the gradient of log y in the paper, which wants y > 0; with |y| the map of a class with another logit has the
    same signs. y is taken without the bias, as CAM is. Arguments and result as in `grad_cam`.

    Source: Zhu et al., "Bagging Regional Classification Activation Maps for Weakly Supervised Object Localization",
    ECCV 2022, and the authors' published code
    """
    share = gradient * features  # (N, C, H, W)
    logit = torch.einsum("npc,nc->np", weights, share.sum(dim=(2, 3))).abs().clamp(min=EPSILON)  # (N, P)
    relative = weights / logit[..., None]  # (N, P, C)
    mean = 1 + relative * share.mean(dim=(2, 3))[:, None]
    return _weigh((mean * relative).clamp(min=0), share)  # `share` is not negative: relu acts on its factor alone


def _weigh(channels: Tensor, features: Tensor) -> Tensor:
    """The sum over channels. Shapes: (N, P, C) and (N, C, H, W) to (N, P, H, W)"""
    return torch.einsum("npc,nchw->nphw", channels, features)


_RULES: dict[MapName, _GradientRule] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "layercam": layer_cam,
    "bagcams": bag_cams,
}
