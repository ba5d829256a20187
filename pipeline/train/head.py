"""Train the head alone, on features of a frozen backbone that are computed once and kept.

A frozen backbone gives the same features for the same view in every epoch. They are pooled once for a few random views
of every image; the head is then trained on them in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.distributed import from_first, gather_dealt, is_first
from pipeline.core.progress import progress
from pipeline.core.scratch import Scratch
from pipeline.models.classifier import Classifier
from pipeline.models.fused import fused_backbone
from pipeline.train.augment import plain_view, training_view
from pipeline.train.checkpoints import Checkpoints
from pipeline.train.data import Pass, ViewDataset, ViewReader
from pipeline.train.observers import Observer, ProgressBar
from pipeline.train.row_tensors import RowTensors
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData, make_order
from pipeline.train.step import Batch
from pipeline.train.trainer import Task, Trainer, Training, make_criterion, run_by_first, validate

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
    """Run the backbone once over all views; pool its features with each of `pools`.

    Several ranks share the batches; rank 0 alone gets the features, the same bytes that it would have made by itself.
    """
    files, val_files = data.train_files.take(data.train.kept), data.val_files.take(data.val.kept)
    erased = data.erased.take(data.train.kept) if data.erased is not None else None
    train = ViewDataset(files, training_view(settings, classifier.method), settings.seed, erased)
    val = ViewDataset(val_files, plain_view(settings.resize), settings.seed)
    passes = [Pass(0, view, len(train), partial(np.arange, len(train))) for view in range(settings.views)]
    passes.append(Pass(1, 0, len(val), partial(np.arange, len(val))))
    reader = ViewReader([train, val], passes, settings, hardware)
    kept = scratch if is_first() else None
    of_train = RowTensors(settings.views * len(train), kept, "features-train")
    of_val = RowTensors(len(val), kept, "features-val")
    done, val_done = from_first((of_train.filled, of_val.filled))
    pool_pass = partial(_pool_pass, classifier, pools, reader, hardware)
    with fused_backbone(classifier.eval()):
        for view in range(settings.views):
            start = min(max(0, done - view * len(train)), len(train))
            pool_pass(view, start, of_train, f"view {view + 1}")
        of_train.keep()
        pool_pass(settings.views, val_done, of_val, "val")
        of_val.keep()
    if not is_first():
        return [PooledFeatures(torch.empty(0), torch.empty(0)) for _ in pools]
    empty = torch.empty(0, classifier.head.in_features, dtype=torch.float16)  # where there are no val images
    return [
        PooledFeatures(rows.view(settings.views, len(train), -1), val_rows)
        for rows, val_rows in zip(of_train.tensors, of_val.tensors or [empty] * len(pools), strict=True)
    ]


@torch.inference_mode()
def _pool_pass(
    classifier: Classifier,
    pools: Sequence[nn.Module],
    reader: ViewReader,
    hardware: Hardware,
    number: int,
    start: int,
    pooled: RowTensors,
    title: str,
) -> None:
    """Add the features of the images of a pass from `start` on, pooled in each way: (N, C) each, float16."""

    def pool_batches() -> Iterator[Sequence[Tensor]]:
        for images, _ in reader.read(number, start):
            with hardware.autocast():
                features = classifier.backbone_features(images.to(hardware.device, non_blocking=True))
            yield [pool(features).to("cpu", torch.float16) for pool in pools]

    with progress(total=pooled.total, done=pooled.filled, title=f"features, {title}") as bar:
        for rows in gather_dealt(pool_batches(), reader.batches(number, start)):
            pooled.add(rows)
            bar.update(len(rows[0]))


def fit_head(
    head: nn.Module,
    features: PooledFeatures,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Train a head on pooled features; each epoch draws one view of each image.

    It takes seconds, so one of several ranks does it for all.
    """
    make_epoch = make_order(data.train.values, settings)

    def train_batches(epoch: int, start: int) -> Iterator[Batch]:
        order = torch.from_numpy(make_epoch(epoch))
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

    criterion, images = make_criterion(settings, data.train.weights), len(data.train.kept)
    in_float32 = Hardware(hardware.device, "fp32")  # the precision is the backbone's; logits are float32 everywhere
    task = Task(
        module=head,
        loss=lambda inputs, targets: criterion(head(inputs), targets),
        train_batches=train_batches,
        images=images,
        set_mode=head.train,
        validate=lambda epoch: validate(head, val_batches(), settings, in_float32),
    )
    observers = [ProgressBar(settings.epochs, images), *loggers]
    return run_by_first(Trainer(task, settings, in_float32, observers, checkpoints))
