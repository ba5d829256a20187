"""Counts of each scored image, of which the ranking score of any set of these images is made: `image_counts.npz`.

With them two runs can be compared on the same images, and settings chosen on some images be scored on others, without
a prediction or a mask being read again.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import StoreError
from pipeline.core.files import write_bytes
from pipeline.evaluate.intervals import PairedIntervals, Score, mean_iou_score, paired_interval, peak_iou_score
from pipeline.evaluate.metrics import Task
from pipeline.evaluate.settings import EvaluateSettings

IMAGE_COUNTS = "image_counts.npz"


@dataclass(frozen=True, slots=True, eq=False)
class ImageCounts:
    """Counts of the images with truth.

    Attributes:
        ids: in order
        before: without the CRF. Shape: (N, 2, 256) in Track 3, see `peak_iou_score`; (N, 3, K + 1) in Track 1, see
            `mean_iou_score`
        after: with the CRF, as submitted; as `before`
    """

    ids: tuple[str, ...]
    before: NDArray[np.int32]
    after: NDArray[np.int32]


def score_of_counts(counts: NDArray[np.int32], task: Task, settings: EvaluateSettings) -> Score:
    """The ranking score of resamples of images."""
    if task == "localization":
        return peak_iou_score(counts, settings.comparison, settings.average)
    return mean_iou_score(counts, settings.classes)


def crf_intervals(counts: ImageCounts, task: Task, settings: EvaluateSettings) -> PairedIntervals:
    """Of the ranking score before and after the CRF, over all images with truth."""
    before, after = (score_of_counts(some, task, settings) for some in (counts.before, counts.after))
    return paired_interval(before, after, len(counts.ids))


def write_image_counts(path: Path, counts: ImageCounts) -> None:
    """Write the counts, compressed; equal counts give equal bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, ids=np.array(counts.ids, np.str_), before=counts.before, after=counts.after)
    write_bytes(path, stream.getvalue())


def read_image_counts(path: Path) -> ImageCounts:
    """Read what `write_image_counts` wrote.

    Raises:
        StoreError: if the file is missing or damaged
    """
    ids, before, after = _read(path, "ids", "before", "after")
    return ImageCounts(tuple(ids.tolist()), before, after)


@dataclass(frozen=True, slots=True)
class StoredImageCounts:
    """What `write_image_counts` wrote, each array read anew where it is asked for: none of them stays in memory.

    It has the attributes of `ImageCounts`, and each may raise StoreError.

    Attributes:
        path: of the file
    """

    path: Path

    @property
    def ids(self) -> tuple[str, ...]:
        """As `ImageCounts.ids`."""
        return tuple(_read(self.path, "ids")[0].tolist())

    @property
    def before(self) -> NDArray[np.int32]:
        """As `ImageCounts.before`."""
        return _read(self.path, "before")[0]

    @property
    def after(self) -> NDArray[np.int32]:
        """As `ImageCounts.after`."""
        return _read(self.path, "after")[0]


def _read(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except FileNotFoundError:
        raise StoreError(f"{path}: expected counts of the scored images, found no file; run `evaluate` again") from None
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise StoreError(f"{path}: expected the arrays ids, before and after, got {error}; likely damaged") from error
