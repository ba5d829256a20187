"""Image-level labels to targets, the loss, and sampling weights."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import TrainError
from pipeline.models.classifier import Loss
from pipeline.train.settings import TrainSettings

Labels = Sequence[tuple[int, ...]]
ROWS_AT_ONCE = 4096
HELD_OUT = 10  # with `train.checkpoint: held_out_loss`, one train image in so many


@dataclass(frozen=True, slots=True)
class Targets:
    """The images that are trained on, and their targets.

    Attributes:
        kept: positions of the images that have a target
        values: class index, (M,) int64, for a single label; 0 or 1 for each class, (M, K) uint8, for several
    """

    kept: NDArray[np.int64]
    values: Tensor


def rows_of(targets: Targets, positions: Tensor) -> Tensor:
    """Targets of images by their positions in the manifest; `kept` is sorted. Shape: (M,) or (M, K)"""
    return targets.values[np.searchsorted(targets.kept, positions.numpy())]


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


def choose_held_out(ids: Sequence[str], labels: Labels, seed: int) -> NDArray[np.bool_]:
    """Which train images take no part in training and choose its epoch instead of split val: about one in `HELD_OUT`.
    Shape: (N,)

    A function of seed and image id, so a new image does not change the choice for the others. An image without a
    label stays in, and so do all images of a class that would lose all of its images.
    """
    digests = [hashlib.sha256(f"{seed} {image_id}".encode()).digest() for image_id in ids]
    drawn = np.array([int.from_bytes(digest[:4], "big") % HELD_OUT == 0 for digest in digests], np.bool_)
    trained = {k for row, is_drawn in zip(labels, drawn, strict=True) if not is_drawn for k in row}
    return drawn & np.array([bool(row) and trained.issuperset(row) for row in labels], np.bool_)


def several_labels(labels: Labels, classes: int) -> Tensor:
    """1 where an image has a class, 0 elsewhere. Shape: (N, K), uint8"""
    values = np.zeros((len(labels), classes), np.uint8)
    images = np.repeat(np.arange(len(labels)), [len(row) for row in labels])
    values[images, np.fromiter(chain.from_iterable(labels), np.int64)] = 1
    return torch.from_numpy(values)


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
    share = 1 / count_images(targets).double().clamp(min=1)  # (K,)
    weights = torch.empty(len(targets), dtype=torch.float64)
    for part, rows in zip(targets.split(ROWS_AT_ONCE), weights.split(ROWS_AT_ONCE), strict=True):
        rows.copy_(_mean_share(part.double(), share))
    weights[weights == 0] = weights[weights > 0].min() if (weights > 0).any() else 1.0
    return np.asarray((weights / weights.sum()).numpy(), dtype=np.float64)


def count_images(targets: Tensor) -> Tensor:
    """How many images have each class. Shape: (N, K) to (K,)

    In pieces: converted at once, the table takes 0.6 to 1.1 GB at the size of the challenge.
    """
    total = torch.zeros(targets.shape[1], dtype=torch.int64)
    for part in targets.split(ROWS_AT_ONCE):
        total += part.sum(dim=0, dtype=torch.int64)
    return total


def _mean_share(present: Tensor, share: Tensor) -> Tensor:
    """The mean of `share` over the classes of each image, 0 without one. Shapes: (N, K), (K,) to (N,)"""
    return (present * share).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def classification_loss(logits: Tensor, targets: Tensor, loss: Loss, label_smoothing: float = 0.0) -> Tensor:
    """Mean loss of a batch.

    `single_label`: cross entropy with a class index (N,), or with 0/1 rows (N, K) whose classes share the target
    equally.
    `multi_label`: binary cross entropy with 0/1 rows (N, K), summed over classes. Its gradient at a logit is sigmoid -
    target, as it is softmax - target in cross entropy: both losses change the features on one scale, and a learning
    rate that fits one fits the other. The mean over classes would divide it by K, 200 in the challenge.
    """
    if loss == "multi_label":
        rows = targets.to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, rows, reduction="sum") / len(logits)
    shared = targets if targets.ndim == 1 else targets / targets.sum(dim=1, keepdim=True)
    return functional.cross_entropy(logits, shared, label_smoothing=label_smoothing)


def log_odds(targets: Tensor) -> Tensor:
    """Where the bias of each class starts with `multi_label`: log(f / (1 - f)), f its share of the images. Shape: (N,
    K) to (K,)

    From zeros, all K sigmoids would be one half, and K gradients of one half would change the features of all images
    in the same direction before the classes differ: with 200 classes the training of a whole network collapses. From
    the log odds, the first gradients are those of cross entropy, whose softmax starts at 1 / K. Half an image is added
    to both sides, so that a class of no image, or of all, has finite odds.
    """
    share = (count_images(targets) + 0.5) / (len(targets) + 1)
    return torch.log(share / (1 - share))


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Whether the most probable class is the target, or among the targets. Shape: (N,), bool"""
    best = logits.argmax(dim=1)  # (N,)
    return best == targets if targets.ndim == 1 else targets.gather(1, best[:, None])[:, 0] > 0
