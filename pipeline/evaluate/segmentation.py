"""Track 1: label maps against the truth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.manifest import Record
from pipeline.core.pixel_counts import pair_counts, value_counts
from pipeline.core.truth import BACKGROUND, IGNORE_INDEX, has_label_map, read_label_map
from pipeline.evaluate.baselines import BaselineLabelMaps
from pipeline.evaluate.classification import ClassPresence
from pipeline.evaluate.image_counts import ImageCounts, crf_intervals
from pipeline.evaluate.intervals import as_list
from pipeline.evaluate.losses import SEGMENTATION_LOSSES, near_border, segmentation_losses
from pipeline.evaluate.mean_iou import MeanIoU, Segmentation, class_iou, image_mean_iou, known
from pipeline.evaluate.scorer import Cell, Context, ImageRow, Prediction
from pipeline.evaluate.settings import EvaluateSettings

_SCORES = ("mean_iou", "mean_iou_with_background", "mean_iou_foreground", "pixel_accuracy", "mean_accuracy")
_BASELINES = ("all_background_iou", "top_class_everywhere_iou", "top_class_disc_iou")


class SegmentationScorer:
    """Mean IoU, accuracies and class precision and recall: before the CRF, after it; and baselines."""

    def __init__(self, context: Context) -> None:
        self.context = context
        classes = len(context.classes)
        self.before, self.after = MeanIoU(classes), MeanIoU(classes)
        self.presence_before, self.presence_after = ClassPresence(), ClassPresence()
        self.baselines = BaselineLabelMaps(classes)
        self.border = np.zeros_like(self.after.matrix)  # pixels near a border of the truth, [truth, prediction]
        self.truth_from_boxes = 0  # images without a mask, scored against their filled boxes
        self._rows: dict[str, ImageRow] = {}

    def has_truth(self, record: Record) -> bool:
        """Whether the class of every pixel is known."""
        return has_label_map(record, self.context.mask_kind)

    def accumulate(self, record: Record, prediction: Prediction) -> None:
        """Add one image.

        Raises:
            DataError: if its truth cannot be read
            ScoreError: if the label maps do not fit it
        """
        truth = read_label_map(record, self.context.mask_kind, self.after.classes)
        after = self.after.accumulate(truth, prediction.after, record.id)
        near = np.where(near_border(truth), truth, np.uint8(IGNORE_INDEX))
        self.border += pair_counts(near, prediction.after, (len(self.border), len(self.border)))
        found = classes_in(prediction.after)
        if prediction.before is prediction.after:  # as in a submission: counted once
            before, found_before = after, found
            self.before.add(after, truth.size - int(after.sum()), record.id)
        else:
            before, found_before = (
                self.before.accumulate(truth, prediction.before, record.id),
                classes_in(prediction.before),
            )
        self.presence_before.accumulate(found_before, record.labels)
        self.presence_after.accumulate(found, record.labels)
        self.baselines.accumulate(truth, prediction.top + 1)
        self.truth_from_boxes += record.mask is None
        iou = image_mean_iou(after)
        self._rows[record.id] = ImageRow(
            predicted=";".join(self.context.classes[index] for index in found),
            iou_before=iou if before is after else image_mean_iou(before),
            iou_after=iou,
            foreground_share=_foreground_share(after),
        )

    def merge(self, other: "SegmentationScorer") -> None:
        """Add the images of another state."""
        self.before.merge(other.before)
        self.after.merge(other.after)
        self.presence_before.merge(other.presence_before)
        self.presence_after.merge(other.presence_after)
        self.baselines.merge(other.baselines)
        self.border += other.border
        self.truth_from_boxes += other.truth_from_boxes
        self._rows.update(other._rows)

    def metrics(self) -> dict[str, Any]:
        """All scores by name; those of the CRF's result at the top, the others in `before_crf`."""
        intervals = crf_intervals(self.image_counts(), "segmentation", self.context.settings)
        return {
            "images": self.after.images,
            "truth_from_boxes": self.truth_from_boxes,
            "pixels": self.after.pixels,
            "ignored_pixels": self.after.ignored_pixels,
            "classes": self.context.settings.classes,
            **self._scores(self.after, self.presence_after),
            "mean_iou_interval": as_list(intervals.second),
            "crf_gain_interval": as_list(intervals.difference),
            "iou_lost": self._losses(),
            **self._baselines(),
            "before_crf": {
                **self._scores(self.before, self.presence_before),
                "mean_iou_interval": as_list(intervals.first),
            },
        }

    def _scores(self, state: MeanIoU, presence: ClassPresence) -> dict[str, Any]:
        about = {
            "class_precision": presence.precision(),
            "class_recall": presence.recall(),
            "class_f1": presence.f1(),
        }
        if not state.pixels:
            return {**dict.fromkeys(_SCORES), **about, "classes_present": 0, "classes_absent": self._names}
        scores = state.compute()
        return {
            "mean_iou": ranked_iou(scores, self.context.settings),
            "mean_iou_with_background": scores.mean_iou,
            "mean_iou_foreground": scores.mean_iou_foreground,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            **about,
            "classes_present": len(scores.present),
            "classes_absent": [self._names[class_id] for class_id in scores.absent],
        }

    def _losses(self) -> dict[str, float | None]:
        if not self.after.pixels:
            return dict.fromkeys(SEGMENTATION_LOSSES)
        return segmentation_losses(self.after.matrix, self.border, self.context.settings.classes)

    def _baselines(self) -> dict[str, Any]:
        if not self.after.pixels:
            return dict.fromkeys(_BASELINES)
        predictions = (
            self.baselines.all_background(),
            self.baselines.top_class_everywhere(),
            *self.baselines.top_class_in_disc(),
        )
        background, everywhere, *discs = [ranked_iou(scores, self.context.settings) for scores in predictions]
        known = [iou for iou in discs if iou is not None]
        return dict(zip(_BASELINES, (background, everywhere, max(known, default=None)), strict=True))

    def note(self) -> str | None:
        """Say so if there are masks but every pixel of them is ignored."""
        if self.after.images and not self.after.pixels:
            return f"every pixel in the truth of {self.after.images} images is ignored: no IoU"
        return None

    def table(self) -> list[list[Cell]]:
        """A row for each class, background first; no row without truth. IoU is None where a class is absent."""
        rows: list[list[Cell]] = [["class_id", "name", "iou_before", "iou_after", "truth_pixels", "predicted_pixels"]]
        if not self.after.pixels:
            return rows
        before, after = (map(known, class_iou(state.matrix).tolist()) for state in (self.before, self.after))
        truth, predicted = self.after.matrix.sum(axis=1).tolist(), self.after.matrix.sum(axis=0).tolist()
        columns = zip(range(len(self._names)), self._names, before, after, truth, predicted, strict=True)
        return rows + [list(row) for row in columns]

    def confusion(self) -> list[list[Cell]]:
        """A row for each pair of classes that occurs: how many pixels of the one were predicted as the other."""
        pairs = np.argwhere(self.after.matrix).tolist()
        rows: list[list[Cell]] = [["truth", "predicted", "pixels"]]
        return rows + [[self._names[a], self._names[b], int(self.after.matrix[a, b])] for a, b in pairs]

    def image_counts(self) -> ImageCounts:
        """Of each image, the pixels of each class that are right, of the truth and of the prediction."""
        return ImageCounts(tuple(sorted(self._rows)), self.before.image_counts(), self.after.image_counts())

    def image_rows(self) -> dict[str, ImageRow]:
        """Each image's mean IoU over the classes in its truth or its prediction, before and after the CRF."""
        return self._rows

    @property
    def _names(self) -> list[str]:
        return ["background", *self.context.classes]


def ranked_iou(scores: Segmentation, settings: EvaluateSettings) -> float | None:
    """The mean IoU that ranks: with background (201 classes in the challenge) or without (200)."""
    return scores.mean_iou if settings.classes == "with_background" else scores.mean_iou_foreground


def classes_in(label_map: NDArray[np.uint8]) -> list[int]:
    """The class indices (class id - 1) in a label map, in order, without background and ignored pixels.

    >>> classes_in(np.array([[0, 3, 1, 255]], np.uint8))
    [0, 2]
    """
    present = np.flatnonzero(value_counts(label_map)).tolist()
    return [class_id - 1 for class_id in present if class_id not in (BACKGROUND, IGNORE_INDEX)]


def _foreground_share(matrix: NDArray[np.int64]) -> float | None:
    pixels = int(matrix.sum())
    return int(matrix[1:].sum()) / pixels if pixels else None
