"""The states of a training that is running, kept so that it goes on from the last one after it was stopped."""

import math
import sys
from dataclasses import dataclass

from pipeline.core.distributed import is_first
from pipeline.core.scratch import Scratch
from pipeline.train.settings import LoopSettings
from pipeline.train.state import TrainState

KEPT = 2  # the last states: if the last one is damaged, the training goes on from the one before


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The states of one training of a stage.

    Attributes:
        scratch: of the stage
        name: of the training, one among those of its stage
    """

    scratch: Scratch
    name: str

    @property
    def prefix(self) -> str:
        """How the names of its parts begin."""
        return f"{self.name}-step-"

    def restore(self, state: TrainState, settings: LoopSettings, images: int) -> None:
        """Bring a new state to the last one that is kept, and say so; without one it stays as it is.

        Args:
            images: of an epoch
        """
        for name in reversed(self.scratch.names(self.prefix)):
            path = self.scratch.find(name)
            if path is None:
                print(f"warning: {self.name}: {name} is damaged and not used", file=sys.stderr)
                self.scratch.drop(name)
                continue
            state.read(path)
            print(f"note: {self.name} {describe(state, settings, images)}", file=sys.stderr)
            return

    def write_if_due(self, state: TrainState, finished: bool) -> None:
        """Write the state if the interval is over, or if it is the last: what comes after the training can be stopped,
        too."""
        if self.scratch.interval.is_over() or finished:
            self.write(state)

    def write(self, state: TrainState) -> None:
        """Write the state; of the earlier ones the last stays."""
        self.scratch.keep(f"{self.prefix}{state.step:09d}", state.to_bytes())
        for name in self.scratch.names(self.prefix)[:-KEPT]:
            self.scratch.drop(name)


def checkpoints_of(scratch: Scratch | None, name: str) -> Checkpoints | None:
    """The states of a training of a stage; None where the stage keeps nothing, and in all ranks but the first."""
    return Checkpoints(scratch, name) if scratch is not None and is_first() else None


def describe(state: TrainState, settings: LoopSettings, images: int) -> str:
    """Where a training goes on: `resumes at epoch 7, step 312 of 590`."""
    if state.epoch > settings.epochs:
        return "was finished"
    steps = math.ceil(images / (settings.batch_size * settings.accumulation_steps))
    done = state.step - (state.epoch - 1) * steps
    return f"resumes at epoch {state.epoch}, step {done} of {steps}"
