"""Stage `train`: fit a classifier to image-level labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.distributed import is_first, world_size
from pipeline.core.errors import SettingsError
from pipeline.core.files import write_json, write_text
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest
from pipeline.core.scratch import Scratch
from pipeline.models.cell_offset import FEWEST_CELLS, Offset, measure_offset
from pipeline.models.classifier import Classifier, save_classifier
from pipeline.models.folds import Folds, save_folds
from pipeline.train.build import new_classifier, pools_once
from pipeline.train.checkpoints import checkpoints_of
from pipeline.train.folds import fit_folds
from pipeline.train.head import fit_head, pool_views
from pipeline.train.observers import make_loggers
from pipeline.train.rounds import fit_rounds
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData, split_data
from pipeline.train.trainer import Training

OFFSET_IMAGES = 32  # of split train, at most: they give the offset of the cells to some hundredths of a cell


@dataclass(frozen=True, slots=True)
class Facts:
    """The contents of `train.json` beside the best epoch; the last two are None if the head was not trained first."""

    device: str
    precision: str
    world_size: int  # ranks that trained
    parameters: int
    output_stride: int  # pixels; of the backbone, whatever was asked for
    train_images: int
    train_images_without_label: int
    selected_by: str  # val, held_out or none
    validation_images: int
    head_start_val_loss: float | None = None
    head_start_val_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained classifier and the record of its training."""

    classifier: Classifier
    training: Training
    facts: Facts
    folds: Folds | None = None  # with `class_folds`


def fit(manifest: Manifest, settings: TrainSettings, logs: Path = Path("logs")) -> Fit:
    """Train the classifier that the settings describe on split train, choose its epoch as `settings.checkpoint` says.

    Args:
        logs: folder for what `settings.loggers` write

    Raises:
        TrainError: if there are no images to train on or to select by, or the loss is no longer a number
    """
    (one,) = fit_together(manifest, [settings], logs)
    return one


def fit_together(
    manifest: Manifest, every: Sequence[TrainSettings], logs: Path = Path("logs"), scratch: Scratch | None = None
) -> list[Fit]:
    """Train several heads on one frozen backbone, which differ in their pooling alone, each as `fit` would.

    A single run may train its backbone, and is logged. Several ranks call this together and get the same weights.

    Args:
        scratch: where the training keeps its states, and goes on if it was stopped; None: nowhere

    Raises:
        TrainError: as `fit`
        SettingsError: if more than the pooling differs, or several runs cannot share pooled features
    """
    settings = every[0]
    _check_shareable(every)
    data = split_data(manifest, settings)
    hardware = choose_hardware(settings.device, settings.precision, learning=settings.backbone.trained)
    classifiers = [new_classifier(one, data.train, data.classes, hardware.device) for one in every]
    first, start = classifiers[0], None
    pools_alone = pools_once(settings) and first.method.rounds == 1
    if len(every) > 1 and not pools_alone:
        raise SettingsError(
            f"train.method: expected one whose loss needs pooled features alone, in one round, got "
            f"{settings.method!r}; its runs cannot share them, train them one by one"
        )
    if settings.class_folds and not pools_alone:
        raise SettingsError(
            f"train.class_folds: expected 0 with train.method {settings.method!r}, got {settings.class_folds}; folds "
            "are trained on pooled features alone"
        )
    loggers = make_loggers(settings.loggers, logs) if len(every) == 1 and is_first() else []
    folds: list[Folds | None] = [None] * len(every)
    if pools_alone:
        pooled = pool_views(first, [classifier.pool for classifier in classifiers], data, settings, hardware, scratch)
        heads = enumerate(zip(classifiers, pooled, strict=True))
        trainings = [
            fit_head(one.head, features, data, settings, hardware, loggers, checkpoints_of(scratch, f"head-{n}"))
            for n, (one, features) in heads
        ]
        if settings.class_folds:
            made = zip(classifiers, pooled, strict=True)
            folds = [fit_folds(one.head, features, data, settings, hardware) for one, features in made]
    else:
        training, start = fit_rounds(first, data, settings, hardware, loggers, scratch)
        trainings = [training]
    offset = find_offset(first, data.train_files, settings, hardware)
    for classifier in classifiers:
        classifier.design = replace(classifier.eval().design, offset=offset)
    return [
        Fit(classifier, training, describe(classifier, data, settings, hardware, start), of_folds)
        for classifier, training, of_folds in zip(classifiers, trainings, folds, strict=True)
    ]


def _check_shareable(every: Sequence[TrainSettings]) -> None:
    first = every[0]
    others = [replace(one, pooling=first.pooling, tap_threshold=first.tap_threshold) for one in every[1:]]
    if others and (first.backbone.trained or any(other != first for other in others)):
        raise SettingsError(
            "train: expected a frozen backbone and settings that differ in pooling and tap_threshold alone, got others"
        )


def find_offset(classifier: Classifier, files: Sequence[Path], settings: TrainSettings, hardware: Hardware) -> Offset:
    """The offset of the cells of the trained backbone, measured on train images of the size `resize`."""
    stride = classifier.design.output_stride
    side = (
        max(FEWEST_CELLS, round(settings.resize / stride)) * stride
    )  # whole cells: else mirror images are divided differently
    places = np.unique(np.linspace(0, len(files) - 1, OFFSET_IMAGES).round().astype(int))
    views = (resize_image(read_rgb(files[place]), (side, side)) for place in places)
    images = (torch.from_numpy(view).permute(2, 0, 1)[None].to(hardware.device) for view in views)
    with hardware.autocast():
        return measure_offset(classifier.eval().backbone_features, images)


def describe(
    classifier: Classifier,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    start: Training | None = None,
) -> Facts:
    """The summary of a training; `start` is the training of the head alone."""
    return Facts(
        device=str(hardware.device),
        precision=hardware.precision,
        world_size=world_size(),
        parameters=classifier.parameter_count(),
        output_stride=classifier.design.output_stride,
        train_images=len(data.train.kept),
        train_images_without_label=data.unlabelled,
        selected_by={"held_out_loss": "held_out", "last": "none"}.get(settings.checkpoint, "val"),
        validation_images=len(data.val.kept),
        head_start_val_loss=start.best.val_loss if start else None,
        head_start_val_accuracy=start.best.val_accuracy if start else None,
    )


def save_fit(trained: Fit, model: Path, history: Path, report: Path) -> None:
    """Write the classifier, its history as a table, and the summary of the training."""
    save_classifier(trained.classifier, model)
    if trained.folds is not None:
        save_folds(trained.folds, model)
    rows = pd.DataFrame(history_rows(trained.training))
    write_text(history, rows.to_csv(index=False, lineterminator="\n"))
    facts = {name: value for name, value in asdict(trained.facts).items() if value is not None}
    write_json(report, {"best": asdict(trained.training.best), **facts})


def describe_fit(trained: Fit) -> str:
    """How good the classifier is, as a line for people.

    Where nothing was validated, the loss alone.
    """
    best, epochs = trained.training.best, len(trained.training.history)
    scores = {"loss": best.train_loss, "val loss": best.val_loss, "val accuracy": best.val_accuracy}
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if value is not None)
    return f"epoch {best.epoch} of {epochs} is kept: {told}"


def history_rows(training: Training) -> list[dict[str, Any]]:
    """The history as rows of a table."""
    return [asdict(epoch) for epoch in training.history]
