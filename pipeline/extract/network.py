"""The network on a batch of images: features of every view, mean logits, raw maps of the wanted classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.extract.cam import mean_over_views
from pipeline.extract.gradient_maps import make_map_rule
from pipeline.extract.level_maps import LEVEL_RULES, fuse, level_maps
from pipeline.extract.settings import ExtractSettings
from pipeline.models.cell_offset import Offset
from pipeline.models.classifier import Classifier
from pipeline.models.inner import choose_level


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A batch at one size, as the network has seen it.

    Attributes:
        features: Shape: (N, C or more, h, w)
        mirrored: whether they are of the mirrored images
        is_crop: whether they are of a crop, which says classes alone and gives no map
        images: those, where maps of earlier levels are wanted. Shape: (N, 3, H, W), uint8
    """

    features: Tensor
    mirrored: bool
    is_crop: bool = False
    images: Tensor | None = None


@torch.inference_mode()
def predict(
    classifier: Classifier,
    scales: Sequence[Tensor],
    labels: Sequence[tuple[int, ...]],
    settings: ExtractSettings,
    hardware: Hardware,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Raw maps of the wanted classes of a batch, averaged over scales and mirror images.

    Args:
        scales: the same N images at every size. Shape: (N, 3, H, W) each, uint8
        labels: known class indices of each image; they come before predicted ones

    Returns:
        maps (N, P, h, w), as many cells as the finest scale has, dividing the image evenly; class indices (N, P), most
        wanted first; probabilities (N, K)
    """
    views = compute_views(classifier, scales, settings, hardware)
    logits = class_logits(classifier, views, settings)
    wanted = wanted_classes(logits, labels, settings.max_classes)
    maps = raw_maps_of(classifier, views, wanted, settings).cpu().numpy()
    return maps, wanted.cpu().numpy(), classifier.probabilities(logits).cpu().numpy()


@torch.inference_mode()
def compute_views(
    classifier: Classifier, scales: Sequence[Tensor], settings: ExtractSettings, hardware: Hardware
) -> list[View]:
    """Features of a batch at every size, mirrored ones too where the settings want them; then of its crops, if any."""
    count = len(scales[0])
    sizes = len(scales) if settings.class_crops == "none" else len(settings.sizes)
    full = max(settings.batch_size, count) if hardware.wants_few_shapes else count
    views = []
    with hardware.autocast():  # once for all views: on leaving it, the weights in half precision are forgotten
        for number, scale in enumerate(scales):
            images, is_crop = fill_up(scale.to(hardware.device, non_blocking=True), full), number >= sizes
            for mirrored in (False, True) if settings.flip and not is_crop else (False,):
                shown = images.flip(3) if mirrored else images
                kept = shown[:count] if settings.map_levels and not is_crop else None
                views.append(View(classifier.features(shown)[:count], mirrored, is_crop, kept))
    return views


def fill_up(images: Tensor, count: int) -> Tensor:
    """`count` images: these, and the last one again and again. Shape: (N, …) to (count, …)

    >>> fill_up(torch.tensor([[1], [2]]), 4).T
    tensor([[1, 2, 2, 2]])
    """
    missing = count - len(images)
    return torch.cat([images, images[-1:].expand(missing, *images.shape[1:])]) if missing else images


@torch.inference_mode()
def mean_logits(classifier: Classifier, views: Sequence[View]) -> Tensor:
    """Logits of a batch, the mean over its views of whole images. Shape: (N, K), float32"""
    return torch.stack([classifier.logits(view.features) for view in views if not view.is_crop]).mean(dim=0)


@torch.inference_mode()
def class_logits(classifier: Classifier, views: Sequence[View], settings: ExtractSettings) -> Tensor:
    """Logits of a batch that say which classes are there. Shape: (N, K), float32

    Those of the whole images; where there are crops, the largest or the mean of these and those of each crop: an object
    that is small in a wide image is large in one of its crops.
    """
    whole = mean_logits(classifier, views)
    crops = [classifier.logits(view.features) for view in views if view.is_crop]
    if not crops:
        return whole
    every = torch.stack([whole, *crops])  # (1 + crops, N, K)
    return every.amax(dim=0) if settings.class_crops == "max" else every.mean(dim=0)


@torch.inference_mode()
def raw_maps_of(classifier: Classifier, views: Sequence[View], wanted: Tensor, settings: ExtractSettings) -> Tensor:
    """Raw maps of the wanted classes, the mean over views on the grid of the finest. Shapes: (N, P) to (N, P, h, w)

    With `map_levels` they are fused with those of earlier levels, whose cells divide the image evenly as far as known:
    only the offset of the last features is measured.
    """
    cam = make_map_rule(settings.map, settings.negative_weights, classifier.pool)
    views = [view for view in views if not view.is_crop]
    maps = [classifier.maps(view.features, wanted, cam) for view in views]
    last = _mean_of(maps, views, cell_offset(classifier, settings))
    if not (settings.map_levels and classifier.method.reads_weights):
        return last
    levels = [choose_level(classifier.backbone, name, "extract.map_levels") for name in settings.map_levels]
    rule = LEVEL_RULES[settings.map]
    each = [level_maps(classifier, view.images, wanted, levels, rule) for view in views if view.images is not None]
    return fuse(last, [_mean_of(of_level, views, (0.0, 0.0)) for of_level in zip(*each, strict=True)])


def _mean_of(maps: Sequence[Tensor], views: Sequence[View], offset: Offset) -> Tensor:
    """The mean over views of maps with cells of this offset, mirrored ones mirrored back."""
    y, x = offset
    upright = [one.flip(3) if view.mirrored else one for one, view in zip(maps, views, strict=True)]
    return mean_over_views(upright, [(y, -x if view.mirrored else x) for view in views])


def cell_offset(classifier: Classifier, settings: ExtractSettings) -> Offset:
    """Offset (y, x) of a view's cells from their even share of the image, in cells; 0 for the published placement."""
    return classifier.design.offset if settings.placement == "receptive_field" else (0.0, 0.0)


def wanted_classes(logits: Tensor, labels: Sequence[tuple[int, ...]], most: int) -> Tensor:
    """Class indices of each image, known labels first, then by falling logit. Shapes: (N, K), (N, P)

    P = min(most, K). Among known labels, too, the more probable stand first; ties go to the lower class index. Logits
    decide, not probabilities, which are equal where a sigmoid has saturated.
    """
    first = torch.zeros(logits.shape, dtype=torch.float64)
    for row, known in zip(first, labels, strict=True):
        row[list(known)] += 1.0e6  # above every logit
    order = (logits.cpu() if logits.device.type == "mps" else logits).double()  # MPS has no doubles
    ranked = (order + first.to(order.device, non_blocking=True)).argsort(dim=1, descending=True, stable=True)
    return ranked[:, : min(most, logits.shape[1])].to(logits.device)
