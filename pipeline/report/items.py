"""The items of the run's gallery: images, predictions and truth of chosen images, made in several processes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import decode_png, read_rgb, score_to_uint8
from pipeline.core.manifest import MaskKind, Record
from pipeline.core.processes import in_processes
from pipeline.core.store import open_store
from pipeline.core.tracks import Track
from pipeline.core.truth import BACKGROUND, has_foreground, has_label_map, read_foreground_map, read_label_map
from pipeline.evaluate.mean_iou import confusion_matrix
from pipeline.evaluate.segmentation import classes_in
from pipeline.report.choice import chosen_records
from pipeline.report.formatting import Row, column_points, number
from pipeline.report.gallery import Gallery, Item, Kind, Layer, Sort, layer_uri, photo_uri, png_uri, shown_size
from pipeline.report.overlays import Pixels
from pipeline.report.predictions import peak_threshold
from pipeline.report.results import Results
from pipeline.report.settings import ReportSettings

CHUNK = 16  # images in one piece of work
MARKED = 0.1  # of the union: from this share on an image has this kind of error
LEAST_PAIR = 0.001  # of an image's pixels that are confused: with fewer it does not belong to the pair

KINDS = {
    "localization": {
        "class": "wrong class",
        "missed": f"over {MARKED:.0%} missed",
        "false": f"over {MARKED:.0%} false",
    },
    "segmentation": {
        "class_missed": "a class missed",
        "class_false": "a class too many",
        "missed": f"over {MARKED:.0%} missed",
        "false": f"over {MARKED:.0%} false",
        "confused": f"over {MARKED:.0%} confused",
    },
}
NUMBERS = {
    "iou": "IoU",
    "before": "IoU without CRF",
    "gain": "gain of the CRF",
    "share": "the object's share of the image",
    "chance": "probability of the top class",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker needs: paths and settings, no pixels."""

    track: Track
    classes: tuple[str, ...]
    mask_kind: MaskKind
    maps: Path
    predictions: Path
    first: Path | None  # refined maps, where a student predicts
    width: int
    threshold: int
    comparison: str


@dataclass(frozen=True, slots=True)
class Task:
    """One image, and its row of per_image.csv; None where it was not scored."""

    record: Record
    row: Row | None


def gallery_of(results: Results, settings: ReportSettings) -> Gallery:
    """The gallery of a run: at most `settings.images` images, the worst first."""
    plan = _plan(results, settings)
    rows = {row["id"]: row for row in results.per_image}
    tasks = [Task(record, rows.get(record.id)) for record in chosen_records(results, settings.images)]
    items = sorted(_make_all(plan, tasks), key=_first_order)
    scored = any(item.numbers["iou"] is not None for item in items)
    return Gallery(
        layers=_layers(results),
        items=items,
        classes=results.manifest.classes,
        headline="iou" if scored else "",
        headline_title="IoU" if scored else "",
        sorts=_sorts(items),
        numbers=NUMBERS,
        kinds=KINDS[results.track.task],
        colored=not results.localizes,
        threshold=plan.threshold if results.localizes and items else None,
        comparison=plan.comparison,
        pooled=[iou for _, iou in column_points(results.table, "threshold", "after_crf")] or None
        if results.localizes
        else None,
        iou=("prediction", "truth") if scored and results.localizes else None,
        pair_names=("background", *results.manifest.classes),
    )


def _plan(results: Results, settings: ReportSettings) -> Plan:
    return Plan(
        track=results.track,
        classes=results.manifest.classes,
        mask_kind=results.manifest.mask_kind,
        maps=results.maps.folder,
        predictions=results.predictions.folder,
        first=results.refined.folder if results.is_taught else None,
        width=settings.width,
        threshold=peak_threshold(results),
        comparison=str(results.metrics.get("comparison") or ">="),
    )


