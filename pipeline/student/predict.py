"""The trained network on any image: probabilities over several sizes, and the classes that may be."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.core.device import Hardware
from pipeline.extract.load import batches_of, load_batches
from pipeline.extract.plan import Job, by_shape, view_shape
from pipeline.models.parts import in_parts
from pipeline.student.network import MULTIPLE, STRIDE, StudentNetwork
from pipeline.student.refine import Probabilities
from pipeline.student.settings import StudentSettings

PREDICTION_BATCH = 8  # images, with all their sizes
WORKERS = "student.workers"  # the key, for errors
NO_CLASSES = np.zeros(0, np.int32)
SMALLEST = 1e-6  # of the probabilities of all classes that may be, together
Shape = tuple[int, int]


def make_job(image_id: str, file: Path, shape: Shape, settings: StudentSettings) -> Job:
    """An image to predict, with the shapes of its views."""
    views = tuple(view_shape(shape, size, settings.resize, MULTIPLE) for size in settings.sizes)
    return Job(image_id, file, shape, views, ())


def predict_jobs(
    network: StudentNetwork, jobs: Sequence[Job], settings: StudentSettings, hardware: Hardware
) -> Iterator[tuple[Job, Tensor]]:
    """Each image with its probabilities (L, h, w), float32 on the CPU; images of one shape share a batch."""
    batches = batches_of(by_shape(jobs), PREDICTION_BATCH)
    for scales, batch in load_batches(batches, settings.workers, hardware, WORKERS):
        means = mean_probabilities(network, scales, settings.flip, hardware).cpu()
        yield from zip(batch, means, strict=True)


@torch.inference_mode()
def mean_probabilities(network: StudentNetwork, scales: Sequence[Tensor], flip: bool, hardware: Hardware) -> Tensor:
    """Probabilities of a batch, the mean over sizes and mirror images on the grid of the largest.

    Args:
        scales: the same N images at every size. Shape: (N, 3, H, W) each, uint8

    Returns:
        of the foreground (N, 1, h, w), or of background and classes (N, K + 1, h, w); float32
    """
    shape = max((images.shape[2] // STRIDE, images.shape[3] // STRIDE) for images in scales)
    total, count = None, 0
    for images in scales:
        for mirrored in (False, True) if flip else (False,):
            inputs = images.to(hardware.device, non_blocking=True)
            with hardware.autocast():
                logits = in_parts(network, inputs.flip(3) if mirrored else inputs)
            found = logits.sigmoid() if network.design.outputs == 1 else logits.softmax(dim=1)
            found = functional.interpolate(found.flip(3) if mirrored else found, shape, mode="bilinear")
            total, count = found if total is None else total + found, count + 1
    assert total is not None  # sizes are at least one
    return total / count


def as_probabilities(
    found: Tensor, arrays: Mapping[str, NDArray[np.float16]], labels: tuple[int, ...], settings: StudentSettings
) -> Probabilities:
    """What is refined of one image: in Track 3 all that the network says, in Track 1 the classes that may be.

    Args:
        found: (1, h, w) or (K + 1, h, w)
        arrays: what the stage `extract` stores of the image
        labels: classes of the image, where they are known and count
    """
    if len(found) == 1:
        return Probabilities(found.to(torch.float16).numpy(), NO_CLASSES)
    present = arrays.get("present")
    return restrict(found, of_classifier(arrays), labels, settings, None if present is None else present.tolist())


def restrict(
    probabilities: Tensor,
    of_classifier: NDArray[np.float32],
    labels: tuple[int, ...],
    settings: StudentSettings,
    present: Sequence[int] | None = None,
) -> Probabilities:
    """Track 1: the probabilities of the classes that may be in the image, adding up to 1 again.

    These are its labels, where they are known; else the most probable class of the classifier, all that it gives at
    least `min_probability`, and all to which the network gives at least `min_share` of the pixels. Where the stage
    extract has decided which classes the image has, these stand for what the classifier says.

    Args:
        probabilities: (K + 1, h, w)
        of_classifier: probability of each class. Shape: (K,)
        present: the classes that the stage extract has found, perhaps none; None: it has not decided
    """
    if labels:
        allowed = np.zeros(len(of_classifier), bool)
        allowed[list(labels)] = True
    else:
        best = probabilities.argmax(dim=0)
        shares = torch.bincount(best.flatten(), minlength=len(probabilities))[1:].numpy() / best.numel()
        if present is None:
            allowed = of_classifier >= settings.min_probability
            allowed[of_classifier.argmax()] = True
        else:
            allowed = np.isin(np.arange(len(of_classifier)), present)
        allowed |= shares >= settings.min_share
    is_empty = not allowed.any()
    if is_empty:  # a class with probability 0 everywhere: without any, the maps would be those of Track 3
        allowed[of_classifier.argmax()] = True
    classes = np.flatnonzero(allowed).astype(np.int32)
    kept = probabilities[[0, *(classes + 1).tolist()]]
    if is_empty:
        kept[1:] = 0
    kept[0] += kept.sum(dim=0) < SMALLEST  # background where nothing that may be is probable at all
    return Probabilities((kept / kept.sum(dim=0)).to(torch.float16).numpy(), classes)


def of_classifier(arrays: Mapping[str, NDArray[np.float16]]) -> NDArray[np.float32]:
    """The probabilities of the classifier, from the maps that are stored of an image. Shape: (K,)"""
    return arrays["probabilities"].astype(np.float32)
