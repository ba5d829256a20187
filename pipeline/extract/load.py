"""Images for extraction: decoded once, resized to every size, in batches of one shape."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.device import Hardware
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.loader import BatchLoader
from pipeline.extract.plan import Job


class _ViewDataset(Dataset[tuple[list[NDArray[np.uint8]], int]]):
    """Each image decoded once and resized to the shape of each of its views."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, position: int) -> tuple[list[NDArray[np.uint8]], int]:
        job = self.jobs[position]
        return resize_to_views(read_rgb(job.file), job), position


def resize_to_views(image: NDArray[np.uint8], job: Job) -> list[NDArray[np.uint8]]:
    """An image at the shape of each of its views. Shapes: (H, W, 3) to (h, w, 3) each"""
    return [resize_image(image, shape) for shape in job.view_shapes]


def stack_views(images: Sequence[Sequence[NDArray[np.uint8]]]) -> list[Tensor]:
    """The views of N images as one batch for each size. Shapes: (h, w, 3) each to (N, 3, h, w) for each size"""
    return [torch.from_numpy(np.stack(same)).permute(0, 3, 1, 2) for same in zip(*images, strict=True)]


def _collate(items: Sequence[tuple[list[NDArray[np.uint8]], int]]) -> tuple[list[Tensor], list[int]]:
    return stack_views([views for views, _ in items]), [position for _, position in items]


def view_bytes(shapes: Sequence[tuple[int, int]]) -> int:
    """Bytes of the views of one image.

    >>> view_bytes([(2, 3), (1, 1)])
    21
    """
    return 3 * sum(height * width for height, width in shapes)


def batch_positions(jobs: Sequence[Job], batch_size: int) -> list[list[int]]:
    """Positions of the jobs of each batch: neighbors with views of one shape, at most `batch_size` of them."""
    positions: list[list[int]] = []
    for _, group in groupby(range(len(jobs)), key=lambda position: jobs[position].view_shapes):
        same = list(group)
        positions += [same[start : start + batch_size] for start in range(0, len(same), batch_size)]
    return positions


def load_batches(
    jobs: Sequence[Job], batch_size: int, workers: int, hardware: Hardware, key: str = "extract.workers"
) -> BatchLoader:
    """Batches of images with views of one shape: (the N images at every size, their positions in `jobs`).

    `key` is that of the setting `workers`, for errors.
    """
    return BatchLoader(
        _ViewDataset(jobs),
        workers=workers,
        key=key,
        batch_bytes=batch_size * max((view_bytes(job.view_shapes) for job in jobs), default=0),
        batch_sampler=batch_positions(jobs, batch_size),
        collate_fn=_collate,
        pin_memory=hardware.pins_memory,
    )
