"""One step of the optimizer: the gradient of one effective batch, in pieces that fit into memory."""

import math
import shutil
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.distributed import add_up
from pipeline.core.errors import TrainError
from pipeline.train.settings import LoopSettings, TrainSettings
from pipeline.train.sharding import Sharding
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
    sharding: Sharding | None = None,
) -> None:
    """Update the weights by one step over a few batches that hold so many images together.

    Each batch is weighted by its share of the images, so that the sum of the gradients is that of one large batch, also
    where the last ones of an epoch are smaller or fewer. The losses are summed on the device, which nothing waits for.

    Args:
        images: of the step, of all ranks together
        sharding: over several ranks; the batches are the parts of them that this rank has, which may be empty
    """
    state.optimizer.zero_grad(set_to_none=True)
    before, seen = state.loss_sum.clone(), 0
    for inputs, targets in batches:
        if not len(inputs) and not (sharding and sharding.meets):
            continue
        with hardware.autocast():
            mean = loss(
                inputs.to(hardware.device, non_blocking=True), targets.to(hardware.device, non_blocking=True)
            ).float()
        state.scaler.scale(mean * len(inputs) / images).backward()
        if len(inputs):
            state.loss_sum += mean.detach().to(state.loss_sum.dtype) * len(inputs)
        seen += len(inputs)
    own = sharding.own_of_step(state.images, images) if sharding else images
    assert seen == own, f"expected batches of {own} images together, got {seen}"  # the weights of the batches
    if sharding:
        state.loss_sum = before + add_gradients(state.module, state.loss_sum - before, is_empty=not seen)
    if settings.optimizer.gradient_clip:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.module.parameters(), settings.optimizer.gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    state.step += 1
    state.images += images


def add_gradients(module: nn.Module, loss: Tensor, is_empty: bool) -> Tensor:
    """Replace the gradients of each rank by their sum over all ranks, and return the sum of their losses.

    One sum of all values together. A parameter without a gradient in any rank has none afterwards: the optimizer leaves
    it alone, as it does with one rank.

    Args:
        loss: of this rank. Shape: ()
        is_empty: whether this rank has no images, so that its parameters do not tell which of them have gradients
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
    has = torch.tensor([one.grad is not None for one in trained], dtype=torch.float32, device=loss.device)
    flat = add_up(torch.cat([*(one.float().flatten() for one in gradients), has, loss.float()[None]]))
    of_parameters, counts, total = flat.split([flat.numel() - len(trained) - 1, len(trained), 1])
    kept = (counts > 0).tolist() if is_empty else [one.grad is not None for one in trained]
    values = of_parameters.split([one.numel() for one in trained])
    for parameter, like, summed, is_kept in zip(trained, gradients, values, kept, strict=True):
        parameter.grad = like.copy_(summed.view_as(like)) if is_kept else None
    summed_loss: Tensor = total[0].to(loss.dtype)
    return summed_loss


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
