"""The training loop, for a whole network or a head alone: batches in, the best weights and a history out."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from pipeline.core.device import Hardware
from pipeline.models.classifier import Loss
from pipeline.train.optimizer import make_optimizer, rate_factor
from pipeline.train.settings import TrainSettings
from pipeline.train.step import Batch, check_finite, make_scaler, set_mode, training_step
from pipeline.train.targets import classification_loss, hits


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of history.csv; validation values are None without validation images."""

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None  # share of images whose most probable class is among their labels
    learning_rate: float  # of the head, at the end of the epoch
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Training:
    """The history of a training, and the epoch whose weights were kept."""

    history: tuple[Epoch, ...]
    best: Epoch


def run_epochs(
    module: nn.Module,
    train_batches: Callable[[int], Iterable[Batch]],
    val_batches: Callable[[], Iterable[Batch]],
    images: int,
    settings: TrainSettings,
    hardware: Hardware,
) -> Training:
    """Train `module` and leave it with the weights of the epoch that `settings.checkpoint` prefers.

    Raises:
        TrainError: if the loss is no longer a finite number
    """
    optimizer = make_optimizer(module, settings)
    per_epoch = math.ceil(math.ceil(images / settings.batch_size) / settings.accumulation_steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(settings.schedule, step / (per_epoch * settings.epochs))
    )
    scaler = make_scaler(hardware)
    history: list[Epoch] = []
    best, best_state = None, None
    with tqdm(total=settings.epochs * images, desc="train", unit="image") as bar:
        for epoch in range(1, settings.epochs + 1):
            start = time.perf_counter()
            loss = _one_epoch(module, train_batches(epoch), optimizer, schedule, scaler, settings, hardware, bar)
            seconds = time.perf_counter() - start
            val_loss, val_accuracy = validate(module, val_batches(), settings.loss, hardware)
            check_finite("val_loss", val_loss or 0.0)
            rate = optimizer.param_groups[-1]["lr"]
            history.append(
                Epoch(epoch, loss, val_loss, val_accuracy, rate, round(seconds, 3), round(images / seconds, 1))
            )
            if best is None or is_better(history[-1], best, settings.checkpoint):
                best, best_state = history[-1], copy.deepcopy(module.state_dict())
    assert best is not None
    assert best_state is not None  # epochs is at least 1
    module.load_state_dict(best_state)
    return Training(tuple(history), best)


def _one_epoch(
    module: nn.Module,
    epoch_batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    scaler: torch.amp.GradScaler,
    settings: TrainSettings,
    hardware: Hardware,
    bar: "tqdm[Any]",
) -> float:
    """One pass; returns the mean loss over its images."""
    set_mode(module, settings)
    total, seen = 0.0, 0
    for group in _groups(epoch_batches, settings.accumulation_steps):
        total += training_step(module, group, optimizer, scaler, settings, hardware)
        schedule.step()
        images = sum(len(inputs) for inputs, _ in group)
        seen += images
        bar.update(images)
        bar.set_postfix(loss=f"{total / seen:.4f}", refresh=False)
    return total / seen


def _groups(epoch_batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in epoch_batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


@torch.inference_mode()
def validate(
    module: nn.Module, val_batches: Iterable[Batch], loss: Loss, hardware: Hardware
) -> tuple[float | None, float | None]:
    """Mean loss per image over its labels, and the share of images whose most probable class is one of them.

    The loss is that of training; with a single-label loss the labels of an image share its target equally.
    """
    module.eval()
    losses, right, seen = 0.0, 0, 0
    for inputs, targets in val_batches:
        with hardware.autocast():
            logits = module(inputs.to(hardware.device, non_blocking=True)).float().cpu()
        losses += float(classification_loss(logits, targets, loss)) * len(targets)
        right += int(hits(logits, targets).sum())
        seen += len(targets)
    return (losses / seen, right / seen) if seen else (None, None)


def is_better(new: Epoch, best: Epoch, checkpoint: str) -> bool:
    """Whether a later epoch replaces the best so far: higher accuracy and, if equal, lower loss; or lower loss; or
    always.

    `held_out_loss` is lower loss, on other images.
    """
    if checkpoint == "last":
        return True
    assert new.val_loss is not None
    assert best.val_loss is not None  # `fit` refuses to select without validation images
    if checkpoint in ("val_loss", "held_out_loss"):
        return new.val_loss < best.val_loss
    return (-(new.val_accuracy or 0.0), new.val_loss) < (-(best.val_accuracy or 0.0), best.val_loss)
