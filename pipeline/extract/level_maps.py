"""Maps from earlier levels of the backbone, fused with that of its last features. No training is needed.

Levels before the last have finer cells where the network reduces its maps in between, and no weights of a head: the map
of a class comes from the gradient of its logit at the level. That takes a second pass of the network for each view, and
a backward pass down to the level for each wanted class.

The maps of a level may be negative where it ends in no ReLU, as the blocks of EfficientNet; both rules hold for that.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import MapError
from pipeline.models.classifier import Classifier
from pipeline.models.feature_map import FeatureMap
from pipeline.models.inner import Level, changed
from pipeline.models.parts import split_batch
from pipeline.models.regions import share_of_maximum

LevelRule = Callable[[Tensor, Tensor, Tensor], Tensor]  # maps A and gradient G (N, C, h, w), logits (N,): (N, h, w)
GAIN = 2.0  # γ, as published
EPSILON = 1e-6  # of |y|, as in `bag_cams`


def layer_cam_at(maps: Tensor, gradient: Tensor, logits: Tensor) -> Tensor:
    """LayerCAM at any level: each position of each channel weighed by its own positive gradient.

        M_i = relu(sum over c of relu(G_ci) * A_ci)

    Args:
        maps: A, of the level. Shape: (N, C, H, W)
        gradient: G, of a logit of each image by A. Shape: (N, C, H, W)
        logits: y, not read. Shape: (N,)

    Returns:
        maps, not negative. Shape: (N, H, W)

    Source: Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE Transactions
    on Image Processing 30, 2021
    """
    return (gradient.clamp(min=0) * maps).sum(dim=1).clamp(min=0)


def bag_cams_at(maps: Tensor, gradient: Tensor, logits: Tensor) -> Tensor:
    """BagCAMs at any level: the mean of the maps of all regional localizers, one for each position.

        M_i = sum over c of relu(mean_j(1 + g_cj * A_cj) * g_ci * A_ci),   g = G / |y|

    The authors' published code also cuts off negative gradients at every ReLU on the way back, which the paper does not
    mention; here the gradient is the plain one. Arguments and result as in `layer_cam_at`; of y see
    `gradient_maps.bag_cams`.

    Source: Zhu et al., "Bagging Regional Classification Activation Maps for Weakly Supervised Object Localization",
    ECCV 2022
    """
    share = gradient * maps / logits.abs().clamp(min=EPSILON)[:, None, None, None]
    return ((1 + share.mean(dim=(2, 3), keepdim=True)) * share).clamp(min=0).sum(dim=1)


LEVEL_RULES: dict[str, LevelRule] = {"cam": layer_cam_at, "layercam": layer_cam_at, "bagcams": bag_cams_at}


def level_maps(
    classifier: Classifier, images: Tensor, wanted: Tensor, levels: Sequence[Level], rule: LevelRule
) -> list[Tensor]:
    """Maps of the wanted classes at several levels of the backbone, in float32, whose gradients are never rounded to 0.

    Args:
        images: RGB, as the network is to see them. Shape: (N, 3, H, W), uint8
        wanted: class indices of each image. Shape: (N, P)

    Returns:
        of each level, with its own cells. Shape: (N, P, h, w)

    Raises:
        MapError: if the network pads images of this shape, so that cells of a level lie outside
    """
    _check_whole(classifier, images)
    parts = split_batch(images)
    each = zip(parts, wanted.split(len(parts[0])), strict=True)
    found = [_maps_of(classifier, part, classes, levels, rule) for part, classes in each]
    return [torch.cat(of_level) for of_level in zip(*found, strict=True)]


def _maps_of(
    classifier: Classifier, images: Tensor, wanted: Tensor, levels: Sequence[Level], rule: LevelRule
) -> list[Tensor]:
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[Tensor], Tensor]:
        def keep(maps: Tensor) -> Tensor:
            torch.set_grad_enabled(True)  # from the first level on: what lies before it is not kept
            seen[name] = maps if maps.requires_grad else maps.detach().requires_grad_()
            return seen[name].clone()  # a later layer may work in place

        return keep

    with torch.inference_mode(False), torch.autocast(images.device.type, enabled=False), ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for level in levels:
            stack.enter_context(changed(level, classifier.backbone, images, watch(level.name)))
        logits = classifier.logits(classifier.features(images)).gather(1, wanted.clone())  # (N, P)
        inner = [seen[level.name] for level in levels]
        by_class = [
            torch.autograd.grad(of_class.sum(), inner, retain_graph=True) for of_class in logits.unbind(dim=1)
        ]  # P times one gradient for each level
    of_classes = list(zip(by_class, logits.detach().unbind(dim=1), strict=True))
    return [
        torch.stack([rule(maps.detach(), gradients[n], of_class) for gradients, of_class in of_classes], dim=1)
        for n, maps in enumerate(inner)
    ]


def _check_whole(classifier: Classifier, images: Tensor) -> None:
    backbone = classifier.backbone
    if not isinstance(backbone, FeatureMap) or backbone.layout.fixed:
        return
    height, width = images.shape[2:]
    if backbone.layout.margin or height % backbone.layout.multiple or width % backbone.layout.multiple:
        raise MapError(
            f"extract.map_levels: expected a network that takes images of {height} x {width} pixels as they are, got "
            f"{classifier.design.backbone!r}, which pads them to whole multiples of {backbone.layout.multiple}: cells "
            "of its levels lie outside of the image; set it to [], or choose another network"
        )


def fuse(last: Tensor, earlier: Sequence[Tensor]) -> Tensor:
    """The largest of the maps of all levels at each position, each brought to a common range first.

        M = max(relu(L) / max L, tanh(γ E_1 / max E_1), tanh(γ E_2 / max E_2), …),   γ = 2

    Maxima are those of each image and class. The hyperbolic tangent raises the values of earlier levels, most of which
    are small beside their maximum. Maps are resized to the finest grid, bilinear, before they are compared.

    Args:
        last: L, of the last features. Shape: (N, P, h, w)
        earlier: E, of each earlier level, not negative. Shapes: (N, P, h, w)

    Returns:
        in [0, 1]; 0 where no level is positive. Shape: (N, P, H, W)

    Source: Jiang et al., LayerCAM, section III
    """
    scaled = [share_of_maximum(last), *(torch.tanh(GAIN * share_of_maximum(maps)) for maps in earlier)]
    finest = max((maps.shape[2:] for maps in scaled), key=lambda shape: shape[0] * shape[1])
    resized = [functional.interpolate(maps, finest, mode="bilinear", align_corners=False) for maps in scaled]
    return torch.stack(resized).amax(dim=0)
