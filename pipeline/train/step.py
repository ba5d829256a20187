"""One step of the optimizer: the gradient of one effective batch, in pieces that fit into memory."""

import math
import shutil
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.errors import TrainError
from pipeline.train.settings import LoopSettings, TrainSettings
from pipeline.train.state import TrainState

# compiling takes one to two minutes; a step of a ResNet50-SE on an H200 then takes 0.5 instead of 0.9 ms an image
COMPILED_FROM = 300_000
COMPILERS = ("cc", "gcc", "clang")

Batch = tuple[Tensor, Tensor]  # inputs (N, …), targets (N,) or (N, K)
BatchLoss = Callable[[Tensor, Tensor], Tensor]  # inputs and targets to their mean loss, a scalar


def training_step(
    state: TrainState,
    batches: Iterable[Batch],
    images: int,
    loss: BatchLoss,
    settings: LoopSettings,
    hardware: Hardware,
) -> None:
    """Update the weights by one step over a few batches that hold so many images together.

    Each batch is weighted by its share of the images, so that the sum of the gradients is that of one large batch, also
    where the last ones of an epoch are smaller or fewer. The losses are summed on the device, which nothing waits for.
    """
    state.optimizer.zero_grad(set_to_none=True)
    seen = 0
    for inputs, targets in batches:
        with hardware.autocast():
            mean = loss(
                inputs.to(hardware.device, non_blocking=True), targets.to(hardware.device, non_blocking=True)
            ).float()
        state.scaler.scale(mean * len(inputs) / images).backward()
        state.loss_sum += mean.detach().to(state.loss_sum.dtype) * len(inputs)
        seen += len(inputs)
    assert seen == images, f"expected batches of {images} images together, got {seen}"  # the weights of the batches
    if settings.optimizer.gradient_clip:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.module.parameters(), settings.optimizer.gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    state.step += 1
    state.images += images


def compiles(settings: TrainSettings, hardware: Hardware, images: int) -> bool:
    """Whether the loss is compiled: as `train.compile` says; with `auto` on CUDA, where all epochs together see
    `COMPILED_FROM` images or more and there is a C compiler, which Triton needs.

    Args:
        images: of an epoch
    """
    if settings.compile == "auto":
        is_long = settings.epochs * images >= COMPILED_FROM
        return hardware.device.type == "cuda" and is_long and any(map(shutil.which, COMPILERS))
    return settings.compile


def compile_loss(loss: BatchLoss, batch_size: int) -> BatchLoss:
    """The loss and its gradient compiled for batches of one size; another, such as the last of an epoch, is computed
    as it was, since each size would be compiled for a minute.

    The module stays as it is: names in its state, validation and the measured offset do not know of it.
    """
    compiled = torch.compile(loss, dynamic=False)

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        mean: Tensor = (compiled if len(inputs) == batch_size else loss)(inputs, targets)
        return mean

    return loss_of


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
