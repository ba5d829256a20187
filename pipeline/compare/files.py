"""A comparison as files: `compare.json` for programs, `images.csv` with the IoU of every image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.compare.numbers import Compared, Comparison, verdict
from pipeline.core.files import write_json, write_text
from pipeline.evaluate.intervals import as_list
from pipeline.evaluate.mean_iou import known
from pipeline.evaluate.metrics import find

JSON, TABLE = "compare.json", "images.csv"


def as_json(comparison: Comparison, class_names: Sequence[str]) -> dict[str, Any]:
    """Everything but the curves of Track 3's 256 thresholds, which `table.csv` of each run has.

    Args:
        comparison: of the entrants
        class_names: of the K classes, for the IoU of each in Track 1
    """
    names = ("background", *class_names)
    return {
        "track": comparison.track,
        "metric": comparison.metric,
        "settings": dict(comparison.settings),
        "images": len(comparison.ids),
        "left_out": dict(comparison.left_out),
        "notes": [*comparison.notes, *comparison.choosing],
        "verdicts": [verdict(comparison, place) for place in range(1, len(comparison.entrants))],
        "runs": [_run(one, names if comparison.task == "segmentation" else ()) for one in comparison.entrants],
    }


def _run(one: Compared, class_names: Sequence[str]) -> dict[str, Any]:
    classes = {name: known(value) for name, value in zip(class_names, one.curve.tolist(), strict=False)}
    return {
        "name": one.name,
        "path": one.path,
        "images": one.images,
        "score": one.score,
        "interval": as_list(one.interval),
        "scores": dict(one.scores),
        "difference": one.difference,
        "difference_interval": as_list(one.difference_interval),
        "images_better": one.better,
        "images_worse": one.worse,
        **({"class_iou": classes} if class_names else {}),
    }


def write_files(out: Path, comparison: Comparison, class_names: Sequence[str]) -> None:
    """Write both files into a folder."""
    write_json(out / JSON, as_json(comparison, class_names))
    write_text(out / TABLE, image_table(comparison))


def image_table(comparison: Comparison) -> str:
    """A line for each common image: its IoU with each entrant, empty without foreground; the largest change first."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["id", *(one.name for one in comparison.entrants), "change"])
    changes = comparison.changes  # of all images, computed here once
    for place in most_changed(comparison):
        ious = [one.ious[place] for one in comparison.entrants]
        shown = ["" if np.isnan(iou) else f"{iou:.6f}" for iou in ious]
        rows.writerow([comparison.ids[place], *shown, f"{changes[place]:.6f}"])
    return stream.getvalue()


def most_changed(comparison: Comparison) -> list[int]:
    """The places of all images, that with the largest change first; equal ones by id."""
    return [int(place) for place in np.argsort(-np.abs(comparison.changes), kind="stable")]


def as_text(comparison: Comparison) -> list[str]:
    """Lines for a terminal: a table, then what the differences say."""
    metric, width = find(comparison.metric), max(len(one.name) for one in comparison.entrants)
    lines = [f"{metric.title}, {len(comparison.ids)} images, {comparison.track}"]
    for one in comparison.entrants:
        ends = f" [{one.interval[0]:.4f}, {one.interval[1]:.4f}]" if one.interval else ""
        lines.append(f"  {one.name:<{width}}  {one.score:.4f}{ends}{_against(one)}")
    verdicts = [verdict(comparison, place) for place in range(1, len(comparison.entrants))]
    return [*lines, *verdicts, *comparison.choosing, *comparison.notes]


def _against(one: Compared) -> str:
    if one.difference is None:
        return ""
    ends = one.difference_interval
    told = f" [{ends[0]:+.4f}, {ends[1]:+.4f}]" if ends else ""
    return f"  {one.difference:+.4f}{told}, better on {one.better} images, worse on {one.worse}"
