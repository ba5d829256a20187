"""Track 3: score maps against foreground masks and boxes.

Two maps of an image are scored. The submitted one is of the predicted class: peak IoU, PxAP. The one of the true class,
where a label is known: GT-known Loc, MaxBoxAccV2, and `peak_iou_gt_known` and `pxap_gt_known`, as papers on
localization report them.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError
from pipeline.core.manifest import Record
from pipeline.core.truth import has_foreground, read_foreground
from pipeline.evaluate.baselines import all_foreground_iou, center_disc
from pipeline.evaluate.boxes import BoxAccuracy
from pipeline.evaluate.image_counts import ImageCounts, crf_intervals
from pipeline.evaluate.intervals import as_list
from pipeline.evaluate.losses import LOCALIZATION_LOSSES, localization_losses
from pipeline.evaluate.peak_iou import LEVELS, PeakIoU, ScoreCounts, compact, count_scores
from pipeline.evaluate.scorer import Cell, Context, ImageRow, Prediction
from pipeline.evaluate.settings import EvaluateSettings


class CountsOfMaps:
    """`count_scores` of several maps of one image; a map that is scored several times is counted once."""

    def __init__(self, mask: NDArray[np.bool_], ignored: NDArray[np.bool_], image_id: str) -> None:
        self.mask, self.image_id = mask, image_id
        self.ignored = ignored if ignored.any() else None
        self._known: list[tuple[NDArray[np.uint8], ScoreCounts]] = []

    def of(self, score: NDArray[np.uint8]) -> ScoreCounts:
        """The counts of a map; of one map always the same object, so that states share its memory."""
        for known, counts in self._known:
            if known is score:
                return counts
        counts = compact(count_scores(score, self.mask, self.ignored, self.image_id))
        self._known.append((score, counts))
        return counts


class LocalizationScorer:
    """Peak IoU, PxAP and, where boxes and labels are known, box accuracies: before the CRF, after it, and of a centered
    disc."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.before, self.after = PeakIoU(room=context.images), PeakIoU(room=context.images)
        of_each = context.settings.average == "mean"  # else pooled peaks alone are asked for of these three
        self.disc = PeakIoU(of_each)
        self.known_before, self.known_after = PeakIoU(of_each), PeakIoU(of_each)  # of the true class's maps
        self.boxes_before = BoxAccuracy(context.settings.box_iou)
        self.boxes_after = BoxAccuracy(context.settings.box_iou)
        self.boxes_disc = BoxAccuracy(context.settings.box_iou)
        self.tops: dict[str, int] = {}  # most probable class index by image id
        self.pairs: Counter[tuple[int, int]] = Counter()  # images by class index: of the label, predicted
        self.truth_from_boxes = 0  # images without a mask, scored against their filled boxes
        self.boxes_without_label = 0  # images with boxes whose true class is not known

    def has_truth(self, record: Record) -> bool:
        """Whether there is a mask or a box."""
        return has_foreground(record)

    def accumulate(self, record: Record, prediction: Prediction) -> None:
        """Add one image.

        Raises:
            DataError: if its truth cannot be read
            ScoreError: if the score maps do not fit it, or that of its label is missing
        """
        mask, ignored = self.read_truth(record)
        counts = CountsOfMaps(mask, ignored, record.id)
        disc = center_disc((mask.shape[0], mask.shape[1]))
        for state, score in ((self.before, prediction.before), (self.after, prediction.after), (self.disc, disc)):
            state.add(counts.of(score), record.id)
        self.tops[record.id] = prediction.top
        if record.labels:
            label = prediction.top if prediction.top in record.labels else record.labels[0]
            self.pairs[label, prediction.top] += 1
        self.truth_from_boxes += record.mask is None
        if prediction.of_label is None:
            if record.labels:
                raise ScoreError(
                    f"{record.id}: expected a prediction from the map of its label, for GT-known Loc, found none; "
                    "likely maps of an earlier version, `dvc repro -f` makes them again"
                )
            self.boxes_without_label += bool(record.boxes)
            return
        before, after = prediction.of_label
        self.known_before.add(counts.of(before), record.id)
        self.known_after.add(counts.of(after), record.id)
        if record.boxes:
            self.boxes_before.accumulate(before, record.boxes, record.id, prediction.top_is_right)
            self.boxes_after.accumulate(after, record.boxes, record.id, prediction.top_is_right)
            self.boxes_disc.accumulate(disc, record.boxes, record.id, prediction.top_is_right, is_nested=True)

    def read_truth(self, record: Record) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The foreground and the ignored pixels of an image, see `read_foreground`. Shapes: (H, W) and (H, W)"""
        return read_foreground(record, self.context.mask_kind)

    def merge(self, other: "LocalizationScorer") -> None:
        """Add the images of another state."""
        self.before.merge(other.before)
        self.after.merge(other.after)
        self.disc.merge(other.disc)
        self.known_before.merge(other.known_before)
        self.known_after.merge(other.known_after)
        self.boxes_before.merge(other.boxes_before)
        self.boxes_after.merge(other.boxes_after)
        self.boxes_disc.merge(other.boxes_disc)
        self.tops.update(other.tops)
        self.pairs.update(other.pairs)
        self.truth_from_boxes += other.truth_from_boxes
        self.boxes_without_label += other.boxes_without_label

    def metrics(self) -> dict[str, Any]:
        """All scores by name; those of the CRF's result at the top, the others in `before_crf`."""
        settings = self.context.settings
        intervals = crf_intervals(self.image_counts(), "localization", settings)
        return {
            "images": self.after.images,
            "images_without_foreground": len(self.after.without_foreground),
            "images_with_boxes": self.boxes_after.images + self.boxes_without_label,
            "images_with_boxes_without_label": self.boxes_without_label,
            "truth_from_boxes": self.truth_from_boxes,
            "pixels": self.after.pixels,
            "ignored_pixels": self.after.ignored_pixels,
            "comparison": settings.comparison,
            "average": settings.average,
            **peak_scores(self.after, settings),
            "peak_iou_interval": as_list(intervals.second),
            "crf_gain_interval": as_list(intervals.difference),
            "iou_lost": self._losses(),
            **known_scores(self.known_after, settings),
            **self._box_scores(self.boxes_after),
            **self._baselines(),
            "before_crf": {
                **peak_scores(self.before, settings),
                "peak_iou_interval": as_list(intervals.first),
                **known_scores(self.known_before, settings),
                **self._box_scores(self.boxes_before),
            },
        }

    def _losses(self) -> dict[str, float | None]:
        """At the threshold where the IoU that ranks is highest."""
        settings = self.context.settings
        peak = peak_scores(self.after, settings)["peak_threshold"]
        if peak is None:
            return dict.fromkeys(LOCALIZATION_LOSSES)
        return localization_losses(self.after.image_counts(), int(peak), settings.comparison, settings.average)

    def _box_scores(self, state: BoxAccuracy) -> dict[str, float | int | None]:
        """None for each score where there are boxes, but no label that says whose map is to be right."""
        return box_scores(state) or dict.fromkeys(BOX_SCORES if self.boxes_without_label else ())

    def _baselines(self) -> dict[str, Any]:
        disc = {"peak_iou": _ranked_peak(self.disc, self.context.settings), **box_scores(self.boxes_disc)}
        wanted = ("peak_iou", "gt_known_loc", "top1_loc", "max_box_acc_v2")
        average = self.context.settings.average
        return {
            "all_foreground_iou": all_foreground_iou(self.after, average) if self.after.has_foreground else None,
            **{f"center_disc_{name.removeprefix('peak_')}": disc[name] for name in wanted if name in disc},
        }

    def note(self) -> str | None:
        """Say so if there are masks but no foreground in them, or boxes but no labels."""
        if self.after.images and not self.after.has_foreground:
            return (
                f"no foreground pixel in the truth of {self.after.images} images: no IoU; likely masks of another "
                "kind, see preprocess.source.masks"
            )
        if self.boxes_without_label and not self.boxes_after.images:
            return (
                f"none of {self.boxes_without_label} val images with boxes has a label: no GT-known Loc and no "
                "MaxBoxAccV2"
            )
        return None

    def table(self) -> list[list[Cell]]:
        """The IoU curves: a row for each threshold, pooled and as the mean over images; no row without foreground."""
        rows: list[list[Cell]] = [["threshold", "before_crf", "after_crf", "before_crf_mean", "after_crf_mean"]]
        if not self.after.has_foreground:
            return rows
        comparison = self.context.settings.comparison
        peaks = (
            self.before.compute(comparison),
            self.after.compute(comparison),
            self.before.compute_mean(comparison),
            self.after.compute_mean(comparison),
        )
        return rows + [[threshold, *(float(peak.curve[threshold]) for peak in peaks)] for threshold in range(LEVELS)]

    def confusion(self) -> list[list[Cell]]:
        """A row for each pair of classes that occurs: how many images of the one were predicted as the other."""
        names = self.context.classes
        rows: list[list[Cell]] = [["truth", "predicted", "images"]]
        return rows + [[names[a], names[b], count] for (a, b), count in sorted(self.pairs.items())]

    def image_counts(self) -> ImageCounts:
        """Of each image, the pixels per score value inside and outside the mask."""
        return ImageCounts(tuple(sorted(self.tops)), self.before.image_counts(), self.after.image_counts())

    def image_rows(self) -> dict[str, ImageRow]:
        """Each image's IoU at the threshold where the pooled IoU of all images peaks, before and after the CRF."""
        comparison = self.context.settings.comparison
        at = [state.compute(comparison).threshold if state.has_foreground else 0 for state in (self.before, self.after)]
        return {
            image_id: ImageRow(
                predicted=self.context.classes[top],
                iou_before=self.before.image_iou(image_id, at[0], comparison),
                iou_after=self.after.image_iou(image_id, at[1], comparison),
                foreground_share=self.after.foreground_share(image_id),
            )
            for image_id, top in self.tops.items()
        }


