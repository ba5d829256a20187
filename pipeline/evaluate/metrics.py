"""Every number of `metrics.json`, described once: for the headline, the report, the ablation, README and docs.

All scores are shares in [0, 1] and higher is better; thresholds are score values 0..255. Those of `before_crf` have the
same names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Task = Literal["localization", "segmentation"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that is computed from predictions and truth.

    Attributes:
        key: in `metrics.json`
        tasks: whose files have it
        label: as people write it in a sentence
        about: what it measures
        baselines: keys of the same score of predictions that use no pixel
        setting: the value of `evaluate.average` or `evaluate.classes` that makes it the ranking score
        in_ablation: whether it is a column of the ablation's tables
        digits: behind the point, in tables
        higher_is_better: None where neither is
    """

    key: str
    tasks: tuple[Task, ...]
    label: str
    about: str
    baselines: tuple[str, ...] = ()
    setting: str = ""
    in_ablation: bool = False
    digits: int = 4
    higher_is_better: bool | None = True

    @property
    def title(self) -> str:
        """The label at the start of a line.

        >>> find("peak_iou").title, find("pxap").title
        ('Peak IoU', 'PxAP')
        """
        return self.label[:1].upper() + self.label[1:]


_LOC: tuple[Task, ...] = ("localization",)
_SEG: tuple[Task, ...] = ("segmentation",)

METRICS: tuple[Metric, ...] = (  # the first one of each task ranks
    Metric("peak_iou", _LOC, "peak IoU", "IoU of {score ≥ t} with the truth at the best t",
           ("center_disc_iou", "all_foreground_iou"), in_ablation=True),
    Metric("peak_iou_pooled", _LOC, "peak IoU, pooled", "pooled over the pixels of all images", setting="pooled"),
    Metric("peak_iou_mean", _LOC, "peak IoU, mean over images", "mean over the images, at one threshold",
           setting="mean", in_ablation=True),
    Metric("pxap", _LOC, "PxAP", "area under the precision-recall curve, pooled over the pixels of all images",
           in_ablation=True),
    Metric("peak_iou_gt_known", _LOC, "peak IoU, true class",
           "of the true class's map, as papers on localization report it"),
    Metric("pxap_gt_known", _LOC, "PxAP, true class", "of the true class's map"),
    Metric("gt_known_loc", _LOC, "GT-known Loc",
           "images whose box around the true class's map has IoU ≥ 0.5 with a true box",
           ("center_disc_gt_known_loc",), in_ablation=True),
    Metric("top1_loc", _LOC, "Top-1 Loc", "the same, and the class is right", ("center_disc_top1_loc",),
           in_ablation=True),
    Metric("max_box_acc_v2", _LOC, "MaxBoxAccV2",
           "the same for the box of any component, mean over the thresholds of box IoU",
           ("center_disc_max_box_acc_v2",), in_ablation=True),
    Metric("peak_threshold", _LOC, "peak threshold", "the highest t at which the peak IoU is reached",
           in_ablation=True, digits=0, higher_is_better=None),
    Metric("gt_known_threshold", _LOC, "threshold of GT-known Loc", "the highest t at which it is reached",
           digits=0, higher_is_better=None),
    Metric("mean_iou", _SEG, "mean IoU", "IoU of each class, pooled over all pixels",
           ("top_class_disc_iou", "top_class_everywhere_iou", "all_background_iou"), in_ablation=True),
    Metric("mean_iou_with_background", _SEG, "mean IoU with background",
           "mean over the classes, background among them", setting="with_background"),
    Metric("mean_iou_foreground", _SEG, "mean IoU without background", "mean over the classes, background left out",
           setting="foreground", in_ablation=True),
    Metric("pixel_accuracy", _SEG, "pixel accuracy", "share of the pixels of all images that are right",
           in_ablation=True),
    Metric("mean_accuracy", _SEG, "mean accuracy", "share of each class's pixels that are found, mean over the classes",
           in_ablation=True),
    Metric("class_precision", _SEG, "class precision",
           "share of the predicted classes that are among the labels, over all images", in_ablation=True),
    Metric("class_recall", _SEG, "class recall",
           "share of the labels that are among the predicted classes, over all images", in_ablation=True),
    Metric("class_f1", _SEG, "class F1", "harmonic mean of class precision and class recall"),
    Metric("classification_accuracy", ("localization", "segmentation"), "classification accuracy",
           "images whose most probable class is among the labels"),
)  # fmt: skip
BASELINES = {  # the same scores of predictions that use no pixel, by key
    "all_foreground_iou": "everything foreground",
    "center_disc_iou": "best centered disc",
    "center_disc_gt_known_loc": "best centered disc",
    "center_disc_top1_loc": "best centered disc",
    "center_disc_max_box_acc_v2": "best centered disc",
    "all_background_iou": "everything background",
    "top_class_everywhere_iou": "top class everywhere",
    "top_class_disc_iou": "top class in a centered disc",
}
COUNTS = {  # what was scored, by key
    "images": "images scored",
    "images_without_truth": "without truth",
    "pixels": "pixels",
    "ignored_pixels": "ignored",
}
NOTES = {  # everything else that `metrics.json` says, by key
    "images_without_foreground": "images whose truth has no foreground",
    "images_with_boxes": "images whose truth has boxes",
    "images_with_boxes_without_label": "images with boxes, but no label that says whose map is to be right",
    "truth_from_boxes": "images whose filled boxes are the truth",
    "labeled_images": "images with a label",
    "classes_from_labels": "images whose labels chose the classes of their maps",
    "classes_present": "how many classes are in truth or prediction, background among them",
    "classes_absent": "class ids in neither, left out of the means",
    "peak_iou_interval": "95 % confidence interval of the peak IoU: lower and upper end, from a bootstrap over images",
    "mean_iou_interval": "the same of the mean IoU",
    "crf_gain_interval": "the same of what the CRF adds to the ranking score, both from the same resamples",
    "iou_lost": "what the ranking IoU loses to each kind of error; with the IoU these shares add up to 1",
    "advice": "steps that lower the ranking score, each with the key that switches it off",
    "comparison": "`evaluate.comparison`",
    "average": "`evaluate.average`",
    "classes": "`evaluate.classes`",
    "note": "why scores are null",
    "before_crf": "the scores without the CRF",
    "first_stage": "the scores of the refined maps, where a student predicts; with `before_crf` of their own",
    "by_class_count": "Track 1: the mean IoU of images with one class in the truth, with two, and so on",
    "several_classes": "Track 1: the same of all images with two classes or more; null without any",
    "pseudo_labels": "what the student learns from, against the truth of split train; never ranks or chooses anything",
}


