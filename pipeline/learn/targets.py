"""From image-level labels to what the loss compares with, and how often each image is seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.errors import TrainError
from pipeline.learn.classifier import Loss
from pipeline.settings.train import TrainSettings

Labels = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Targets:
    """Which images are learnt from, and their targets.

    Attributes:
        kept: positions of the images that have a target
        values: class index, (M,) int64, for a single label; 0 or 1 for each class, (M, K) float32, for several
    """

    kept: NDArray[np.int64]
    values: Tensor


def make_targets(labels: Labels, classes: int, settings: TrainSettings) -> Targets:
    """Turn labels into targets; with a single-label loss an image without a label is left out.

    Raises:
        TrainError: if no image has a label
    """
    kept = np.array([n for n, row in enumerate(labels) if row], dtype=np.int64)
    if not len(kept):
        raise TrainError("expected images with a label, got none; likely an index without labels")
    if settings.loss == "multi_label":  # an image without a label is one of no class
        return Targets(np.arange(len(labels)), several_labels(labels, classes))
    chosen = choose_labels([labels[n] for n in kept], settings.label_choice, settings.seed)
    return Targets(kept, torch.from_numpy(chosen))


def several_labels(labels: Labels, classes: int) -> Tensor:
    """1 where an image has a class, 0 elsewhere. Shape: (N, K), float32"""
    values = torch.zeros(len(labels), classes)
    for n, row in enumerate(labels):
        values[n, list(row)] = 1
    return values


def choose_labels(labels: Labels, choice: Literal["rarest", "most_frequent", "random"], seed: int) -> NDArray[np.int64]:
    """Keep one class of every image: by the number of images that each class has, or by chance. Shape: (N,)

    Ties go to the lowest class index. The paper says "chosen based on the number of images that a class belongs to",
    not in which direction; `rarest` is our default, for it leaves the rare classes their few images.

    Source: Bae et al., "Revisiting Class Activation Mapping for Learning from Imperfect Data", CVPR 2020 workshop
    """
    images = Counter(k for row in labels for k in row)
    if choice == "random":
        generator = np.random.default_rng(seed)
        return np.array([row[generator.integers(len(row))] for row in labels], dtype=np.int64)
    sign = 1 if choice == "rarest" else -1
    return np.array([min(row, key=lambda k: (sign * images[k], k)) for row in labels], dtype=np.int64)


def sampling_weights(targets: Tensor) -> NDArray[np.float64]:
    """How likely each image is drawn for classes to be seen equally often; the weights add up to 1. Shape: (N,)

    The weight of an image is the mean of 1 / (images of the class) over its classes; an image without one gets the
    smallest weight of the others.
    """
    if targets.ndim == 1:  # without the table (N, K), which takes 20 GB at the size of the challenge
        weights = 1 / torch.bincount(targets)[targets].double()
        return np.asarray((weights / weights.sum()).numpy(), dtype=np.float64)
    present = targets.double()  # (N, K)
    share = 1 / present.sum(dim=0).clamp(min=1)  # (K,)
    weights = (present * share).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    weights[weights == 0] = weights[weights > 0].min() if (weights > 0).any() else 1.0
    return np.asarray((weights / weights.sum()).numpy(), dtype=np.float64)


def classification_loss(logits: Tensor, targets: Tensor, loss: Loss, label_smoothing: float = 0.0) -> Tensor:
    """Mean loss of a batch.

    `single_label`: cross entropy with a class index (N,), or with 0/1 rows (N, K) whose classes share the target equally.
    `multi_label`: binary cross entropy with 0/1 rows (N, K), the mean over classes.
    """
    if loss == "multi_label":
        return functional.binary_cross_entropy_with_logits(logits, targets)
    shared = targets if targets.ndim == 1 else targets / targets.sum(dim=1, keepdim=True)
    return functional.cross_entropy(logits, shared, label_smoothing=label_smoothing)


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Whether the most probable class is the target, or among the targets. Shape: (N,), bool"""
    best = logits.argmax(dim=1)  # (N,)
    return best == targets if targets.ndim == 1 else targets.gather(1, best[:, None])[:, 0] > 0