def _layers(results: Results) -> list[Layer]:
    kind: Kind = "heat" if results.localizes else "labels"
    student = [Layer("first", "first stage", kind)] if results.is_taught else []
    return [
        Layer("image", "image with contour", "photo", contour="prediction"),
        Layer("map", "class activation map", "heat"),
        *student,
        Layer("prediction", "student" if results.is_taught else "refined", kind),
        Layer("truth", "truth", "mask" if results.localizes else "labels"),
        Layer("overlap", "overlap", "overlap", of="prediction", truth="truth"),
    ]


def _sorts(items: Sequence[Item]) -> list[Sort]:
    """The orders that are of use here: by a number that at least one image has."""
    offered = [
        Sort("iou", "worst first"),
        Sort("iou", "best first", descending=True),
        Sort("gain", "the CRF costs most first"),
        Sort("gain", "the CRF gains most first", descending=True),
        Sort("share", "smallest object first"),
        Sort("chance", "least certain first"),
    ]
    known = {key for item in items for key, value in item.numbers.items() if value is not None}
    return [*(sort for sort in offered if sort.key in known), Sort("id", "id")]


def _first_order(item: Item) -> tuple[bool, float, float, str]:
    """As the page orders them at first: the worst first, then those without a score, the least certain first."""
    iou = item.numbers["iou"]
    return iou is None, iou or 0.0, item.numbers["chance"] or 0.0 if iou is None else 0.0, item.id


# --- in other processes -----------------------------------------------------------------------------------------------


def _make_all(plan: Plan, tasks: Sequence[Task]) -> list[Item]:
    chunks = [tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)]
    jobs = -1 if len(chunks) > 2 else 1  # to start processes takes longer than some images
    return [item for part in in_processes(partial(make_items, plan), chunks, jobs) for item in part]