DVC_METRICS: dict[Task, tuple[str, ...]] = {  # columns of `dvc metrics show` and `dvc exp show`
    "segmentation": ("mean_iou", "pixel_accuracy"),
    "localization": ("peak_iou", "pxap", "max_box_acc_v2"),
}


def find(key: str) -> Metric:
    """The metric with this key; there is one."""
    return next(metric for metric in METRICS if metric.key == key)


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task, the ranking one first."""
    return tuple(metric for metric in METRICS if task in metric.tasks)


def ranking(task: Task) -> Metric:
    """The score that ranks.

    >>> ranking("localization").key, ranking("segmentation").key
    ('peak_iou', 'mean_iou')
    """
    return metrics_of(task)[0]


def scores_for_dvc(metrics: Mapping[str, Any], task: Task) -> dict[str, float]:
    """Contents of `scores.json`: the few scores that compare runs, under names that no other task has, and no settings.

    The ranking score also without the CRF, and that of the first stage where a student predicts.

    >>> found = {"peak_iou": 0.8, "pxap": 0.75, "images": 9, "max_box_acc_v2": None, "before_crf": {"peak_iou": 0.5}}
    >>> scores_for_dvc(found, "localization")
    {'peak_iou': 0.8, 'pxap': 0.75, 'peak_iou_before_crf': 0.5}
    """
    key = ranking(task).key
    found = {name: metrics.get(name) for name in DVC_METRICS[task]}
    for part, name in (("before_crf", f"{key}_before_crf"), ("first_stage", f"{key}_first_stage")):
        found[name] = metrics.get(part, {}).get(key)
    return {name: value for name, value in found.items() if value is not None}


def interval_of(values: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The confidence interval beside a score in `metrics.json` or its `before_crf`; None if there is none.

    >>> interval_of({"peak_iou": 0.8, "peak_iou_interval": [0.75, 0.85]}, "peak_iou"), interval_of({}, "peak_iou")
    ((0.75, 0.85), None)
    """
    ends = values.get(f"{key}_interval")
    return (float(ends[0]), float(ends[1])) if ends else None


def columns_of(task: Task) -> dict[str, Metric]:
    """The columns of the ablation's tables by key, the ranking score first."""
    return {metric.key: metric for metric in metrics_of(task) if metric.in_ablation}


def named_baselines(metric: Metric) -> Iterator[tuple[str, str]]:
    """Key and name of each baseline of a metric."""
    return ((key, BASELINES[key]) for key in metric.baselines)
