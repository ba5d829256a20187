"""Which images and which pixels a student learns from. Arrays only, no PyTorch: `evaluate` counts by the same rules."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import decode_png
from pipeline.core.store import Arrays
from pipeline.core.truth import BACKGROUND, IGNORE_INDEX
from pipeline.student.target_settings import TargetSettings


def has_target(labels: Sequence[int], one_label: bool) -> bool:
    """Whether the prediction of an image with these labels can be right as a target.

    Args:
        labels: class indices of the image; without any, its classes are a guess
        one_label: Track 3: the score map is of one class, so that objects of a second one would be background

    >>> has_target([4], True), has_target([4, 7], True), has_target([4, 7], False), has_target([], False)
    (True, False, True, False)
    """
    return len(labels) == 1 or (len(labels) > 1 and not one_label)


def counted_scores(settings: TargetSettings) -> NDArray[np.bool_]:
    """Track 3: whether a pixel of each score 0..255 counts: p <= low or p >= high, with p = score / 255. Shape: (256,)

    >>> np.flatnonzero(~counted_scores(TargetSettings(soft=True, low=0.0, high=0.01))).tolist()
    [1, 2]
    """
    p = np.arange(256, dtype=np.float32) / 255  # as the student computes it
    return np.asarray((p <= settings.low) | (p >= settings.high))


def stored_target(stored: Arrays, image_id: str, labels: Sequence[int], settings: TargetSettings) -> NDArray[np.uint8]:
    """Track 1: what is learned from a refined prediction: its `target`, where `refine.target_backgrounds` asked for it,
    else `label_target` of its label map.

    Args:
        stored: arrays of the stage `refine`, of an image whose labels are known
        image_id: named in errors
        labels: class indices of the image

    Returns:
        class ids 0..K, 255 ignored. Shape: (H, W)
    """
    if "target" in stored:
        return of_labels(decode_png(stored["target"], image_id), labels)
    after, foreground = (decode_png(stored[name], image_id) for name in ("after", "foreground"))
    return label_target(after, foreground, labels, settings)


def of_labels(label_map: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.uint8]:
    """The label map, 255 where it names a class that the image does not have.

    >>> of_labels(np.array([[0, 2, 3, 255]], np.uint8), [1]).tolist()
    [[0, 2, 255, 255]]
    """
    allowed = np.isin(label_map, [BACKGROUND, *(index + 1 for index in labels)])
    return np.where(allowed, label_map, IGNORE_INDEX).astype(np.uint8)


def label_target(
    label_map: NDArray[np.uint8], foreground: NDArray[np.uint8], labels: Sequence[int], settings: TargetSettings
) -> NDArray[np.uint8]:
    """Track 1: the label map, 255 where the foreground is neither certain nor excluded.

    With p the probability of the foreground: background where p <= low, the best class where p >= high, else ignored.
    Between, and where the label map names a class that the image does not have, a pixel does not count.

    Args:
        label_map: class ids 0..K. Shape: (H, W)
        foreground: 255 p. Shape: (H, W)
        labels: class indices of the image

    Returns:
        class ids 0..K, 255 ignored. Shape: (H, W)

    >>> label_map, foreground = np.array([[0, 0, 2, 3]], np.uint8), np.array([[9, 99, 250, 250]], np.uint8)
    >>> label_target(label_map, foreground, [1], TargetSettings(soft=True, low=0.2, high=0.8)).tolist()
    [[0, 255, 2, 255]]
    """
    p = foreground.astype(np.float32) / 255
    certain = np.where(label_map == BACKGROUND, p <= settings.low, p >= settings.high)
    if settings.low == settings.high:
        certain[:] = True  # no band: the largest of several probabilities can be below it
    return np.where(certain, of_labels(label_map, labels), IGNORE_INDEX).astype(np.uint8)
