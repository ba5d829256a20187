"""Train the whole network: every epoch decodes the images again, in new random views.

The head can be trained first (`head_epochs`): the first gradients of a head of zeros contain only the mean image
of each class, and the features lose the object within the first epoch. Source: Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", ICLR 2022, section 3. The head is trained with batch norms as
loaded; with `batch_norm: trained` they change afterwards, and part of the effect is lost. It is trained by the loss of
the baseline, whatever the method.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import convert_sync_batchnorm

from pipeline.core.device import Hardware
from pipeline.core.distributed import gather_rows, world_size
from pipeline.core.errors import SettingsError
from pipeline.core.scratch import Scratch
from pipeline.models.classifier import Classifier
from pipeline.train.augment import plain_view, training_view
from pipeline.train.checkpoints import checkpoints_of
from pipeline.train.data import Pass, ViewDataset, ViewReader
from pipeline.train.head import fit_head, pool_views
from pipeline.train.last_batch import check_last_batch
from pipeline.train.observers import Observer, ProgressBar
from pipeline.train.settings import TrainSettings
from pipeline.train.sharding import Sharding, shard
from pipeline.train.split import Order, TrainingData, make_order
from pipeline.train.step import Batch, compile_loss, compiles, set_mode
from pipeline.train.targets import Targets, rows_of
from pipeline.train.trainer import Task, Trainer, Training, make_criterion, validate


def fit_network(
    classifier: Classifier,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
    scratch: Scratch | None = None,
) -> tuple[Training, Training | None]:
    """Train everything that is not frozen; return the history, and that of the head alone where it was trained first.

    Raises:
        TrainError: if the loss is no longer a finite number
    """
    start = _fit_head_first(classifier, data, settings, hardware, scratch) if settings.head_epochs else None
    count, method = len(data.train.kept), classifier.method
    synchronizes = settings.sync_batch_norm and world_size() > 1
    sharding = shard(count, settings, whole_batches=method.changes_batches or synchronizes, meets=synchronizes)
    reader = _make_reader(classifier, data, settings, hardware, sharding)

    def train_batches(epoch: int, start: int) -> Iterator[Batch]:
        batches = sharding.batches(start)
        for batch, (inputs, drawn) in zip(batches, reader.read(_number(epoch), start), strict=True):
            targets = rows_of(data.train, drawn)
            if method.changes_batches:
                random = np.random.default_rng((settings.seed, epoch, batch.start, 2))  # not those of views and order
                parts = sharding.parts(batch)
                images = gather_rows(inputs.permute(0, 2, 3, 1), parts).permute(0, 3, 1, 2)  # their layout in memory
                mixed = method.change_batch(images, gather_rows(targets, parts), data.classes, random)
                own = slice(sum(parts[: sharding.rank]), sum(parts[: sharding.rank + 1]))
                inputs, targets = mixed[0][own], mixed[1][own]
            yield inputs, targets

    def val_batches(epoch: int) -> Iterator[Batch]:
        for inputs, drawn in reader.read(_number(epoch) + 1):
            yield inputs, rows_of(data.val, drawn)

    classifier.backbone.requires_grad_(settings.backbone.trained)
    set_mode(classifier, settings)
    check_last_batch(classifier, classifier, sharding, settings.batch_size, settings.crop, "train")
    if synchronizes:
        synchronize(classifier, hardware)
    loss = partial(classifier.loss, criterion=make_criterion(settings, data.train.weights))
    is_compiled = compiles(settings, hardware, count) and classifier.method.compiles
    if settings.compile is True and not is_compiled:
        print(f"note: train.compile: true is not read with train.method {settings.method!r}, whose loss uses hooks")
    task = Task(
        module=classifier,
        loss=compile_loss(loss, len(sharding.own(range(sharding.batch)))) if is_compiled else loss,
        train_batches=train_batches,
        images=count,
        set_mode=lambda: set_mode(classifier, settings),
        validate=lambda epoch: validate(classifier, val_batches(epoch), settings, hardware, together=True),
        sharding=sharding,
    )
    torch.manual_seed(settings.seed)
    observers = [ProgressBar(settings.epochs, count, reads=True), *loggers]
    return Trainer(task, settings, hardware, observers, checkpoints_of(scratch, "network")).run(), start


def synchronize(classifier: Classifier, hardware: Hardware) -> None:
    """Let batch norms that are trained take their statistics over the images of all ranks.

    Raises:
        SettingsError: on a CPU, for which PyTorch has none
    """
    if hardware.device.type != "cuda":
        raise SettingsError(
            f"train.sync_batch_norm: expected false with several ranks on {hardware.device}, got true; PyTorch "
            "synchronizes batch norms on GPUs alone"
        )
    convert_sync_batchnorm(classifier)  # type: ignore[no-untyped-call]  # timm's: its batch norms hold their activation


def _make_reader(
    classifier: Classifier, data: TrainingData, settings: TrainSettings, hardware: Hardware, sharding: Sharding
) -> ViewReader:
    """Reads the epochs, and after each the validation images: two passes an epoch."""
    order = make_order(data.train.values, settings)
    train = ViewDataset(data.train_files, training_view(settings, classifier.method), settings.seed, data.erased)
    val = ViewDataset(data.val_files, plain_view(settings.resize), settings.seed)
    validation = Pass(1, 0, len(data.val.kept), lambda: data.val.kept)
    passes = [
        one
        for epoch in range(1, settings.epochs + 1)
        for one in (Pass(0, epoch, sharding.images, partial(_drawn, data.train, order, epoch), sharding), validation)
    ]
    return ViewReader([train, val], passes, settings, hardware)


def _drawn(targets: Targets, order: Order, epoch: int) -> NDArray[np.int64]:
    """The images of an epoch, by their positions in the manifest. Shape: (N,)"""
    return targets.kept[order(epoch)]


def _number(epoch: int) -> int:
    """Which pass of the reader an epoch is; its validation is the next."""
    return 2 * (epoch - 1)


def _fit_head_first(
    classifier: Classifier, data: TrainingData, settings: TrainSettings, hardware: Hardware, scratch: Scratch | None
) -> Training:
    (features,) = pool_views(classifier, [classifier.pool], data, settings, hardware, scratch)
    brief, checkpoints = replace(settings, epochs=settings.head_epochs), checkpoints_of(scratch, "head")
    training = fit_head(classifier.head, features, data, brief, hardware, checkpoints=checkpoints)
    classifier.method.head_trained(classifier)
    return training
