"""Which of the processes of a stage this is, its rank, and what a rank leaves when an error ends it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import LostRankError, PipelineError

MESSAGES = "PIPELINE_RANK_MESSAGES"  # variable of the ranks: a folder for what ends one of them
# variables that say rank, number of ranks, and rank among those of a machine; Slurm's only under a launcher of ours: a
# batch job has them, too, though it is one process
TOLD_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
TOLD_BY_SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


@dataclass(frozen=True, slots=True)
class Rank:
    """One of the processes of a stage.

    Attributes:
        number: from 0
        size: how many there are, the world size
        local: number among those of its machine, and of its device there
    """

    number: int = 0
    size: int = 1
    local: int = 0


def rank_of(environment: Mapping[str, str]) -> Rank | None:
    """The rank that a launcher has told a process; None if none has.

    >>> rank_of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3"})
    Rank(number=3, size=8, local=3)
    >>> rank_of({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "0"}) is None  # a batch job
    True
    """
    for names in (TOLD_BY_TORCHRUN, *([TOLD_BY_SLURM] if MESSAGES in environment else [])):
        if all(name in environment for name in names):
            return Rank(*(int(environment[name]) for name in names))
    return None


def this_rank() -> Rank:
    """The rank of this process; the only one without a launcher."""
    return rank_of(os.environ) or Rank()


def is_launched() -> bool:
    """Whether this process is a rank that `launch` has started, which then says why it ended."""
    return MESSAGES in os.environ


def tell_failure(error: Exception) -> int | str:
    """What `sys.exit` takes when an error ends this program: its message; a rank leaves it to whoever launched it.

    A rank that lost another says nothing: the other one knows why.
    """
    if not is_launched():
        return f"error: {error}"
    if not isinstance(error, LostRankError):
        rank = this_rank()
        text = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
        folder = Path(os.environ[MESSAGES])
        if folder.is_dir():  # else on another machine, where only its log has the message
            (folder / str(rank.number)).write_text(f"rank {rank.number} of {rank.size}: {text}", encoding="utf-8")
        if not isinstance(error, PipelineError):
            return 1  # its traceback is shown
        print(f"rank {rank.number} of {rank.size}: {text}", file=sys.stderr)
    return 1
