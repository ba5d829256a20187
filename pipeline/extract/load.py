"""Images for extraction: decoded once, resized to every size, in batches of one shape."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.device import Hardware
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.loader import BatchLoader
from pipeline.extract.ahead import ahead
from pipeline.extract.plan import Job, square_crops

Loaded = tuple[list[Tensor], list[Job]]  # the N images of a batch at every size, (N, 3, h, w) each, and their jobs
READY = 2  # batches that are read ahead


class _ViewDataset(Dataset[tuple[list[NDArray[np.uint8]], Job]]):
    """Each image decoded once and resized to the shape of each of its views; asked for by the job itself."""

    def __getitem__(self, job: Job) -> tuple[list[NDArray[np.uint8]], Job]:
        return resize_to_views(read_rgb(job.file), job), job


def resize_to_views(image: NDArray[np.uint8], job: Job) -> list[NDArray[np.uint8]]:
    """An image at the shape of each of its views, and its square crops, if it has some. Shapes: (H, W, 3) to (h, w, 3)
    each"""
    views = [resize_image(image, shape) for shape in job.view_shapes]
    if job.crop_side:
        square = (job.crop_side, job.crop_side)
        boxes = square_crops((image.shape[0], image.shape[1]))
        views += [resize_image(image[y : y + side, x : x + side], square) for y, x, side in boxes]
    return views


def stack_views(images: Sequence[Sequence[NDArray[np.uint8]]]) -> list[Tensor]:
    """The views of N images as one batch for each size. Shapes: (h, w, 3) each to (N, 3, h, w) for each size"""
    return [torch.from_numpy(np.stack(same)).permute(0, 3, 1, 2) for same in zip(*images, strict=True)]


def _collate(items: Sequence[tuple[list[NDArray[np.uint8]], Job]]) -> Loaded:
    return stack_views([views for views, _ in items]), [job for _, job in items]


def view_bytes(shapes: Sequence[tuple[int, int]]) -> int:
    """Bytes of the views of one image.

    >>> view_bytes([(2, 3), (1, 1)])
    21
    """
    return 3 * sum(height * width for height, width in shapes)


def job_bytes(job: Job) -> int:
    """Bytes of the views and crops of one image."""
    crops = square_crops(job.shape) if job.crop_side else []
    return view_bytes(job.view_shapes) + len(crops) * view_bytes([(job.crop_side, job.crop_side)])


def batches_of(jobs: Sequence[Job], batch_size: int) -> list[list[Job]]:
    """The jobs of each batch: neighbors with views of one shape, at most `batch_size` of them."""
    batches: list[list[Job]] = []
    for _, group in groupby(jobs, key=lambda job: job.batch_key):
        same = list(group)
        batches += [same[start : start + batch_size] for start in range(0, len(same), batch_size)]
    return batches


def load_batches(
    batches: Sequence[list[Job]], workers: int, hardware: Hardware, key: str = "extract.workers"
) -> Iterator[Loaded]:
    """The images of each batch, all of whose views have one shape; read ahead, by `workers` processes or a thread.

    Its processes start once for all batches of a call. Images that come later need no memory. `key` is that of the
    setting `workers`, for errors.
    """
    loader = BatchLoader(
        _ViewDataset(),
        workers=workers,
        key=key,
        batch_bytes=max((len(batch) * job_bytes(batch[0]) for batch in batches), default=0),
        batch_sampler=batches,  # jobs, not positions: nothing has to be listed
        collate_fn=_collate,
        pin_memory=hardware.pins_memory,
        generator=torch.Generator(),  # else it draws from torch's own
    )
    return ahead(iter(loader), READY)
