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
from pipeline.train.settings import AsymmetricSettings, TrainSettings

Labels = Sequence[tuple[int, ...]]
ROWS_AT_ONCE = 4096
MOST_WEIGHT = 10.0  # of `train.class_weights: balanced`: the loss of a rare class must not hide all others
SMALLEST = 1e-8  # base of a power: with a base of 0, its gradient can be infinite
HELD_OUT = 10  # with `train.checkpoint: held_out_loss`, one train image in so many


@dataclass(frozen=True, slots=True, eq=False)
class ClassWeights:
    """Weights of the two terms of binary cross entropy, for each class. Shape: (K,) each, float32

    Attributes:
        present: of -log p, where the class is among the labels
        absent: of -log (1 - p), where it is not
    """

    present: Tensor
    absent: Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """The images that are trained on, and their targets.

    Attributes:
        kept: positions of the images that have a target
        values: class index, (M,) int64, for a single label; 0 or 1 for each class, (M, K) uint8, for several
        weights: of the classes in the loss of training; None: all 1
    """

    kept: NDArray[np.int64]
    values: Tensor
    weights: ClassWeights | None = None


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


def unknown_classes(settings: TrainSettings, names: Sequence[str]) -> str:
    """What is wrong if the data set has no such unsure class; empty if it has all of them."""
    unknown = sorted(settings.unsure_classes.keys() - set(names))
    return f"train.unsure_classes: expected names of classes, such as {names[0]!r}, got {unknown}" if unknown else ""


def class_weights(targets: Tensor, names: Sequence[str], settings: TrainSettings) -> ClassWeights | None:
    """The weights of `train.class_weights` and `train.unsure_classes`; None where all of them are 1.

    `balanced`: with n images of a class and m others, each counted by its weight, a present class weighs m / n, at most
    `MOST_WEIGHT`: both terms then have the same sum over the weights. Probabilities rise with it, to those of a data
    set in which the class is as frequent as that.

    A missing label of an unsure class is weighted as the settings say. At 0 nothing speaks against that class any
    more, and every image will be said to have it; a small weight leaves the bulk of the images that lack it in place.

    Args:
        targets: 0 or 1. Shape: (N, K)
        names: of the K classes

    Raises:
        TrainError: naming an unsure class that the data set does not have

    Source of a small weight of missing labels: Cole et al., "Multi-Label Learning from Single Positive Labels", CVPR
    2021, section 4.2
    """
    if settings.class_weights == "none" and not settings.unsure_classes:
        return None
    if unknown := unknown_classes(settings, names):
        raise TrainError(unknown)
    absent = torch.tensor([settings.unsure_classes.get(name, 1.0) for name in names], dtype=torch.float64)
    present = torch.ones_like(absent)
    if settings.class_weights == "balanced":
        images = count_images(targets)
        present = (absent * (len(targets) - images) / images.clamp(min=1)).clamp(max=MOST_WEIGHT)
        present[present == 0] = 1.0  # nothing to balance with
    return ClassWeights(present.float(), absent.float())


def sampling_weights(targets: Tensor) -> NDArray[np.float64]:
    """How likely each image is drawn for classes to be seen equally often; the weights add up to 1. Shape: (N,)

    As if a class were drawn first, each as likely, and then one of its images: the weight of an image is the sum of
    1 / (images of the class) over its classes. An image without a class gets the smallest weight of the others.
    Classes that share images with others are still seen more often than once in K.
    """
    if targets.ndim == 1:  # without the table (N, K), which takes 20 GB at the size of the challenge
        weights = 1 / torch.bincount(targets)[targets].double()
        return np.asarray((weights / weights.sum()).numpy(), dtype=np.float64)
    share = 1 / count_images(targets).double().clamp(min=1)  # (K,)
    weights = torch.empty(len(targets), dtype=torch.float64)
    for part, rows in zip(targets.split(ROWS_AT_ONCE), weights.split(ROWS_AT_ONCE), strict=True):
        rows.copy_(part.double() @ share)
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


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    loss: Loss,
    label_smoothing: float = 0.0,
    weights: ClassWeights | None = None,
    asymmetric: AsymmetricSettings | None = None,
) -> Tensor:
    """Mean loss of a batch.

    `single_label`: cross entropy with a class index (N,), or with 0/1 rows (N, K) whose classes share the target
    equally.
    `multi_label`: binary cross entropy with 0/1 rows (N, K), summed over classes. Its gradient at a logit is sigmoid -
    target, as it is softmax - target in cross entropy: both losses change the features on one scale, and a learning
    rate that fits one fits the other. The mean over classes would divide it by K, 200 in the challenge.

    Args:
        weights, asymmetric: what changes binary cross entropy; see `binary_terms`
    """
    if loss == "multi_label":
        rows = targets.to(logits.dtype)
        if weights is None and not (asymmetric and asymmetric.enabled):
            return functional.binary_cross_entropy_with_logits(logits, rows, reduction="sum") / len(logits)
        present, absent = binary_terms(logits, asymmetric)
        if weights is not None:
            present, absent = present * weights.present.to(present), absent * weights.absent.to(absent)
        return (rows * present + (1 - rows) * absent).sum() / len(logits)
    shared = targets if targets.ndim == 1 else targets / targets.sum(dim=1, keepdim=True)
    return functional.cross_entropy(logits, shared, label_smoothing=label_smoothing)


def binary_terms(logits: Tensor, asymmetric: AsymmetricSettings | None) -> tuple[Tensor, Tensor]:
    """The loss of each class if it is present, and if it is absent. Shapes: (N, K) to (N, K) each

    With p = sigmoid(logit) these are -log p and -log (1 - p). The asymmetric loss has, with q = max(p - margin, 0),

        (1 - p)^γ+ · (-log p)    and    q^γ- · (-log (1 - q))

    so that the many absent classes that are no longer doubted lose nothing, and the few present ones are not drowned.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021, equations 4 to 7
    """
    present, absent = -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
    if asymmetric is None or not asymmetric.enabled:
        return present, absent
    p, shifted = logits.sigmoid(), (logits.sigmoid() - asymmetric.margin).clamp(min=0)
    if asymmetric.margin:
        absent = -torch.log1p(-shifted)
    if asymmetric.gamma_positive:
        present = present * (1 - p).clamp(min=SMALLEST) ** asymmetric.gamma_positive
    if asymmetric.gamma_negative:
        absent = absent * shifted.clamp(min=SMALLEST) ** asymmetric.gamma_negative
    return present, absent


def log_odds(targets: Tensor, weights: ClassWeights | None = None) -> Tensor:
    """Where the bias of each class starts with `multi_label`: log(f / (1 - f)), f its share of the images. Shape: (N,
    K) to (K,)

    From zeros, all K sigmoids would be one half, and K gradients of one half would change the features of all images
    in the same direction before the classes differ: with 200 classes the training of a whole network collapses. From
    the log odds, the first gradients are those of cross entropy, whose softmax starts at 1 / K. Half an image is added
    to both sides, so that a class of no image, or of all, has finite odds. With weights, images count by theirs: the
    weighted loss of the bias alone has its minimum there.
    """
    images = count_images(targets)
    if weights is None:
        share = (images + 0.5) / (len(targets) + 1)
        return torch.log(share / (1 - share))
    others = len(targets) - images
    return torch.log((weights.present * images + 0.5) / (weights.absent * others + 0.5))


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Whether the most probable class is the target, or among the targets. Shape: (N,), bool"""
    best = logits.argmax(dim=1)  # (N,)
    return best == targets if targets.ndim == 1 else targets.gather(1, best[:, None])[:, 0] > 0
