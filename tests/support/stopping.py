"""Trainings that are stopped, as a signal would, and begun again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.core.manifest import Manifest
from pipeline.core.scratch import Scratch
from pipeline.train.run import Fit, fit_together
from pipeline.train.settings import TrainSettings
from pipeline.train.trainer import Trainer


class StoppedError(Exception):
    """Stands for a signal."""


@contextmanager
def stopping_after(steps: int) -> Iterator[None]:
    """Every training in here ends after so many steps of the optimizer, all trainings together."""
    advance, done = Trainer.advance, [0]

    def counted(trainer: Trainer) -> None:
        if done[0] == steps:
            raise StoppedError
        done[0] += 1
        advance(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "advance", counted)
        yield


def fit_with_stops(manifest: Manifest, settings: TrainSettings, folder: Path, stops: Sequence[int]) -> Fit:
    """Train, stopped after so many steps of each run, and go on each time from what is kept in the folder."""
    for steps in stops:
        with stopping_after(steps), pytest.raises(StoppedError):
            fit_together(manifest, [settings], folder / "logs", Scratch(folder / "scratch"))
    return fit_together(manifest, [settings], folder / "logs", Scratch(folder / "scratch"))[0]
