"""The training loop, for a whole network or a head alone: batches in, the best weights and a history out."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.distributed import add_up, from_first, is_first, share_buffers, share_state
from pipeline.models.methods.base import Criterion
from pipeline.train.checkpoints import Checkpoints
from pipeline.train.observers import Observer
from pipeline.train.optimizer import make_optimizer, rate_factor
from pipeline.train.settings import LoopSettings, TrainSettings
from pipeline.train.sharding import Sharding, alone
from pipeline.train.state import Epoch, TrainState, Weights, zero_loss
from pipeline.train.step import Batch, BatchLoss, check_finite, make_scaler, training_step
from pipeline.train.targets import ClassWeights, classification_loss, hits

STEPS_BETWEEN_CHECKS = 50  # of the loss, which must be finite; reading it waits for the device


Validation = tuple[float | None, float | None]  # mean loss, and share of images that are right


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, and on what.

    Attributes:
        module: its parameters are trained
        loss: inputs and targets of a batch to their mean loss
        train_batches: the batches of an epoch, from 1, without its first so many images
        images: of an epoch
        sharding: of these images over ranks; None: this process trains by itself
        set_mode: brings the module into training mode
        validate: the loss and the accuracy after an epoch, on images that do not train; (None, None) without such
            images
    """

    module: nn.Module
    loss: BatchLoss
    train_batches: Callable[[int, int], Iterable[Batch]]
    images: int
    set_mode: Callable[[], object]
    validate: Callable[[int], Validation]
    sharding: Sharding | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """The history of a training, and the epoch whose weights were kept."""

    history: tuple[Epoch, ...]
    best: Epoch


class Trainer:
    """Trains the module of a task from any state on; `run` is the whole of it, `advance` a single step.

    With `checkpoints`, it starts from the last state that is kept there, and `run` keeps its own. With several ranks,
    all start from the state of rank 0 and stay in the same one, since each makes the same step with the same sums.
    """

    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        hardware: Hardware,
        observers: Sequence[Observer] = (),
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.task, self.settings, self.hardware, self.observers = task, settings, hardware, observers
        self.checkpoints = checkpoints
        self.state = new_state(task.module, task.images, settings, hardware)
        self.seed = 0
        self._batches: Iterator[Batch] = iter(())
        self._place: tuple[int, int] | None = None  # epoch and images at which the batches stand
        if checkpoints is not None:
            checkpoints.restore(self.state, settings, task.images)
        self.sharding = task.sharding or alone(task.images, settings)
        if self.is_shared:
            self._start_as_first()

    @property
    def is_shared(self) -> bool:
        """Whether several ranks train together."""
        return self.sharding.ranks > 1

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.state.epoch > self.settings.epochs

    def run(self) -> Training:
        """Train to the end and leave the module with the weights of the epoch that `settings.checkpoint` prefers.

        Raises:
            TrainError: if the loss is no longer a finite number
        """
        for row in self.state.history:  # of the run that was stopped, whose logs begin anew
            for observer in self.observers:
                observer.epoch(row)
        try:
            while not self.finished:
                self.advance()
                if self.checkpoints is not None:
                    self.checkpoints.write_if_due(self.state, self.finished)
        finally:
            for observer in self.observers:
                observer.close()
        best, weights = self.state.best, self.state.best_weights
        assert best is not None  # epochs is at least 1
        if weights is not None:
            self.task.module.load_state_dict({**self.task.module.state_dict(), **weights})
        return Training(tuple(self.state.history), best)

    def advance(self) -> None:
        """Make one step of the optimizer; after the last one of an epoch, validate and begin the next.

        Raises:
            TrainError: if the loss is no longer a finite number
        """
        start, state = time.perf_counter(), self.state
        if self._place != (state.epoch, state.images):  # a new epoch, or a state that was read
            self.task.set_mode()
            self._batches = self._timed(self.task.train_batches(state.epoch, state.images))
        images = min(self.sharding.step, self.task.images - state.images)
        batches = islice(self._batches, self.sharding.batches_of_step(images))
        if self.sharding.rank:  # the first goes on with the numbers that its state holds
            torch.manual_seed(seed_of_step(self.seed, state.step, self.sharding.rank))
        over_ranks = self.sharding if self.is_shared else None
        training_step(state, batches, images, self.task.loss, self.settings, self.hardware, over_ranks)
        self._place = (state.epoch, state.images)
        last = state.images == self.task.images
        if last or state.step % STEPS_BETWEEN_CHECKS == 0:
            check_finite("train_loss", state.mean_loss())
        state.seconds += time.perf_counter() - start
        for observer in self.observers:
            observer.step(state, images)
        if last:
            self._end_epoch()

    def _start_as_first(self) -> None:
        """Take over the state of rank 0, which alone reads what is kept; random numbers are each rank's own."""
        self.seed = torch.initial_seed()
        state = from_first(self.state.to_bytes() if self.sharding.rank == 0 else b"")
        if self.sharding.rank:
            self.state.take(state)

    def _timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; how long they are waited for is added to the state."""
        waiting = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(waiting, None)
            self.state.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def _end_epoch(self) -> None:
        """Validate, note the epoch, keep its weights if they are the best, and go to the start of the next."""
        state, checkpoint = self.state, self.settings.checkpoint
        self._batches = iter(())  # they refer to the trainer, whose memory would wait for the garbage collector
        self.task.module.eval()
        if self.is_shared:
            share_buffers(self.task.module)  # without synchronized batch norms, each rank has statistics of its own
        val_loss, val_accuracy = self.task.validate(state.epoch)
        check_finite("val_loss", val_loss or 0.0)
        row = Epoch(
            epoch=state.epoch,
            train_loss=state.mean_loss(),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=state.optimizer.param_groups[-1]["lr"],
            seconds=round(state.seconds, 3),
            images_per_second=round(self.task.images / state.seconds, 1),
        )
        state.history.append(row)
        if state.best is None or is_better(row, state.best, checkpoint):
            state.best = row
            if checkpoint != "last":  # else the module has them in the end
                state.best_weights = keep_weights(self.task.module, state.best_weights)
        state.epoch, state.images, state.seconds, state.waited = state.epoch + 1, 0, 0.0, 0.0
        state.loss_sum = zero_loss(self.hardware)
        for observer in self.observers:
            observer.epoch(row)


def run_by_first(trainer: Trainer) -> Training:
    """Run a training on rank 0 alone; the others get its weights and history."""
    training = from_first(trainer.run() if is_first() else None)
    assert training is not None  # rank 0 has one
    share_state(trainer.task.module)
    return training


def seed_of_step(seed: int, step: int, rank: int) -> int:
    """A seed for what a rank draws in a step: other numbers than those of other ranks, the same after a stop."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])


