"""Which images train, which choose the epoch, and their targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import TrainError
from pipeline.core.manifest import Files, Manifest
from pipeline.train.data import Erased
from pipeline.train.settings import TrainSettings
from pipeline.train.targets import (
    Targets,
    choose_held_out,
    class_weights,
    make_targets,
    sampling_weights,
    several_labels,
)

Order = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Image files with their targets: those that train, and those that choose the epoch.

    Attributes:
        unlabelled: train images without a label
        ids: of the train images that have a target, where folds of them are wanted
        erased: regions of the train images that training does not see, by position in the manifest
    """

    train_files: Files
    train: Targets
    val_files: Files
    val: Targets
    classes: int
    unlabelled: int
    ids: Sequence[str] = ()
    erased: Erased | None = None


def split_data(manifest: Manifest, settings: TrainSettings) -> TrainingData:
    """The images of the manifest as the settings use them.

    Raises:
        TrainError: if there are no images to train on or to select by, or an unsure class is unknown
    """
    classes = len(manifest.classes)
    if classes == 1 and settings.loss == "single_label":
        raise TrainError(
            "train.loss: expected 'multi_label' with one class, got 'single_label', whose loss is 0 for all images; "
            "with 'multi_label', train images without the object (no label) are needed, too"
        )
    train, val = _train_and_validation(manifest, settings)
    labels = train.labels()
    targets = make_targets(labels, classes, settings)
    if settings.loss == "multi_label":
        targets = replace(targets, weights=class_weights(targets.values, manifest.classes, settings))
    return TrainingData(
        train_files=train.files(),
        train=targets,
        val_files=val.files(),
        val=_validation_targets(val, classes, settings),
        classes=classes,
        unlabelled=sum(not row for row in labels),
        ids=train.ids() if settings.class_folds else (),
    )


def _train_and_validation(manifest: Manifest, settings: TrainSettings) -> tuple[Manifest, Manifest]:
    """The images that train, and those that choose the epoch: split val, or a part of split train.

    Raises:
        TrainError: if nothing can be held out
    """
    train = manifest.select("train")
    if settings.checkpoint != "held_out_loss":
        return train, manifest.select("val")
    held_out = choose_held_out(train.ids(), train.labels(), settings.seed)
    if not held_out.any():
        raise TrainError(
            f"train.checkpoint is 'held_out_loss': expected train images to hold out, found none among {len(train)} "
            "that leave every class an image; likely too few images, use 'last'"
        )
    return train.keep(pa.array(~held_out)), train.keep(pa.array(held_out))


def _validation_targets(val: Manifest, classes: int, settings: TrainSettings) -> Targets:
    """All labels of every labelled image: the most probable class is right if it is any of them."""
    labels = val.labels()
    kept = np.array([n for n, row in enumerate(labels) if row], dtype=np.int64)
    if not len(kept) and settings.checkpoint != "last":
        raise TrainError(
            f"train.checkpoint is {settings.checkpoint!r}: expected labelled images in split val, found none; "
            "use 'last'"
        )
    return Targets(kept, several_labels([labels[n] for n in kept], classes))


def make_order(targets: Tensor, settings: TrainSettings) -> Order:
    """Which images an epoch sees, in which order, as a function of the epoch, with the seed. Shape: (N,)

    `uniform` sees each once. `class_balanced` draws N times with replacement; the weights are computed once.
    """
    images = len(targets)
    weights = sampling_weights(targets) if settings.sampling == "class_balanced" else None

    def order(epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng((settings.seed, epoch))
        return generator.permutation(images) if weights is None else generator.choice(images, size=images, p=weights)

    return order
