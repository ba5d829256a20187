"""Images for training: decoded, augmented, in batches."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.device import Hardware
from pipeline.core.images import read_rgb
from pipeline.core.loader import BatchLoader
from pipeline.train.augment import View
from pipeline.train.settings import TrainSettings

Item = tuple[NDArray[np.uint8], int]


class ViewDataset(Dataset[Item]):
    """Views of image files, by position or by (position, draw).

    The view of an image depends on seed, epoch, its position and how often the epoch has drawn it before, not on the
    process that reads it.
    """

    def __init__(self, files: Sequence[Path], view: View, seed: int, epoch: int = 0) -> None:
        self.files, self.view, self.seed, self.epoch = files, view, seed, epoch

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: int | tuple[int, int]) -> Item:
        position, draw = item if isinstance(item, tuple) else (item, 0)
        chance = int(np.random.SeedSequence((self.seed, self.epoch, position, draw)).generate_state(1)[0])
        return self.view(read_rgb(self.files[position]), chance), position


def batches(
    dataset: Dataset[Any], order: Sequence[int], settings: TrainSettings, hardware: Hardware, start: int = 0
) -> BatchLoader:
    """Batches of (images (N, 3, H, W) uint8, positions (N,)) in the given order, from its place `start` on."""
    return BatchLoader(
        dataset,
        workers=settings.workers,
        key="train.workers",
        batch_bytes=3 * settings.batch_size * settings.resize**2,  # of whole images; crops are smaller
        batch_size=settings.batch_size,
        sampler=_count_draws(order)[start:],
        collate_fn=collate,
        pin_memory=hardware.pins_memory,
        generator=torch.Generator(),  # else it draws from torch's own, on which dropout depends
    )


def _count_draws(order: Sequence[int]) -> list[tuple[int, int]]:
    """(position, how often it came before): an image that is drawn twice has two views."""
    seen: Counter[int] = Counter()
    draws = []
    for position in order:
        draws.append((position, seen[position]))
        seen[position] += 1
    return draws


def collate(items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """Stack (H, W, 3) images to (N, 3, H, W), whose memory stays channels last."""
    stacked = torch.from_numpy(np.stack([image for image, _ in items]))  # (N, H, W, 3)
    return stacked.permute(0, 3, 1, 2), torch.tensor([position for _, position in items])
