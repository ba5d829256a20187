"""One step of the optimizer: the gradient of one effective batch, in pieces that fit into memory."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.errors import TrainError
from pipeline.train.settings import TrainSettings
from pipeline.train.targets import classification_loss

Batch = tuple[Tensor, Tensor]  # inputs (N, …), targets (N,) or (N, K)


def training_step(
    module: nn.Module,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    settings: TrainSettings,
    hardware: Hardware,
) -> float:
    """Update the weights by one step over `accumulation_steps` batches or fewer; return the loss summed over their
    images.

    Each batch is weighted by its images, so that the sum of the gradients is that of one large batch.

    Raises:
        TrainError: if the loss is not a finite number
    """
    optimizer.zero_grad(set_to_none=True)
    images, total = sum(len(inputs) for inputs, _ in batches), 0.0
    for inputs, targets in batches:
        with hardware.autocast():
            logits = module(inputs.to(hardware.device, non_blocking=True))
        loss = classification_loss(logits.float(), targets.to(hardware.device), settings.loss, settings.label_smoothing)
        scaler.scale(loss * len(inputs) / images).backward()
        total += loss.item() * len(inputs)
    check_finite("train_loss", total)
    if settings.optimizer.gradient_clip:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(module.parameters(), settings.optimizer.gradient_clip)
    scaler.step(optimizer)
    scaler.update()
    return total


def make_scaler(hardware: Hardware) -> torch.amp.GradScaler:
    """Scales losses where the precision is fp16; elsewhere it does nothing."""
    return torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == "fp16")


def check_finite(name: str, loss: float) -> None:
    """Refuse a loss that is not a number.

    Raises:
        TrainError: if it is NaN or infinite
    """
    if not math.isfinite(loss):
        raise TrainError(f"{name}: expected a finite number, got {loss}; likely the learning rate is too high")


def set_mode(module: nn.Module, settings: TrainSettings) -> None:
    """Training mode; frozen batch norms keep the statistics that they were loaded with."""
    module.train()
    if settings.backbone.batch_norm == "frozen":
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
