"""Images for training: decoded, augmented, in batches; one set of processes reads those of a whole run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.device import Hardware
from pipeline.core.distributed import deal
from pipeline.core.images import read_rgb
from pipeline.core.loader import BatchLoader
from pipeline.models.regions import erase_cells
from pipeline.train.augment import View
from pipeline.train.settings import TrainSettings
from pipeline.train.sharding import Sharding

Item = tuple[NDArray[np.uint8], int]
Draw = tuple[int, int, int]  # epoch, position of the image, how often the epoch has drawn it before


@dataclass(frozen=True, slots=True, eq=False)
class Erased:
    """Regions of images that training does not see.

    Attributes:
        cells: which cells of an even grid over each image are erased. Shape: (N, h, w), bool
        color: what they are filled with. Shape: (3,), uint8
    """

    cells: NDArray[np.bool_]
    color: NDArray[np.uint8]

    def take(self, positions: NDArray[np.int64]) -> "Erased":
        """The regions of images at some positions, in their order."""
        return replace(self, cells=self.cells[positions])


class ViewDataset(Dataset[Item]):
    """Views of image files, by (epoch, position, draw).

    The view of an image depends on the seed and these three numbers, not on the process that reads it.
    """

    def __init__(self, files: Sequence[Path], view: View, seed: int, erased: Erased | None = None) -> None:
        self.files, self.view, self.seed, self.erased = files, view, seed, erased

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, drawn: Draw) -> Item:
        epoch, position, draw = drawn
        chance = int(np.random.SeedSequence((self.seed, epoch, position, draw)).generate_state(1)[0])
        image = read_rgb(self.files[position])
        if self.erased is not None:
            image = erase_cells(image, self.erased.cells[position], self.erased.color)
        return self.view(image, chance), position


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over images.

    Attributes:
        dataset: which of the reader's datasets is read
        epoch: of the views
        images: how many are drawn
        order: makes their positions when the turn of the pass comes. Shape: (images,)
        sharding: of which each rank reads its part of every batch; None: whole batches are dealt to the ranks
    """

    dataset: int
    epoch: int
    images: int
    order: Callable[[], NDArray[np.int64]]
    sharding: Sharding | None = None

    def parts(self, start: int, batch_size: int) -> list[tuple[int, range]]:
        """What this rank reads, from a place of the pass on: where each batch ends, and its images among them."""
        if self.sharding is not None:
            return [(batch.stop, self.sharding.own(batch)) for batch in self.sharding.batches(start)]
        batches = self.batches(start, batch_size)
        return [(batches[number].stop, batches[number]) for number in deal(len(batches))]

    def batches(self, start: int, batch_size: int) -> list[range]:
        """Whole batches, from a place of the pass on."""
        return [range(first, min(first + batch_size, self.images)) for first in range(start, self.images, batch_size)]


class ViewReader:
    """The passes of a run in their order, read by one set of processes, which go on across the end of a pass.

    So they are started once, and while a network validates, the first batches of the next epoch are being decoded.
    """

    def __init__(
        self, datasets: Sequence[ViewDataset], passes: Sequence[Pass], settings: TrainSettings, hardware: Hardware
    ) -> None:
        self.datasets, self.passes = datasets, passes
        self.settings, self.hardware = settings, hardware
        self._batches: Iterator[Any] = iter(())
        self._place: tuple[int, int] | None = None  # pass and images at which the batches stand; None: inside a pass

    def read(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (images (N, 3, H, W) uint8, positions (N,)) of a pass, without its first `start` images.

        A rank gets its part of each, which can be empty. Passes can be asked for in any order; one that does not follow
        the last begins with new processes.
        """
        parts, following = self.passes[number].parts(start, self.settings.batch_size), (number + 1, 0)
        if self._place != (number, start):
            self._batches = iter(self._load(number, start))
        self._place = None if parts else following
        for left, (stop, part) in zip(reversed(range(len(parts))), parts, strict=True):
            self._place = None
            batch = next(self._batches) if part else self._no_images()
            # noted before the batch is given: nobody asks for what follows the last one
            self._place = (number, stop) if left else following
            if self._place[0] == len(self.passes):
                self._batches = iter(())  # ends the processes
            yield batch

    def batches(self, number: int, start: int = 0) -> list[int]:
        """How many images each batch of a pass has that is dealt to the ranks, from a place of the pass on."""
        return [len(batch) for batch in self.passes[number].batches(start, self.settings.batch_size)]

    def _no_images(self) -> tuple[Tensor, Tensor]:
        side = self.settings.crop
        return torch.empty(0, 3, side, side, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)

    def _load(self, number: int, start: int) -> BatchLoader:
        settings = self.settings
        return BatchLoader(
            _Together(self.datasets),
            workers=settings.workers,
            key="train.workers",
            batch_bytes=3 * settings.batch_size * settings.resize**2,  # of whole images; crops are smaller
            batch_sampler=self._draws(number, start),
            collate_fn=collate,
            pin_memory=self.hardware.pins_memory,
            generator=torch.Generator(),  # else it draws from torch's own, on which dropout depends
        )

    def _draws(self, number: int, start: int) -> Iterator[list[tuple[int, Draw]]]:
        """What each batch consists of that this rank reads, from a place in the run to its end."""
        for one in self.passes[number:]:
            order = one.order()
            draws = count_draws(order)
            for _, part in one.parts(start, self.settings.batch_size):
                rows = zip(order[part].tolist(), draws[part].tolist(), strict=True)
                if part:
                    yield [(one.dataset, (one.epoch, position, draw)) for position, draw in rows]
            start = 0


class _Together(Dataset[Item]):
    """Items of several datasets, by (which one, its key)."""

    def __init__(self, datasets: Sequence[ViewDataset]) -> None:
        self.datasets = datasets

    def __getitem__(self, key: tuple[int, Draw]) -> Item:
        return self.datasets[key[0]][key[1]]


def count_draws(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each value came before: an image that is drawn twice has two views. Shape: (N,) to (N,)

    >>> count_draws(np.array([7, 3, 3, 7, 3])).tolist()
    [0, 0, 1, 1, 2]
    """
    places = np.argsort(order, kind="stable")  # of equal values in their order
    values, number = order[places], np.arange(len(order))
    is_first = np.concatenate([np.ones(min(1, len(order)), bool), values[1:] != values[:-1]])
    draws = np.empty_like(number)
    draws[places] = number - np.maximum.accumulate(np.where(is_first, number, 0))
    return draws


def collate(items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """Stack (H, W, 3) images to (N, 3, H, W), whose memory stays channels last."""
    stacked = torch.from_numpy(np.stack([image for image, _ in items]))  # (N, H, W, 3)
    return stacked.permute(0, 3, 1, 2), torch.tensor([position for _, position in items])
