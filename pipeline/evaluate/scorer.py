"""The interface of a task's scorer: accumulate images, merge, compute."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.manifest import MaskKind, Record
from pipeline.evaluate.image_counts import ImageCounts
from pipeline.evaluate.settings import EvaluateSettings

Cell = str | int | float | None  # of a CSV file; None is empty
S = TypeVar("S", bound="Scorer")


@dataclass(frozen=True, slots=True)
class Context:
    """What a scorer knows before the first image."""

    settings: EvaluateSettings
    classes: tuple[str, ...]  # K names
    mask_kind: MaskKind
    images: int = 0  # at most so many will come; 0: not known


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the pipeline says of one image.

    Attributes:
        before: score map or label map without the CRF. Shape: (H, W)
        after: with the CRF, as submitted. Shape: (H, W)
        top: predicted class index, 0..K-1, whatever class the maps are of
        top_is_right: whether `top` is among the labels; None without labels
        of_label: the same two, before and after, from the map of the true class; None where no label is known
    """

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    top: int
    top_is_right: bool | None
    of_label: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image in `per_image.csv`; None where there is no such number."""

    predicted: str
    iou_before: float | None
    iou_after: float | None
    foreground_share: float | None  # of the truth, among the pixels that are not ignored


class Scorer(Protocol):
    """One task's state and scores; both count in integers, so that merging in any order gives the same scores."""

    def has_truth(self, record: Record) -> bool:
        """Whether the image can be scored."""

    def accumulate(self, record: Record, prediction: Prediction) -> None:
        """Read the truth of one image and add its prediction."""

    def merge(self: S, other: S) -> None:
        """Add the images of another state."""

    def metrics(self) -> dict[str, Any]:
        """All scores by name, None where there is nothing to compute them from."""

    def note(self) -> str | None:
        """Why scores are None, if they are."""

    def table(self) -> list[list[Cell]]:
        """The rows of `table.csv`, the header first."""

    def confusion(self) -> list[list[Cell]]:
        """The rows of `confusion.csv`, the header first."""

    def image_counts(self) -> ImageCounts:
        """What the ranking score is made of, for every scored image."""

    def image_rows(self) -> dict[str, ImageRow]:
        """Every scored image by id."""
