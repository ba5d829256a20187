"""Observers of a training: progress on the terminal, and logs for DVCLive and TensorBoard."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from pipeline.core.errors import TrainError
from pipeline.core.progress import note, progress
from pipeline.train.state import Epoch, TrainState

STEPS_BETWEEN_LOSSES = 20  # reading the loss waits for the device


class Observer(Protocol):
    """What the trainer tells while it trains; an observer changes nothing."""

    def step(self, state: TrainState, images: int) -> None:
        """The optimizer has made one step over so many images."""

    def epoch(self, row: Epoch) -> None:
        """An epoch has ended and been validated."""

    def close(self) -> None:
        """The training has ended, also by an error."""


class ProgressBar:
    """A bar over the images of all epochs, with the mean loss of the current one.

    With `reads`, a line for each epoch says which share of its time went into waiting for images: above some percent,
    the device could do more with more `workers`.
    """

    def __init__(self, epochs: int, images: int, reads: bool = False) -> None:
        self.epochs, self.images, self.reads = epochs, images, reads
        self.waiting = 0.0  # share of the current epoch's seconds

    @cached_property
    def bar(self) -> "tqdm[Any]":
        """Made when the first step is done: what a training needs may be computed before, with a bar of its own."""
        return progress(total=self.epochs * self.images, title="train")

    def step(self, state: TrainState, images: int) -> None:
        if self.bar.n == 0 and (state.epoch > 1 or state.images > images):  # an earlier run has done the first part
            earlier = (state.epoch - 1) * self.images + state.images - images
            self.bar.n = self.bar.initial = self.bar.last_print_n = earlier  # no part of the rate
        self.bar.update(images)
        self.waiting = state.waited / max(state.seconds, 1e-9)
        if state.step % STEPS_BETWEEN_LOSSES == 0:
            self.bar.set_postfix(loss=f"{state.mean_loss():.4f}", refresh=False)

    def epoch(self, row: Epoch) -> None:
        self.bar.set_postfix(loss=f"{row.train_loss:.4f}", refresh=False)
        if self.reads:
            note(
                self.bar,
                f"epoch {row.epoch}: loss {row.train_loss:.4f}, {row.images_per_second:.1f} images/s, "
                f"{self.waiting:.0%} of the time waiting for images",
            )

    def close(self) -> None:
        self.bar.close()


class DvcLiveLog:
    """The rows of the history as DVCLive writes them: one TSV file a value, and their last values as JSON."""

    def __init__(self, folder: Path) -> None:
        try:
            from dvclive.live import Live
        except ImportError as error:
            raise _not_installed("dvclive") from error
        # no experiment of DVC and no report page: the stage is DVC's already, and has a page of its own
        self.live: Any = Live(str(folder), save_dvc_exp=False, report=None, dvcyaml=None, monitor_system=False)

    def step(self, state: TrainState, images: int) -> None:
        """Nothing: a point for each epoch."""

    def epoch(self, row: Epoch) -> None:
        for name, value in logged(row).items():
            self.live.log_metric(name, value)
        self.live.next_step()

    def close(self) -> None:
        self.live.end()


class TensorBoardLog:
    """The loss every few steps, and the rows of the history, as event files of TensorBoard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _not_installed("tensorboard") from error
        for old in folder.glob("events.out.tfevents.*"):  # of an earlier training, whose curves would mix with these
            old.unlink()
        self.writer: Any = SummaryWriter(str(folder))

    def step(self, state: TrainState, images: int) -> None:
        if state.step % STEPS_BETWEEN_LOSSES == 0:
            self.writer.add_scalar("loss", state.mean_loss(), state.step)

    def epoch(self, row: Epoch) -> None:
        for name, value in logged(row).items():
            self.writer.add_scalar(f"epoch/{name}", value, row.epoch)

    def close(self) -> None:
        self.writer.close()


def logged(row: Epoch) -> dict[str, float]:
    """The values of an epoch that are logged; validation values only where there are any."""
    values = {
        "train_loss": row.train_loss,
        "val_loss": row.val_loss,
        "val_accuracy": row.val_accuracy,
        "learning_rate": row.learning_rate,
        "images_per_second": row.images_per_second,
    }
    return {name: value for name, value in values.items() if value is not None}


def make_loggers(names: Sequence[str], folder: Path) -> list[Observer]:
    """The observers that `train.loggers` names; each writes into a folder of its own.

    Raises:
        TrainError: if a package is not installed
    """
    kinds: dict[str, type[DvcLiveLog] | type[TensorBoardLog]] = {"dvclive": DvcLiveLog, "tensorboard": TensorBoardLog}
    return [kinds[name](folder / name) for name in names]


def _not_installed(package: str) -> TrainError:
    return TrainError(
        f"train.loggers: expected the package {package!r}, found none; `pip install --editable '.[loggers]'`, or set "
        "loggers to []"
    )
