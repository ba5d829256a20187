"""What the student learns from: refined predictions of split train, by their known labels; no mask of truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import TrainError
from pipeline.core.images import decode_png
from pipeline.core.manifest import Manifest
from pipeline.core.store import Store
from pipeline.core.truth import IGNORE_INDEX
from pipeline.student.network import STRIDE
from pipeline.student.target_rules import has_target, stored_target
from pipeline.student.target_settings import TargetSettings

IGNORED = -1.0  # in the target of Track 3: a cell that does not count

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class TrainImages:
    """The images that train, and where their targets lie.

    Attributes:
        ids: of images whose labels are known and have a prediction, in the order of the manifest
        labels: class indices of each
        left_out: how many train images do not train, by reason
    """

    ids: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[tuple[int, ...], ...]
    left_out: Mapping[str, int]


def choose_train_images(manifest: Manifest, refined: Store, one_label: bool) -> TrainImages:
    """The images of split train whose target can be right.

    Args:
        one_label: Track 3: the score map is of one class, so that objects of a second one would be background

    Raises:
        TrainError: if there is none
    """
    records = list(manifest.select("train"))
    labeled = [record for record in records if record.labels]
    usable = [record for record in labeled if has_target(record.labels, one_label)]
    kept = [record for record in usable if record.id in refined]
    left_out = {
        "without a label": len(records) - len(labeled),
        "of several classes": len(labeled) - len(usable),
        "without a prediction": len(usable) - len(kept),
    }
    if not kept:
        raise TrainError(
            f"student: expected refined predictions of labelled train images to learn from, found none among "
            f"{len(records)} ({left_out}); likely `extract` and `refine` ran before student.enabled was set"
        )
    return TrainImages(
        tuple(record.id for record in kept),
        tuple(record.file for record in kept),
        tuple(record.labels for record in kept),
        {reason: count for reason, count in left_out.items() if count},
    )


def read_score(refined: Store, image_id: str) -> Pixels:
    """Track 3: 255 times the probability of the foreground. Shape: (H, W)"""
    return decode_png(refined.read(image_id)["after"], image_id)


def read_label_target(refined: Store, image_id: str, labels: tuple[int, ...], settings: TargetSettings) -> Pixels:
    """Track 1: the class of each pixel, 255 where it does not count; see `stored_target`. Shape: (H, W)

    Raises:
        TrainError: if the prediction has neither `target` nor `foreground`, as those made by known labels have
    """
    stored = refined.read(image_id)
    if "foreground" not in stored and "target" not in stored:
        raise TrainError(
            f"{refined.folder}: {image_id}: expected the array 'foreground', found {sorted(stored)}; likely made "
            "without known labels: run the stage `refine` again with student.enabled true"
        )
    return stored_target(stored, image_id, labels, settings)


def score_cells(scores: Tensor, settings: TargetSettings) -> Tensor:
    """Track 3: the target of each cell of 4 x 4 pixels: the mean over its pixels that count.

    With p = score / 255, pixels with low < p < high do not count; the others have p itself (soft), or 0 up to low and 1
    from high on. A cell of which no pixel counts is `IGNORED`.

    Args:
        scores: (N, H, W), uint8

    Returns:
        (N, H / 4, W / 4), float32

    >>> scores = torch.tensor([[[0, 0, 0, 0], [0, 0, 0, 0], [255] * 4, [102] * 4]], dtype=torch.uint8)
    >>> score_cells(scores, TargetSettings(soft=True, low=0.5, high=0.5))
    tensor([[[0.3500]]])
    >>> score_cells(scores, TargetSettings(soft=False, low=0.2, high=0.8))
    tensor([[[0.3333]]])
    """
    p = scores.float() / 255
    counts = ((p <= settings.low) | (p >= settings.high)).float()
    value = p if settings.soft else (p >= settings.high).float()
    total = functional.avg_pool2d((value * counts)[:, None], STRIDE)[:, 0]
    weight = functional.avg_pool2d(counts[:, None], STRIDE)[:, 0]
    return torch.where(weight > 0, total / weight.clamp(min=1 / STRIDE**2), IGNORED)


def label_cells(labels: Tensor, side: int = STRIDE) -> Tensor:
    """Track 1: the class id of each cell of 4 x 4 pixels, 255 where its pixels differ.

    Args:
        labels: (N, H, W), uint8
        side: of a cell, in pixels

    Returns:
        (N, H / side, W / side), uint8

    >>> labels = torch.tensor([[[2, 2, 2, 2, 0, 0, 0, 1]] * 4], dtype=torch.uint8)
    >>> label_cells(labels)
    tensor([[[  2, 255]]], dtype=torch.uint8)
    """
    values = labels.float()[:, None]
    largest = functional.max_pool2d(values, side)[:, 0]
    smallest = -functional.max_pool2d(-values, side)[:, 0]
    return torch.where(largest == smallest, largest, IGNORE_INDEX).to(torch.uint8)
