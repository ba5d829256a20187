"""Classification accuracy: whether the most probable class is among an image's labels."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError


def check_prediction(predicted: NDArray[np.int32], count: int, image_id: str) -> int:
    """The stored predicted class of an image: that of its largest logit, before anything was rounded.

    Args:
        predicted: class index. Shape: (1,)
        count: K
        image_id: named in errors

    Raises:
        ScoreError: if it is not one class of 0..K-1
    """
    if predicted.shape != (1,) or not 0 <= int(predicted[0]) < count:
        raise ScoreError(
            f"{image_id}: expected one predicted class in 0..{count - 1}, got {predicted.tolist()}; "
            "likely maps of another class list"
        )
    return int(predicted[0])


@dataclass(slots=True)
class Classification:
    """Counts of labeled images, and of those whose most probable class is among their labels."""

    right: int = 0
    labeled: int = 0

    def accumulate(self, top: int, labels: Collection[int]) -> bool | None:
        """Add one image; return whether it is right, None if it has no label (then it does not count)."""
        if not labels:
            return None
        is_right = top in labels
        self.right += is_right
        self.labeled += 1
        return is_right

    def merge(self, other: "Classification") -> None:
        """Add the images of another state."""
        self.right += other.right
        self.labeled += other.labeled

    def accuracy(self) -> float | None:
        """Share of the labeled images that are right; None if none is labeled."""
        return self.right / self.labeled if self.labeled else None


@dataclass(slots=True)
class ClassPresence:
    """Classes in the predictions against classes in the labels, counted over all images together (micro average)."""

    shared: int = 0  # classes in both
    predicted: int = 0  # in the prediction
    labeled: int = 0  # in the labels
    images: int = 0  # with at least one label; the others do not count

    def accumulate(self, predicted: Collection[int], labels: Collection[int]) -> None:
        """Add one image: the class indices in its prediction and in its labels. Without labels it does not count."""
        if labels:
            self.shared += len(set(predicted) & set(labels))
            self.predicted += len(set(predicted))
            self.labeled += len(set(labels))
            self.images += 1

    def merge(self, other: "ClassPresence") -> None:
        """Add the images of another state."""
        self.shared += other.shared
        self.predicted += other.predicted
        self.labeled += other.labeled
        self.images += other.images

    def precision(self) -> float | None:
        """Share of the predicted classes that are among the labels; None if no class was predicted."""
        return self.shared / self.predicted if self.predicted else None

    def recall(self) -> float | None:
        """Share of the labels that are in the predictions; None if there are no labels."""
        return self.shared / self.labeled if self.labeled else None

    def f1(self) -> float | None:
        """The harmonic mean of precision and recall: 2 shared / (predicted + labeled); None if there are no labels."""
        return 2 * self.shared / (self.predicted + self.labeled) if self.labeled else None