def make_items(plan: Plan, tasks: Iterable[Task]) -> list[Item]:
    """The items of some images: one piece of work, in a process of its own.

    Raises:
        DataError: if an image or a mask cannot be read
        StoreError: if a map or a prediction is missing
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    return [_make_item(plan, task) for task in tasks]


def _make_item(plan: Plan, task: Task) -> Item:
    record = task.record
    stored, png = open_store(plan.maps).read(record.id), _read_png(plan.predictions, record.id)
    image, truth = read_rgb(record.file), _read_truth(plan, record)
    height, width = image.shape[:2]
    size, top, chances = shown_size(width, height, plan.width), _top(stored), stored["probabilities"].astype(float)
    found = _compare(plan, record, top, decode_png(png, f"{plan.predictions}: {record.id}/after"), truth)
    predictions = (
        {"prediction": png} if plan.first is None else {"prediction": png, "first": _read_png(plan.first, record.id)}
    )
    map_ = score_to_uint8(np.clip(stored["maps"][0].astype(np.float32), 0.0, 1.0))
    layers = {"map": map_} if truth is None else {"map": map_, "truth": truth}
    return Item(
        id=record.id,
        size=size,
        images={
            "image": photo_uri(image, plan.width),
            **{name: layer_uri(values, plan.width) for name, values in layers.items()},
            **{name: _stored_uri(data, size == (width, height), plan.width) for name, data in predictions.items()},
        },
        full=size == (width, height),
        split=record.split,
        labels=found.labels,
        predicted=found.predicted,
        chances=[float(chances[index]) for index in found.predicted],
        numbers={**_scores(task.row), "chance": float(chances[top])},
        kinds=found.kinds,
        pairs=found.pairs,
        caption=_caption(task.row),
    )


def _read_png(folder: Path, image_id: str) -> NDArray[np.uint8]:
    """The bytes of a prediction."""
    data: NDArray[np.uint8] = open_store(folder).read(image_id)["after"]
    return data


def _stored_uri(png: NDArray[np.uint8], full: bool, most: int) -> str:
    """As it is stored, where nothing is made smaller: to compress it again takes longer than all else."""
    return png_uri(png.tobytes()) if full else layer_uri(decode_png(png, "a stored prediction"), most)


def _top(stored: Mapping[str, NDArray[Any]]) -> int:
    """The predicted class; stores of earlier versions have the class of the first map only."""
    return int(stored["predicted"][0]) if "predicted" in stored else int(stored["classes"][0])


def _read_truth(plan: Plan, record: Record) -> Pixels | None:
    """Class ids, or 1 on the foreground; 255 where ignored; None without truth. Shape: (H, W)"""
    if plan.track.task == "segmentation":
        known = has_label_map(record, plan.mask_kind)
        return read_label_map(record, plan.mask_kind, len(plan.classes)) if known else None
    if not has_foreground(record):
        return None
    return read_foreground_map(record, plan.mask_kind)


def _scores(row: Row | None) -> dict[str, float | None]:
    after, before, share = (
        number(row.get(name)) if row else None for name in ("iou_after", "iou_before", "foreground_share")
    )
    gain = None if after is None or before is None else after - before
    return {"iou": after, "before": before, "gain": gain, "share": share}


def _caption(row: Row | None) -> str:
    before = number(row.get("iou_before")) if row else None
    return "" if before is None else f"without CRF {before:.3f}"


# --- what is right and wrong in an image ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """Classes of an image by truth and prediction, and what is wrong with it."""

    labels: list[int]
    predicted: list[int]
    kinds: list[str]
    pairs: list[tuple[int, int, float]]


def _compare(plan: Plan, record: Record, top: int, prediction: Pixels, truth: Pixels | None) -> Comparison:
    if plan.track.task == "localization":
        labels = list(record.labels)
        found = prediction > plan.threshold if plan.comparison == ">" else prediction >= plan.threshold
        kinds = [] if not labels or top in labels else ["class"]
        if truth is not None:
            kinds += _area_kinds(confusion_matrix(truth, found.astype(np.uint8), 1, record.id))
        pairs = [] if not labels else [((top if top in labels else labels[0]) + 1, top + 1, 1.0)]
        return Comparison(labels, [top], kinds, pairs)
    predicted = classes_in(prediction)
    if truth is None:
        return Comparison(list(record.labels), predicted, [], [])
    matrix = confusion_matrix(truth, prediction, len(plan.classes), record.id)
    true = classes_in(truth)
    kinds = [kind for kind, some in (("class_missed", set(true) - set(predicted)),
                                     ("class_false", set(predicted) - set(true))) if some]  # fmt: skip
    labels = sorted({*record.labels, *true})
    return Comparison(labels, predicted, [*kinds, *_area_kinds(matrix)], _pairs(matrix))


def _area_kinds(matrix: NDArray[np.int64]) -> list[str]:
    """Kinds of error that take more than `MARKED` of the union of all foreground, of truth and prediction.

    >>> _area_kinds(np.array([[70, 1], [3, 26]]))  # 1 and 3 of 30 pixels
    []
    >>> _area_kinds(np.array([[70, 4], [0, 26]]))
    ['false']
    """
    union = int(matrix.sum() - matrix[BACKGROUND, BACKGROUND])
    missed, false = int(matrix[1:, 0].sum()), int(matrix[0, 1:].sum())
    confused = int(matrix[1:, 1:].sum() - np.trace(matrix[1:, 1:]))
    shares = {"missed": missed, "false": false, "confused": confused}
    return [kind for kind, pixels in shares.items() if pixels > MARKED * union]


def _pairs(matrix: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """(class id in the truth, predicted one, share of the pixels) of the pairs of different classes, the largest first.

    >>> _pairs(np.array([[95, 1, 0], [0, 0, 4], [0, 0, 0]]))
    [(1, 2, 0.04), (0, 1, 0.01)]
    """
    pixels = int(matrix.sum())
    wrong = matrix - np.diag(np.diagonal(matrix))
    places = np.argwhere(wrong >= max(1, LEAST_PAIR * pixels)).tolist()
    pairs = [(truth, found, int(wrong[truth, found]) / pixels) for truth, found in places]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))
