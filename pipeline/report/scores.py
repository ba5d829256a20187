"""Metrics to the numbers of the page: the ranking score with its baselines, cards of the others, a table of the
classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.report.formatting import get, number, number_table
from pipeline.report.results import Results


@dataclass(frozen=True, slots=True)
class Metric:
    """A score as the page presents it: its key in metrics.json, a name, a line about it, and predictions without pixels
    beside it."""

    key: str
    name: str
    about: str
    baselines: tuple[tuple[str, str], ...] = ()  # (key, name)


_DISC = "best centered disc"
METRICS: dict[str, tuple[Metric, ...]] = {  # by task; the first one ranks
    "localization": (
        Metric("peak_iou", "Peak IoU", "IoU of {score ≥ t} with the truth at the best t",
               (("center_disc_iou", _DISC), ("all_foreground_iou", "everything foreground"))),
        Metric("peak_iou_pooled", "Peak IoU, pooled", "over all pixels of all images"),
        Metric("peak_iou_mean", "Peak IoU, mean", "mean over the images, at one threshold"),
        Metric("pxap", "PxAP", "area under the precision-recall curve of the pixels"),
        Metric("peak_iou_gt_known", "Peak IoU, true class",
               "of the true class's map, as papers on localization report it"),
        Metric("pxap_gt_known", "PxAP, true class", "of the true class's map"),
        Metric("gt_known_loc", "GT-known Loc", "boxes with IoU ≥ 0.5 around the true class's map",
               (("center_disc_gt_known_loc", _DISC),)),
        Metric("top1_loc", "Top-1 Loc", "the same, and the class is right", (("center_disc_top1_loc", _DISC),)),
        Metric("max_box_acc_v2", "MaxBoxAccV2", "the same for any component, mean over box IoU thresholds",
               (("center_disc_max_box_acc_v2", _DISC),)),
        Metric("classification_accuracy", "Classification accuracy", "most probable class among the labels"),
    ),
    "segmentation": (
        Metric("mean_iou", "Mean IoU", "IoU of each class, pooled over all pixels",
               (("top_class_disc_iou", "top class in a centered disc"), ("top_class_everywhere_iou",
                                                                         "top class everywhere"),
                ("all_background_iou", "everything background"))),
        Metric("mean_iou_with_background", "Mean IoU with background", "background counts as a class"),
        Metric("mean_iou_foreground", "Mean IoU of the classes", "background left out"),
        Metric("pixel_accuracy", "Pixel accuracy", "share of the pixels that are right"),
        Metric("mean_accuracy", "Mean accuracy", "share of a class's pixels found, averaged"),
        Metric("class_precision", "Class precision", "predicted classes that are among the labels"),
        Metric("class_recall", "Class recall", "labels that are among the predicted classes"),
        Metric("classification_accuracy", "Classification accuracy", "most probable class among the labels"),
    ),
}  # fmt: skip
# which reading of the ranking score `average` (Track 3) or `classes` (Track 1) in metrics.json chose
READINGS = {
    "pooled": ("peak_iou_pooled", "pooled over all pixels"),
    "mean": ("peak_iou_mean", "mean over the images"),
    "with_background": ("mean_iou_with_background", "mean over the classes and background"),
    "foreground": ("mean_iou_foreground", "mean over the classes, without background"),
}
COUNTS = {
    "images": "images scored",
    "images_without_truth": "without truth",
    "pixels": "pixels",
    "ignored_pixels": "ignored",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a comparison; `kind` is a CSS class."""

    name: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Card:
    """One score: after the CRF, before it, and predictions that look at no pixel, as bars."""

    name: str
    about: str
    value: float | None
    before: float | None
    bars: list[Bar]

    @property
    def gain(self) -> str:
        """What the CRF changed, with its sign; empty if unknown.

        >>> Card("", "", 0.75, 0.5, []).gain
        '+0.250'
        """
        return "" if self.value is None or self.before is None else f"{self.value - self.before:+.3f}".replace("-", "−")


def headline(results: Results) -> dict[str, Any]:
    """The ranking score with its baselines, the other scores as cards, every number in a table, and how much was
    scored."""
    metrics, known = results.metrics, METRICS[results.track.task]
    chosen, reading = READINGS.get(str(metrics.get("average", metrics.get("classes"))), ("", ""))
    cards = [_card(metric, metrics) for metric in known[1:] if metric.key != chosen]
    threshold = metrics.get("peak_threshold")
    about = [known[0].about, reading, "" if threshold is None else f"reached at threshold {threshold}"]
    return {
        "hero": _card(known[0], metrics),
        "about": ", ".join(text for text in about if text),
        "cards": [card for card in cards if card.bars],
        "numbers": number_table(metrics),
        "counts": [(metrics[key], name) for key, name in COUNTS.items() if number(metrics.get(key))],
        "scored": bool(number(metrics.get("images"))),
    }


def _card(metric: Metric, metrics: Mapping[str, Any]) -> Card:
    value, before = number(metrics.get(metric.key)), number(get(metrics, "before_crf", metric.key))
    baselines = [(name, number(metrics.get(key)), "baseline") for key, name in metric.baselines]
    every = [("with CRF", value, "after"), ("without CRF", before, "before"), *baselines]
    bars = [Bar(name, known, kind) for name, known, kind in every if known is not None]
    return Card(metric.name, metric.about, value, before, bars)


def class_table(results: Results) -> list[dict[str, Any]]:
    """Track 1: a row for each class, the best IoU first, classes that are nowhere last."""
    rows = [
        {
            "id": row["class_id"],
            "name": row["name"],
            "after": number(row.get("iou_after")),
            "before": number(row.get("iou_before")),
            "truth": int(number(row.get("truth_pixels")) or 0),
            "predicted": int(number(row.get("predicted_pixels")) or 0),
        }
        for row in results.table
    ]
    return sorted(rows, key=lambda row: (row["after"] is None, -(row["after"] or 0.0), int(row["id"])))
