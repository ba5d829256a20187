"""How the images of an epoch are divided into steps, batches and parts of ranks: each image in one part, once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.core.distributed import rank, world_size
from pipeline.train.settings import LoopSettings


@dataclass(frozen=True, slots=True)
class Sharding:
    """The images of an epoch, in their order, over ranks.

    A step of the optimizer has the same images whatever the number of ranks: the effective batch, `batch_size *
    accumulation_steps`. It is computed in batches, each of which is divided over all ranks.

    Attributes:
        images: of an epoch
        step: images of a step; fewer in the last
        batch: images of a batch, of all ranks together; fewer in the last of a step
        rank: of this process
        ranks: how many there are
        meets: whether ranks exchange values inside a batch, so that also those without an image have to compute it
    """

    images: int
    step: int
    batch: int
    rank: int = 0
    ranks: int = 1
    meets: bool = False

    def batches(self, start: int = 0) -> Iterator[range]:
        """The batches of an epoch from a step's first image on.

        >>> list(Sharding(images=10, step=6, batch=4).batches())
        [range(0, 4), range(4, 6), range(6, 10)]
        """
        for first in range(start, self.images, self.step):
            stop = min(first + self.step, self.images)
            yield from (range(at, min(at + self.batch, stop)) for at in range(first, stop, self.batch))

    def batches_of_step(self, images: int) -> int:
        """How many batches a step of so many images has."""
        return math.ceil(images / self.batch)

    def parts(self, batch: range) -> list[int]:
        """How many images of a batch each rank has."""
        return [len(part_of(batch, rank, self.ranks)) for rank in range(self.ranks)]

    def own(self, batch: range) -> range:
        """The images of a batch that this rank has; none where there are more ranks than images."""
        return part_of(batch, self.rank, self.ranks)

    def own_of_step(self, start: int, images: int) -> int:
        """How many images of a step of so many, from `start` on, this rank has."""
        step = Sharding(start + images, self.step, self.batch)
        return sum(len(self.own(batch)) for batch in step.batches(start))


def part_of(batch: range, rank: int, ranks: int) -> range:
    """The neighbors in a batch that a rank has: as many as every other, or one more in the first ranks.

    >>> [len(part_of(range(210), rank, 8)) for rank in range(8)]
    [27, 27, 26, 26, 26, 26, 26, 26]
    """
    each, more = divmod(len(batch), ranks)
    start = rank * each + min(rank, more)
    return batch[start : start + each + (rank < more)]


def shard(images: int, settings: LoopSettings, whole_batches: bool = False, meets: bool = False) -> Sharding:
    """The sharding of an epoch over the ranks that have joined.

    A rank has `batch_size` images of a batch at most, the most that one device holds: with several ranks, accumulated
    batches are computed together as far as that allows.

    Args:
        whole_batches: whether a batch has the images that it has with one rank, since its result depends on them
            together, not on their mean loss alone
        meets: as of `Sharding`
    """
    ranks, most = world_size(), settings.accumulation_steps
    together = 1 if whole_batches else min(ranks, most)
    return Sharding(images, settings.batch_size * most, settings.batch_size * together, rank(), ranks, meets)


def alone(images: int, settings: LoopSettings) -> Sharding:
    """The sharding of an epoch that one process has to itself, whatever others there are."""
    return Sharding(images, settings.batch_size * settings.accumulation_steps, settings.batch_size)
