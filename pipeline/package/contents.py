"""What the predictions of a submission hold, counted, and what of it is by the rules but cannot be meant."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import sample
from pipeline.core.pixel_counts import value_counts
from pipeline.core.tracks import Track


@dataclass(slots=True, eq=False)
class Contents:
    """What the predictions hold that could be decoded.

    Attributes:
        images: predictions
        values: pixels per value, over all predictions. Shape: (256,)
        constant: ids of predictions with one value only
        without_foreground: predictions with nothing but 0
    """

    images: int = 0
    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    constant: list[str] = field(default_factory=list)
    without_foreground: int = 0

    def add(self, pixels: NDArray[np.uint8], image_id: str) -> NDArray[np.int64]:
        """Count one prediction of shape (H, W); return its pixels per value. Shape: (256,)"""
        counts = value_counts(pixels)
        self.images += 1
        self.values += counts
        if np.count_nonzero(counts) == 1:
            self.constant.append(image_id)
        self.without_foreground += int(counts[0] == pixels.size)
        return counts

    def merge(self, other: "Contents") -> None:
        """Add what other predictions hold."""
        self.images += other.images
        self.values += other.values
        self.constant += other.constant
        self.without_foreground += other.without_foreground

    def summarize(self, track: Track) -> dict[str, Any]:
        """Counts for package.json; in Track 1 also how many classes the predictions name."""
        used = np.flatnonzero(self.values).tolist()
        counts = {
            "images": self.images,
            "images_without_foreground": self.without_foreground,
            "constant_images": len(self.constant),
            "smallest_value": min(used, default=0),
            "largest_value": max(used, default=0),
        }
        return counts | ({"classes_in_predictions": len(set(used) - {0})} if track.task == "segmentation" else {})


def content_problems(contents: Contents, track: Track, name: str) -> list[str]:
    """Why a submission that keeps every rule is worth nothing: no prediction says where anything is.

    The server takes such a zip, and the attempt is spent.

    Args:
        contents: of all its predictions
        track: what the values mean
        name: what messages call the zip
    """
    images, largest = contents.images, max(np.flatnonzero(contents.values).tolist(), default=0)
    if not images:
        return []
    if contents.without_foreground == images:
        return [
            f"{name}: expected foreground in some prediction, got only 0 in all {images}; likely a threshold above "
            "every score, or arrays that were never filled"
        ]
    if 1 < images == len(contents.constant):  # one alone may fill its image
        return [
            f"{name}: expected predictions that differ between pixels, got one value each in all {images}; likely one "
            "score for each image, saved in place of its map"
        ]
    if track.task == "localization" and largest == 1:
        return [
            f"{name}: expected scores 0..255, got only 0 and 1 in all {images}; likely scores in [0, 1] or a mask, "
            "multiply by 255 before the cast to uint8"
        ]
    return []


def content_warnings(contents: Contents) -> list[str]:
    """What may be meant and mostly is not: predictions of one value each, where not all of them are."""
    constant = contents.constant
    if not constant or len(constant) == contents.images:
        return []
    return [
        f"{len(constant)} of {contents.images} predictions hold one value only: {sample(constant)}; likely no class "
        "was found in them, or the CRF has saturated"
    ]
