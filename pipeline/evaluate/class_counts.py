"""Track 1: the mean IoU of images with one class, with two, and so on: what several classes in one image cost."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.image_counts import ImageCounts, score_of_counts
from pipeline.evaluate.intervals import as_list, paired_interval, score_of_all
from pipeline.evaluate.mean_iou import known
from pipeline.evaluate.settings import EvaluateSettings

Counts = NDArray[np.int32]  # pixels of each class that are right, of the truth and of the prediction: (N, 3, K + 1)


def scores_by_class_count(
    counts: ImageCounts, settings: EvaluateSettings, first_stage: ImageCounts | None
) -> list[dict[str, Any]]:
    """A row for each number of classes that the truth of scored images has, background aside, from the smallest on.

    Args:
        counts: of the submitted predictions
        settings: which mean ranks
        first_stage: counts of the refined maps of the same images, where a student predicts

    Returns:
        rows of `classes`, `images`, `mean_iou`, `mean_iou_interval`, `mean_iou_before_crf` and `crf_gain_interval`;
        with a first stage also `mean_iou_first_stage` and `student_gain_interval`, of the submitted score minus that
        one
    """
    in_truth = count_classes(counts.after)
    numbers = np.unique(in_truth).tolist()
    return [{"classes": number} | _scores(counts, settings, first_stage, in_truth == number) for number in numbers]


def scores_of_several(
    counts: ImageCounts, settings: EvaluateSettings, first_stage: ImageCounts | None
) -> dict[str, Any] | None:
    """As a row of `scores_by_class_count`, of all images with two classes or more; None without any."""
    several = count_classes(counts.after) > 1
    return _scores(counts, settings, first_stage, several) if several.any() else None


def _scores(
    counts: ImageCounts, settings: EvaluateSettings, first_stage: ImageCounts | None, wanted: NDArray[np.bool_]
) -> dict[str, Any]:
    after = counts.after[wanted]
    scores = compare(counts.before[wanted], after, settings, ("before_crf", "crf"))
    if first_stage is not None:
        scores |= compare(first_stage.after[wanted], after, settings, ("first_stage", "student"))
    return {"images": len(after), **scores}


def count_classes(counts: Counts) -> NDArray[np.int64]:
    """How many classes the truth of each image has, background aside. Shape: (N, 3, K + 1) to (N,)."""
    classes: NDArray[np.int64] = np.count_nonzero(counts[:, 1, 1:], axis=1)
    return classes


def compare(first: Counts, second: Counts, settings: EvaluateSettings, names: tuple[str, str]) -> dict[str, Any]:
    """The mean IoU of two predictions of the same images, the interval of the second, and that of the gain over the
    first.

    Args:
        first: counts of the one
        second: counts of the other
        settings: which mean ranks
        names: of the first one, and of what leads to the second
    """
    one, other = (score_of_counts(some, "segmentation", settings) for some in (first, second))
    intervals = paired_interval(one, other, len(first))
    return {
        "mean_iou": known(score_of_all(other, len(first))),
        "mean_iou_interval": as_list(intervals.second),
        f"mean_iou_{names[0]}": known(score_of_all(one, len(first))),
        f"{names[1]}_gain_interval": as_list(intervals.difference),
    }
