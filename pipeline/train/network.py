"""Train the whole network: every epoch decodes the images again, in new random views.

The head can be trained first (`head_epochs`): the first gradients of a head of zeros contain only the mean image
of each class, and the features lose the object within the first epoch. Source: Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", ICLR 2022, section 3. The head is trained with batch norms as
loaded; with `batch_norm: trained` they change afterwards, and part of the effect is lost.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.models.classifier import Classifier
from pipeline.train.augment import plain_view, random_view
from pipeline.train.data import ViewDataset, batches
from pipeline.train.head import fit_head, pool_views
from pipeline.train.loop import Training, run_epochs
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData, draw_order
from pipeline.train.step import Batch
from pipeline.train.targets import Targets


def fit_network(
    classifier: Classifier, data: TrainingData, settings: TrainSettings, hardware: Hardware
) -> tuple[Training, Training | None]:
    """Train backbone and head; return the history, and that of the head alone where it was trained first."""
    start = _fit_head_first(classifier, data, settings, hardware) if settings.head_epochs else None
    view = random_view(settings.resize, settings.crop, settings.flip)

    def train_batches(epoch: int) -> Iterator[Batch]:
        dataset = ViewDataset(data.train_files, view, settings.seed, epoch)
        order = draw_order(data.train.values, settings, epoch)
        for images, drawn in batches(dataset, data.train.kept[order].tolist(), settings, hardware):
            yield images, _rows(data.train, drawn)

    def val_batches() -> Iterator[Batch]:
        dataset = ViewDataset(data.val_files, plain_view(settings.resize), settings.seed)
        for images, drawn in batches(dataset, data.val.kept.tolist(), settings, hardware):
            yield images, _rows(data.val, drawn)

    torch.manual_seed(settings.seed)
    return run_epochs(classifier, train_batches, val_batches, len(data.train.kept), settings, hardware), start


def _fit_head_first(
    classifier: Classifier, data: TrainingData, settings: TrainSettings, hardware: Hardware
) -> Training:
    (features,) = pool_views(classifier, [classifier.pool], data, settings, hardware)
    return fit_head(classifier.head, features, data, replace(settings, epochs=settings.head_epochs), hardware)


def _rows(targets: Targets, positions: Tensor) -> Tensor:
    """Targets of images by their position in the manifest; `kept` is sorted."""
    return targets.values[np.searchsorted(targets.kept, positions.numpy())]
