"""The network on a batch of images: features of every view, mean logits, raw maps of the wanted classes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.extract.cam import mean_over_views
from pipeline.extract.gradient_maps import make_map_rule
from pipeline.extract.settings import ExtractSettings
from pipeline.models.cell_offset import Offset
from pipeline.models.classifier import Classifier

# features (N, C, h, w), and whether they are of the mirrored images; None: of a crop, which says classes alone
View = tuple[Tensor, bool | None]


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
    of_view: tuple[bool | None, ...] = (False, True) if settings.flip else (False,)
    with hardware.autocast():  # once for all views: on leaving it, the weights in half precision are forgotten
        return [
            (classifier.features(images.flip(3) if mirrored else images)[:count], mirrored)
            for n, images in enumerate(fill_up(scale.to(hardware.device, non_blocking=True), full) for scale in scales)
            for mirrored in (of_view if n < sizes else (None,))
        ]


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
    whole = [features for features, mirrored in views if mirrored is not None]
    return torch.stack([classifier.logits(features) for features in whole]).mean(dim=0)


@torch.inference_mode()
def class_logits(classifier: Classifier, views: Sequence[View], settings: ExtractSettings) -> Tensor:
    """Logits of a batch that say which classes are there. Shape: (N, K), float32

    Those of the whole images; where there are crops, the largest or the mean of these and those of each crop: an object
    that is small in a wide image is large in one of its crops.
    """
    whole = mean_logits(classifier, views)
    crops = [classifier.logits(features) for features, mirrored in views if mirrored is None]
    if not crops:
        return whole
    every = torch.stack([whole, *crops])  # (1 + crops, N, K)
    return every.amax(dim=0) if settings.class_crops == "max" else every.mean(dim=0)


@torch.inference_mode()
def raw_maps_of(classifier: Classifier, views: Sequence[View], wanted: Tensor, settings: ExtractSettings) -> Tensor:
    """Raw maps of the wanted classes, the mean over views on the grid of the finest. Shapes: (N, P) to (N, P, h, w)"""
    cam = make_map_rule(settings.map, settings.negative_weights, classifier.pool)
    y, x = cell_offset(classifier, settings)
    maps, offsets = [], []
    for features, mirrored in views:
        if mirrored is None:
            continue
        cams = classifier.maps(features, wanted, cam)
        maps.append(cams.flip(3) if mirrored else cams)
        offsets.append((y, -x if mirrored else x))
    return mean_over_views(maps, offsets)


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
