"""Which images are extracted, the shapes of their views, and which of their labels count."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.core.manifest import SPLITS, Manifest, Record, Split, stored_shape
from pipeline.core.store import divide
from pipeline.extract.settings import ExtractSettings

IMAGES_PER_SHARD = 256  # at least
STEPS = 5  # proportions of views from 1:1 to 2:1; 4:3, 3:2 and 16:9 are within 2 % of one
Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Job:
    """One image to extract: where it is, its stored shape, the shapes of its views, its labels if they count."""

    id: str
    file: Path
    shape: Shape
    view_shapes: tuple[Shape, ...]
    labels: tuple[int, ...]
    true: tuple[int, ...] = ()  # its labels, where a map of one of them is stored for scoring, whatever is predicted
    crop_side: int = 0  # pixels to which its square crops are resized, which say its classes; 0: it has none

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """Images with equal ones can share a batch."""
        return self.view_shapes, len(square_crops(self.shape)) if self.crop_side else 0


def square_crops(shape: Shape) -> list[tuple[int, int, int]]:
    """Squares (y, x, side) along the longer side, as large as the shorter one; neighbors share half of it or more.

    >>> square_crops((100, 100)), square_crops((100, 150)), square_crops((210, 100))
    ([], [(0, 0, 100), (0, 50, 100)], [(0, 0, 100), (37, 0, 100), (73, 0, 100), (110, 0, 100)])
    """
    height, width = shape
    side, rest = min(shape), abs(height - width)
    if not rest:
        return []
    steps = math.ceil(2 * rest / side)
    starts = [round(rest * step / steps) for step in range(steps + 1)]
    return [(start, 0, side) if height > width else (0, start, side) for start in starts]


def make_job(
    record: Record,
    shape: Shape,
    settings: ExtractSettings,
    output_stride: int,
    labels: tuple[int, ...] = (),
    true: tuple[int, ...] = (),
    few_shapes: bool = False,
) -> Job:
    """An image of shape (H, W) as the settings want it extracted; `few_shapes` as in `view_shapes`."""
    shapes = view_shapes(shape, settings, output_stride, few_shapes)
    return Job(record.id, record.file, shape, shapes, labels, true, crop_side(settings, output_stride))


def crop_side(settings: ExtractSettings, output_stride: int) -> int:
    """The side to which crops are resized, that of a square at the first of `extract.sizes`; 0 without crops."""
    return 0 if settings.class_crops == "none" else view_shape((1, 1), settings.sizes[0], "square", output_stride)[0]


def network_shapes(shape: Shape, settings: ExtractSettings, output_stride: int) -> tuple[Shape, ...]:
    """The shapes of all that passes the network for an image: its views, and its crops, if it has some."""
    side = crop_side(settings, output_stride)
    crops = len(square_crops(shape)) if side else 0
    return (*view_shapes(shape, settings, output_stride), *[(side, side)] * crops)


def view_shapes(
    shape: Shape, settings: ExtractSettings, output_stride: int, few_shapes: bool = False
) -> tuple[Shape, ...]:
    """The shape (H, W) of each view of an image of this shape, one for each of `extract.sizes`.

    Args:
        few_shapes: whether the proportion is rounded, as a GPU wants it
    """
    sides = round_proportion(shape) if few_shapes else shape
    return tuple(view_shape(sides, size, settings.resize, output_stride) for size in settings.sizes)


def round_proportion(shape: Shape) -> tuple[float, float]:
    """Sides (h, w) in the proportion of an image, rounded to a power of 2^(1 / STEPS): few shapes of views.

    A GPU takes seconds for the first batch of each new shape. Sides change by 3.5 % at most, less than by rounding to
    16 pixels at usual sizes; maps are brought back to the image, so that only what the network sees is stretched.

    >>> round_proportion((400, 400)), [round(side, 3) for side in round_proportion((375, 500))]  # 3:4 is 0.75
    ((1.0, 1.0), [0.758, 1.0])
    """
    return 2 ** (round(STEPS * math.log2(shape[0] / shape[1])) / STEPS), 1.0


def plan_shards(
    manifest: Manifest,
    settings: ExtractSettings,
    output_stride: int,
    with_true: bool = False,
    with_targets: bool = False,
    few_shapes: bool = False,
) -> dict[Split, list[list[Job]]]:
    """The images of each shard of each split, images of one shape side by side; no shard for an unwanted split.

    Args:
        with_true: whether maps of the labels of val images are stored beside those of other classes, for scoring
        with_targets: whether split train is wanted as targets of the student: its labelled images, by their labels, as
            many as `train_images` allows
        few_shapes: see `view_shapes`
    """
    shards: dict[Split, list[list[Job]]] = {}
    for split in SPLITS:
        as_targets = with_targets and split == "train"
        wanted = split in settings.splits or as_targets
        plan = partial(make_job, settings=settings, output_stride=output_stride, few_shapes=few_shapes)
        every = _jobs(manifest, split, settings, plan, with_true, as_targets) if wanted else []
        jobs = {job.id: job for job in every}
        divided = divide(sorted(jobs), IMAGES_PER_SHARD)
        shards[split] = [by_shape(jobs[image_id] for image_id in ids) for ids in divided]
    return shards


def _jobs(
    manifest: Manifest,
    split: Split,
    settings: ExtractSettings,
    plan: Callable[..., Job],
    with_true: bool,
    as_targets: bool,
) -> Iterator[Job]:
    """All images of a split. Labels of test images choose no classes: a submission must not use them."""
    by_label = as_targets or (settings.classes == "label" and split != "test")
    records: Iterable[Record] = manifest.select(split)
    for record in choose_targets(records, settings.train_images) if as_targets else records:
        true = record.labels if with_true and split == "val" else ()
        yield plan(record, stored_shape(record), labels=record.labels if by_label else (), true=true)


def choose_targets(records: Iterable[Record], most: int) -> list[Record]:
    """The labelled images among these (nobody knows which classes another one has), at most so many; 0: all.

    Which ones follows from their ids alone, as if drawn at random: one more image replaces one at most.
    """
    labeled = [record for record in records if record.labels]
    if not 0 < most < len(labeled):
        return labeled
    return sorted(labeled, key=lambda record: hashlib.sha256(record.id.encode()).digest())[:most]


def by_shape(jobs: Iterable[Job]) -> list[Job]:
    """Images with views of one shape side by side, so that they can share a batch."""
    return sorted(jobs, key=lambda job: (job.batch_key, job.id))


def count_test_labels(manifest: Manifest, settings: ExtractSettings) -> int:
    """How many test images have labels that `extract.classes: label` would use if it could."""
    if settings.classes != "label" or "test" not in settings.splits:
        return 0
    return sum(bool(labels) for labels in manifest.select("test").labels())


def view_shape(shape: tuple[float, float], size: int, kind: str, multiple: int) -> Shape:
    """The shape (H, W) of a view of an image: both sides whole multiples of the output stride.

    `square` makes both sides `size`; `long_side` the longer one, the other in proportion; `area` keeps the proportion,
    too, and gives every image the area of such a square: a panorama is not shrunk to a strip of a few positions.
    Rounding to multiples changes the aspect ratio by a few percent at most, and every feature covers the same share of
    the image.

    >>> view_shape((375, 500), 320, "long_side", 16), view_shape((200, 800), 320, "long_side", 16)
    ((240, 320), (80, 320))
    >>> view_shape((375, 500), 320, "area", 16), view_shape((200, 800), 320, "area", 16)
    ((272, 368), (160, 640))
    """
    sides: tuple[float, float] = (size, size)
    if kind != "square":
        scale = size / (max(shape) if kind == "long_side" else math.sqrt(math.prod(shape)))
        sides = (shape[0] * scale, shape[1] * scale)
    height, width = (max(1, round(side / multiple)) * multiple for side in sides)
    return height, width
