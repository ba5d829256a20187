"""Tensors whose rows are computed in order, once, and take long: kept piece by piece while they are filled."""

from collections.abc import Sequence

import safetensors.torch
import torch
from torch import Tensor

from pipeline.core.scratch import Scratch

MOST = 256 << 20  # bytes of a part: writing it takes a few times as much memory


class RowTensors:
    """A few tensors of `total` rows each, filled from the first row to the last.

    With a scratch folder, rows are kept when its interval is over, and the rows that a stopped run kept are there from
    the start: `filled` says how many.

    Args:
        total: rows of each tensor
        name: of the parts, one among those of the stage
    """

    def __init__(self, total: int, scratch: Scratch | None = None, name: str = "rows") -> None:
        self.total, self.scratch, self.name = total, scratch, name
        self.tensors: list[Tensor] = []
        self.filled = self._kept = 0
        self._ends: list[int] = []  # of the rows that are not kept, where each `add` ended
        if scratch is not None:
            self._restore(scratch)

    def add(self, rows: Sequence[Tensor]) -> None:
        """Fill the next rows of each tensor; the first ones decide type, shape and memory layout."""
        stop = self.filled + len(rows[0])
        self._fill(rows, stop)
        self._ends.append(stop)
        if self.scratch is not None and self.scratch.interval.is_over():
            self.keep()

    def keep(self) -> None:
        """Keep the rows that are not kept yet, in parts of `MOST` bytes that end where an `add` ended."""
        if self.scratch is None:
            return
        row = sum(one[:1].nbytes for one in self.tensors)
        while self._kept < self.filled:
            ends = [end for end in self._ends if end > self._kept]
            stop = max((end for end in ends if (end - self._kept) * row <= MOST), default=ends[0])
            part = {str(n): one[self._kept : stop].contiguous() for n, one in enumerate(self.tensors)}
            self.scratch.keep(f"{self.name}-rows-{self._kept:09d}", safetensors.torch.save(part))
            self._kept = stop
        self._ends.clear()

    def _fill(self, rows: Sequence[Tensor], stop: int) -> None:
        if not self.tensors:  # stacking a list in the end would need twice the memory
            self.tensors = [_room(self.total, like) for like in rows]
        for one, values in zip(self.tensors, rows, strict=True):
            one[self.filled : stop] = values
        self.filled = stop

    def _restore(self, scratch: Scratch) -> None:
        """Fill the rows that are kept, as far as no part of them is missing or damaged."""
        for name in scratch.names(f"{self.name}-rows-"):
            path, first = scratch.find(name), int(name.rpartition("-")[2])
            if first < self.filled:  # of a run whose parts began elsewhere
                continue
            if path is None or first > self.filled:
                return
            part = safetensors.torch.load_file(path)
            rows = [part[str(n)] for n in range(len(part))]
            self._fill(rows, self.filled + len(rows[0]))
            self._kept = self.filled


def _room(count: int, like: Tensor) -> Tensor:
    """An empty tensor for `count` rows; maps have their channels last."""
    layout = torch.channels_last if like.ndim == 4 else torch.contiguous_format
    return torch.empty((count, *like.shape[1:]), dtype=like.dtype, memory_format=layout)
