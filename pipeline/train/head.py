"""Train the head alone, on features of a frozen backbone that are computed once and kept.

A frozen backbone gives the same features for the same view in every epoch. They are pooled once for a few random views
of every image; the head is then trained on them in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.core.device import Hardware
from pipeline.core.scratch import Scratch
from pipeline.models.classifier import Classifier
from pipeline.train.augment import plain_view, training_view
from pipeline.train.checkpoints import Checkpoints
from pipeline.train.data import ViewDataset, batches
from pipeline.train.observers import Observer, ProgressBar
from pipeline.train.row_tensors import RowTensors
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData, draw_order
from pipeline.train.step import Batch
from pipeline.train.trainer import Task, Trainer, Training, make_criterion, validate

VALIDATION_BATCH = 1024  # pooled features, not images


@dataclass(frozen=True, slots=True)
class PooledFeatures:
    """The features that a head is trained on, in float16, whose rounding is too small to matter.

    Attributes:
        train: of each random view of each image. Shape: (V, N, C)
        val: of the whole image. Shape: (N, C)
    """

    train: Tensor
    val: Tensor


def pool_views(
    classifier: Classifier,
    pools: Sequence[nn.Module],
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    scratch: Scratch | None = None,
) -> list[PooledFeatures]:
    """Run the backbone once over all views; pool its features with each of `pools`."""
    view = training_view(settings, classifier.method)
    files = [data.train_files[n] for n in data.train.kept]
    val_files = [data.val_files[n] for n in data.val.kept]
    train = RowTensors(settings.views * len(files), scratch, "features-train")
    for v in range(settings.views):
        dataset = ViewDataset(files, view, settings.seed, v)
        _pool_all(classifier, pools, dataset, settings, hardware, train, first=v * len(files), title=f"view {v + 1}")
    train.keep()
    val = RowTensors(len(val_files), scratch, "features-val")
    plain = ViewDataset(val_files, plain_view(settings.resize), settings.seed)
    _pool_all(classifier, pools, plain, settings, hardware, val, first=0, title="val")
    val.keep()
    empty = torch.empty(0, classifier.head.in_features, dtype=torch.float16)  # where there are no val images
    return [
        PooledFeatures(of_train.view(settings.views, len(files), -1), of_val)
        for of_train, of_val in zip(train.tensors, val.tensors or [empty] * len(pools), strict=True)
    ]


@torch.inference_mode()
def _pool_all(
    classifier: Classifier,
    pools: Sequence[nn.Module],
    dataset: ViewDataset,
    settings: TrainSettings,
    hardware: Hardware,
    pooled: RowTensors,
    first: int,
    title: str,
) -> None:
    """Add the features of every image of a dataset, pooled in each way: (N, C), float16.

    Args:
        first: the row of the first image; images whose rows are filled are left out
    """
    classifier.eval()
    start = min(max(0, pooled.filled - first), len(dataset))
    with tqdm(total=len(dataset), initial=start, desc=f"features, {title}", unit="image") as bar:
        for images, _ in batches(dataset, range(len(dataset)), settings, hardware, start):
            with hardware.autocast():
                features = classifier.features(images.to(hardware.device, non_blocking=True))
            pooled.add([pool(features).to("cpu", torch.float16) for pool in pools])
            bar.update(len(images))


def fit_head(
    head: nn.Module,
    features: PooledFeatures,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Train a head on pooled features; each epoch draws one view of each image."""

    def train_batches(epoch: int, start: int) -> Iterator[Batch]:
        order = torch.from_numpy(draw_order(data.train.values, settings, epoch))
        chance = np.random.default_rng((settings.seed, epoch, 1))
        views = torch.from_numpy(chance.integers(settings.views, size=len(order)))
        for first in range(start, len(order), settings.batch_size):
            chosen = slice(first, first + settings.batch_size)
            rows = order[chosen]
            yield features.train[views[chosen], rows].float(), data.train.values[rows]

    def val_batches() -> Iterator[Batch]:
        yield from zip(
            features.val.float().split(VALIDATION_BATCH), data.val.values.split(VALIDATION_BATCH), strict=True
        )

    criterion, images = make_criterion(settings), len(data.train.kept)
    in_float32 = Hardware(hardware.device, "fp32")  # the precision is the backbone's; logits are float32 everywhere
    task = Task(
        module=head,
        loss=lambda inputs, targets: criterion(head(inputs), targets),
        train_batches=train_batches,
        images=images,
        set_mode=head.train,
        validate=lambda: validate(head, val_batches(), settings, in_float32),
    )
    return Trainer(task, settings, in_float32, [ProgressBar(settings.epochs, images), *loggers], checkpoints).run()
