"""Images for extraction: decoded once, resized to every size, in batches of one shape."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.core.device import Hardware, single_thread
from pipeline.core.images import read_rgb, resize_image
from pipeline.extract.plan import Job
from pipeline.extract.settings import ExtractSettings


class _ViewDataset(Dataset[tuple[list[NDArray[np.uint8]], int]]):
    """Each image decoded once and resized to the shape of each of its views."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, position: int) -> tuple[list[NDArray[np.uint8]], int]:
        job = self.jobs[position]
        image = read_rgb(job.file)
        return [resize_image(image, shape) for shape in job.view_shapes], position


def _collate(items: Sequence[tuple[list[NDArray[np.uint8]], int]]) -> tuple[list[Tensor], list[int]]:
    scales = zip(*(images for images, _ in items), strict=True)
    stacked = [torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) for images in scales]
    return stacked, [position for _, position in items]


def load_batches(jobs: Sequence[Job], settings: ExtractSettings, hardware: Hardware) -> DataLoader[Any]:
    """Batches of images with views of one shape: (the N images at every size, their positions in `jobs`)."""
    positions: list[list[int]] = []
    for _, group in groupby(range(len(jobs)), key=lambda position: jobs[position].view_shapes):
        same = list(group)
        positions += [same[start : start + settings.batch_size] for start in range(0, len(same), settings.batch_size)]
    return DataLoader(
        _ViewDataset(jobs),
        batch_sampler=positions,
        num_workers=settings.workers,
        collate_fn=_collate,
        pin_memory=hardware.pins_memory,
        worker_init_fn=single_thread,
    )