def keep_weights(module: nn.Module, kept: Weights | None) -> Weights:
    """A copy, on the device, of what training changes: all but frozen parameters; into the tensors of the last copy."""
    frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
    current = {name: value.detach() for name, value in module.state_dict().items() if name not in frozen}
    if kept is None:
        return {name: value.clone() for name, value in current.items()}
    for name, value in current.items():
        kept[name].copy_(value)
    return kept


def new_state(module: nn.Module, images: int, settings: LoopSettings, hardware: Hardware) -> TrainState:
    """The state of a training that has not begun."""
    optimizer = make_optimizer(module, settings.optimizer)
    steps = settings.epochs * math.ceil(images / (settings.batch_size * settings.accumulation_steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(settings.schedule, step / steps))
    return TrainState(module, optimizer, schedule, make_scaler(hardware), zero_loss(hardware))


def make_criterion(settings: TrainSettings, weights: ClassWeights | None = None) -> Criterion:
    """The loss that the settings name, with their label smoothing; of several labels, with the weights of classes."""
    return partial(
        classification_loss,
        loss=settings.loss,
        label_smoothing=settings.label_smoothing,
        weights=weights,
        asymmetric=settings.asymmetric,
    )


@torch.inference_mode()
def validate(
    logits_of: Callable[[Tensor], Tensor],
    val_batches: Iterable[Batch],
    settings: TrainSettings,
    hardware: Hardware,
    together: bool = False,
) -> Validation:
    """Mean loss per image over its labels, and the share of images whose most probable class is one of them.

    With a single-label loss the labels of an image share its target equally. There is no label smoothing, and no
    class has a weight.

    Args:
        together: whether each rank has other images; all of them get the result of all images
    """
    criterion = make_criterion(replace(settings, label_smoothing=0.0))
    losses, right, seen = 0.0, 0, 0  # sums, which several ranks add up
    for inputs, targets in val_batches:
        with hardware.autocast():
            logits = logits_of(inputs.to(hardware.device, non_blocking=True)).float().cpu()
        losses += float(criterion(logits, targets)) * len(targets)
        right += int(hits(logits, targets).sum())
        seen += len(targets)
    if together:
        losses, right, seen = add_up(torch.tensor([losses, right, seen], dtype=torch.float64)).tolist()
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
