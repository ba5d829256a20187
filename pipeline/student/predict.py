"""The trained network on any image: probabilities over several sizes, the classes that may be, the CRF."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.core.device import Hardware
from pipeline.core.errors import MapError
from pipeline.core.images import read_rgb, resize, score_to_uint8
from pipeline.core.store import Arrays
from pipeline.extract.load import load_batches
from pipeline.extract.plan import Job, by_shape, view_shape
from pipeline.refine.crf import refine_probabilities
from pipeline.refine.outputs import Prediction, decode_labels, in_shape, refine_score
from pipeline.refine.run import as_arrays, encode
from pipeline.student.network import MULTIPLE, STRIDE, StudentNetwork
from pipeline.student.settings import StudentSettings

PREDICTION_BATCH = 8  # images, with all their sizes
NO_CLASSES = np.zeros(0, np.int32)
SMALLEST = 1e-6  # of the probabilities of all classes that may be, together
Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Probabilities:
    """What the network says of one image.

    Attributes:
        maps: Track 3: of the foreground; Track 1: of the background and of each class that may be, adding up to 1.
            Shape: (1, h, w) or (1 + P, h, w), float16
        classes: class index of each map after the background; empty in Track 3. Shape: (P,), int32
    """

    maps: NDArray[np.float16]
    classes: NDArray[np.int32]


def make_job(image_id: str, file: Path, shape: Shape, settings: StudentSettings) -> Job:
    """An image to predict, with the shapes of its views."""
    views = tuple(view_shape(shape, size, settings.resize, MULTIPLE) for size in settings.sizes)
    return Job(image_id, file, shape, views, ())


def predict_jobs(
    network: StudentNetwork, jobs: Sequence[Job], settings: StudentSettings, hardware: Hardware
) -> Iterator[tuple[Job, Tensor]]:
    """Each image with its probabilities (L, h, w), float32 on the CPU; images of one shape share a batch."""
    ordered = by_shape(jobs)
    for scales, positions in load_batches(ordered, PREDICTION_BATCH, settings.workers, hardware):
        means = mean_probabilities(network, scales, settings.flip, hardware).cpu()
        yield from zip((ordered[position] for position in positions), means, strict=True)


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
                logits = network(inputs.flip(3) if mirrored else inputs)
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
    return restrict(found, of_classifier(arrays), labels, settings)


def restrict(
    probabilities: Tensor, of_classifier: NDArray[np.float32], labels: tuple[int, ...], settings: StudentSettings
) -> Probabilities:
    """Track 1: the probabilities of the classes that may be in the image, adding up to 1 again.

    These are its labels, where they are known; else the most probable class of the classifier, all that it gives at
    least `min_probability`, and all to which the network gives at least `min_share` of the pixels.

    Args:
        probabilities: (K + 1, h, w)
        of_classifier: probability of each class. Shape: (K,)
    """
    if labels:
        allowed = np.zeros(len(of_classifier), bool)
        allowed[list(labels)] = True
    else:
        best = probabilities.argmax(dim=0)
        shares = torch.bincount(best.flatten(), minlength=len(probabilities))[1:].numpy() / best.numel()
        allowed = (of_classifier >= settings.min_probability) | (shares >= settings.min_share)
        allowed[of_classifier.argmax()] = True
    classes = np.flatnonzero(allowed).astype(np.int32)
    kept = probabilities[[0, *(classes + 1).tolist()]]
    kept[0] += kept.sum(dim=0) < SMALLEST  # background where nothing that may be is probable at all
    return Probabilities((kept / kept.sum(dim=0)).to(torch.float16).numpy(), classes)


def refine_file(file: Path, image_id: str, found: Probabilities, settings: StudentSettings) -> Arrays:
    """What is stored of one image: `before` and `after` as in `refine`, and `foreground` in Track 1; one task of a
    process."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    prediction = refine_student(read_rgb(file), image_id, found, settings)
    stored = dict(as_arrays(prediction))
    return stored if prediction.foreground is None else {**stored, "foreground": encode(prediction.foreground)}


def refine_student(
    image: NDArray[np.uint8], image_id: str, found: Probabilities, settings: StudentSettings
) -> Prediction:
    """The prediction of one image, before and after the CRF. Shape: (H, W, 3), RGB

    Raises:
        MapError: naming the image
    """
    shape = (image.shape[0], image.shape[1])
    sharpen = partial(refine_probabilities, image, settings=settings.crf) if settings.crf.enabled else None
    maps = np.stack([resize(level, shape) for level in found.maps.astype(np.float32)])
    try:
        if not len(found.classes):
            foreground = np.clip(maps[0], 0.0, 1.0)
            before = score_to_uint8(foreground)
            after = before if sharpen is None else refine_score(foreground**settings.exponent, sharpen)
            return in_shape(Prediction(before, after), settings.shape)
        maps[1:] **= settings.exponent
        return decode_labels(maps / maps.sum(axis=0, keepdims=True), found.classes, sharpen)
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None


def of_classifier(arrays: Mapping[str, NDArray[np.float16]]) -> NDArray[np.float32]:
    """The probabilities of the classifier, from the maps that are stored of an image. Shape: (K,)"""
    return arrays["probabilities"].astype(np.float32)
