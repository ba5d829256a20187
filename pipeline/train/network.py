"""Train the whole network: every epoch decodes the images again, in new random views.

The head can be trained first (`head_epochs`): the first gradients of a head of zeros contain only the mean image
of each class, and the features lose the object within the first epoch. Source: Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", ICLR 2022, section 3. The head is trained with batch norms as
loaded; with `batch_norm: trained` they change afterwards, and part of the effect is lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.core.errors import TrainError
from pipeline.models.classifier import Classifier
from pipeline.train.augment import plain_view, training_view
from pipeline.train.data import ViewDataset, batches
from pipeline.train.head import fit_head, pool_views
from pipeline.train.last_batch import check_last_batch
from pipeline.train.observers import Observer, ProgressBar
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData, draw_order
from pipeline.train.step import Batch, set_mode
from pipeline.train.targets import Targets
from pipeline.train.trainer import Task, Trainer, Training, make_criterion, validate


def fit_network(
    classifier: Classifier,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
) -> tuple[Training, Training | None]:
    """Train everything that is not frozen; return the history, and that of the head alone where it was trained first.

    Raises:
        TrainError: if the head cannot be trained first, or the loss is no longer a finite number
    """
    if settings.head_epochs and not classifier.method.uses_pooled_features:
        raise TrainError(
            f"train.head_epochs: expected 0 with train.method {settings.method!r}, got {settings.head_epochs}; "
            "its loss needs more than pooled features"
        )
    start = _fit_head_first(classifier, data, settings, hardware) if settings.head_epochs else None
    view, images = training_view(settings, classifier.method), len(data.train.kept)

    def train_batches(epoch: int, start: int) -> Iterator[Batch]:
        dataset = ViewDataset(data.train_files, view, settings.seed, epoch)
        order = draw_order(data.train.values, settings, epoch)
        for inputs, drawn in batches(dataset, data.train.kept[order].tolist(), settings, hardware, start):
            yield inputs, _rows(data.train, drawn)

    def val_batches() -> Iterator[Batch]:
        dataset = ViewDataset(data.val_files, plain_view(settings.resize), settings.seed)
        for inputs, drawn in batches(dataset, data.val.kept.tolist(), settings, hardware):
            yield inputs, _rows(data.val, drawn)

    classifier.backbone.requires_grad_(settings.backbone.trained)
    set_mode(classifier, settings)
    check_last_batch(classifier, classifier, images, settings.batch_size, settings.crop, "train")
    criterion = make_criterion(settings)
    task = Task(
        module=classifier,
        loss=lambda inputs, targets: classifier.loss(inputs, targets, criterion),
        train_batches=train_batches,
        images=images,
        set_mode=lambda: set_mode(classifier, settings),
        validate=lambda: validate(classifier, val_batches(), settings, hardware),
    )
    torch.manual_seed(settings.seed)
    observers = [ProgressBar(settings.epochs, images), *loggers]
    return Trainer(task, settings, hardware, observers).run(), start


def _fit_head_first(
    classifier: Classifier, data: TrainingData, settings: TrainSettings, hardware: Hardware
) -> Training:
    (features,) = pool_views(classifier, [classifier.pool], data, settings, hardware)
    return fit_head(classifier.head, features, data, replace(settings, epochs=settings.head_epochs), hardware)


def _rows(targets: Targets, positions: Tensor) -> Tensor:
    """Targets of images by their position in the manifest; `kept` is sorted."""
    return targets.values[np.searchsorted(targets.kept, positions.numpy())]