def peak_scores(state: PeakIoU, settings: EvaluateSettings) -> dict[str, float | int | None]:
    """The peak that ranks, both readings of it, and PxAP; all None without foreground."""
    if not state.has_foreground:
        return dict.fromkeys(("peak_iou", "peak_threshold", "peak_iou_pooled", "peak_iou_mean", "pxap"))
    pooled, mean = state.compute(settings.comparison), state.compute_mean(settings.comparison)
    ranked = pooled if settings.average == "pooled" else mean
    return {
        "peak_iou": ranked.iou,
        "peak_threshold": ranked.threshold,
        "peak_iou_pooled": pooled.iou,
        "peak_iou_mean": mean.iou,
        "pxap": state.compute_pxap(),
    }


def known_scores(state: PeakIoU, settings: EvaluateSettings) -> dict[str, float | None]:
    """Peak IoU and PxAP of the true class's maps; None without foreground, or where no label is known."""
    pxap = state.compute_pxap() if state.has_foreground else None
    return {"peak_iou_gt_known": _ranked_peak(state, settings), "pxap_gt_known": pxap}


def _ranked_peak(state: PeakIoU, settings: EvaluateSettings) -> float | None:
    """The peak that ranks; None without foreground."""
    if not state.has_foreground:
        return None
    compute = state.compute if settings.average == "pooled" else state.compute_mean
    return compute(settings.comparison).iou


BOX_SCORES = ("gt_known_loc", "gt_known_threshold", "top1_loc", "max_box_acc_v2")


def box_scores(state: BoxAccuracy) -> dict[str, float | int | None]:
    """GT-known Loc and its relatives; nothing at all where no image has boxes."""
    if not state.images:
        return {}
    scores = state.compute()
    return dict(
        zip(BOX_SCORES, (scores.gt_known_loc, scores.threshold, scores.top1_loc, scores.max_box_acc_v2), strict=True)
    )
