"""Is the most probable class among an image's labels?"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScoreError, sample


def top_class(classes: NDArray[np.int32], probabilities: NDArray[np.float16], count: int, image_id: str) -> int:
    """The most probable class index of an image.

    Of several classes with the largest stored probability (float16 cannot tell 0.9998 from 1) it is the one whose map
    comes first; the order of the maps alone is not trusted, since they may be those of the labels.

    Args:
        classes: class indices of the stored maps, most probable first. Shape: (P,)
        probabilities: of every class. Shape: (K,)
        count: K
        image_id: named in errors

    Raises:
        ScoreError: if there are not K probabilities, or one is NaN

    >>> top_class(np.array([2, 0], np.int32), np.array([0.5, 0.1, 0.5], np.float16), 3, "a")
    2
    """
    if probabilities.shape != (count,):
        raise ScoreError(
            f"{image_id}: expected the probabilities of {count} classes, got shape {probabilities.shape}; "
            "likely maps of another class list"
        )
    if unknown := np.flatnonzero(np.isnan(probabilities)).tolist():
        raise ScoreError(f"{image_id}: expected probabilities, got NaN for class indices {sample(unknown)}")
    best = np.flatnonzero(probabilities == probabilities.max()).tolist()
    return int(next((index for index in classes.tolist() if index in best), best[0]))


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
    """Classes in the answers against classes in the labels, counted over all images together (micro average)."""

    shared: int = 0  # classes in both
    answered: int = 0  # in the answer
    labeled: int = 0  # in the labels
    images: int = 0  # with at least one label; the others do not count

    def accumulate(self, answered: Collection[int], labels: Collection[int]) -> None:
        """Add one image: the class indices in its answer and in its labels. Without labels it does not count."""
        if labels:
            self.shared += len(set(answered) & set(labels))
            self.answered += len(set(answered))
            self.labeled += len(set(labels))
            self.images += 1

    def merge(self, other: "ClassPresence") -> None:
        """Add the images of another state."""
        self.shared += other.shared
        self.answered += other.answered
        self.labeled += other.labeled
        self.images += other.images

    def precision(self) -> float | None:
        """Share of the answered classes that are among the labels; None if no class was answered."""
        return self.shared / self.answered if self.answered else None

    def recall(self) -> float | None:
        """Share of the labels that are in the answers; None if there are no labels."""
        return self.shared / self.labeled if self.labeled else None
