"""Stage `evaluate`: stored predictions and the truth of split val to `metrics.json` and tables."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError, StoreError, sample
from pipeline.core.files import write_json, write_text
from pipeline.core.images import decode_png
from pipeline.core.manifest import Manifest, Record, read_manifest
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.core.store import Store, open_store, submitted
from pipeline.core.tracks import Track
from pipeline.evaluate.advice import advice
from pipeline.evaluate.class_counts import scores_by_class_count, scores_of_several
from pipeline.evaluate.classification import Classification, check_prediction
from pipeline.evaluate.image_counts import IMAGE_COUNTS, ImageCounts, write_image_counts
from pipeline.evaluate.localization import LocalizationScorer
from pipeline.evaluate.metrics import ranking, scores_for_dvc
from pipeline.evaluate.scorer import Cell, Context, Prediction, Scorer
from pipeline.evaluate.segmentation import SegmentationScorer
from pipeline.evaluate.settings import EvaluateSettings

CHUNK = 64  # images in one piece of work

METRICS, TABLE, PER_IMAGE, DIAGNOSTICS = "metrics.json", "table.csv", "per_image.csv", "diagnostics.json"
CONFUSION = "confusion.csv"
SCORES = "scores.json"  # those of metrics.json that DVC shows


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker needs: small, so that only paths and rows of the manifest travel."""

    track: Track
    context: Context
    maps: Path
    refined: Path

    def scorer(self) -> Scorer:
        """An empty scorer of the track's task."""
        return (LocalizationScorer if self.track.task == "localization" else SegmentationScorer)(self.context)


@dataclass(slots=True)
class Result:
    """What one worker found."""

    scorer: Scorer
    classification: Classification
    classes_from_labels: int = 0  # images whose maps are of their labels, not of what was predicted


def evaluate(
    manifest_path: Path,
    maps_store: Path,
    refined_store: Path,
    out_dir: Path,
    settings: EvaluateSettings,
    track: Track,
    student_store: Path | None = None,
    pseudo_labels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score the predictions for split val.

    Images without truth count only for the classification accuracy. Where nothing can be scored (no val image, none
    with truth, or val not among the splits that were extracted) every score is null and `note` says why: the chain goes
    on for whoever has images without masks.

    Args:
        manifest_path: table of the images and their truth
        maps_store: per image `classes` (P,), most probable first, `predicted` (1,) and `known` (1,)
        refined_store: per image `before` and `after`, PNG bytes of the prediction without and with the CRF;
            `label_before` and `label_after` of the true class, where its map is another one
        out_dir: where `metrics.json`, `scores.json`, `table.csv`, `confusion.csv`, `per_image.csv` and
            `image_counts.npz` go, the same for every track
        settings: which readings of the metrics rank, and how many processes work
        track: decides what a prediction is
        student_store: `before` and `after` of the student; empty where it is switched off. If it is not, these
            predictions are scored, and the refined ones beside them, as `first_stage`
        pseudo_labels: what `score_pseudo_labels` found, to stand beside the scores; None: nothing is said

    Returns:
        what stands in `metrics.json`

    Raises:
        DataError: if a mask cannot be read or does not fit its image
        ScoreError: if a prediction does not fit the truth, or the store has some, but not one for each val image
        StoreError: if a store is missing or damaged
    """
    manifest = read_manifest(manifest_path, ("val",))
    predictions = submitted(refined_store, student_store)
    predicted = _with_predictions(manifest, predictions)
    context = Context(settings, manifest.classes, manifest.mask_kind, len(predicted))
    plan = Plan(track, context, maps_store, predictions)
    result = _score_all(plan, predicted)
    metrics = _metrics(result, manifest, predicted)
    counts, first_counts = result.scorer.image_counts(), None
    if predictions != refined_store:
        first = _score_all(replace(plan, refined=refined_store), predicted)
        metrics["first_stage"] = _scores_alone(first.scorer.metrics())
        first_counts = first.scorer.image_counts()
    if track.task == "segmentation":
        metrics["by_class_count"] = scores_by_class_count(counts, settings, first_counts)
        metrics["several_classes"] = scores_of_several(counts, settings, first_counts)
    if pseudo_labels is not None:
        metrics["pseudo_labels"] = dict(pseudo_labels)
    if told := advice(metrics, ranking(track.task).key):
        metrics["advice"] = told
    write_json(out_dir / METRICS, metrics)
    write_json(out_dir / SCORES, scores_for_dvc(metrics, track.task))
    write_text(out_dir / TABLE, to_csv(result.scorer.table()))
    write_text(out_dir / CONFUSION, to_csv(result.scorer.confusion()))
    write_text(out_dir / PER_IMAGE, to_csv(_image_table(result.scorer, predicted, manifest.classes)))
    write_image_counts(out_dir / IMAGE_COUNTS, counts)
    return metrics


def count_predictions(
    manifest: Manifest, maps_store: Path, predictions: Path, settings: EvaluateSettings, track: Track
) -> ImageCounts:
    """The counts of stored predictions for split val, as `evaluate` leaves them in `image_counts.npz`.

    Args:
        manifest: with the rows and the truth of split val at least
        maps_store, predictions: as `evaluate` has them; any of its two stores of predictions

    Raises:
        DataError, ScoreError, StoreError: as `evaluate`
    """
    predicted = _with_predictions(manifest.select("val"), predictions)
    context = Context(settings, manifest.classes, manifest.mask_kind, len(predicted))
    return _score_all(Plan(track, context, maps_store, predictions), predicted).scorer.image_counts()


def describe_scores(metrics: Mapping[str, Any], track: Track) -> dict[str, Any]:
    """Contents of `evaluate.json`: the ranking score and, in Track 3, the threshold and comparison it was reached with.

    Where a student made the predictions, `first_stage` has the threshold of the refined maps.

    >>> from pipeline.core.tracks import get_track
    >>> found = {"peak_iou": 0.5, "peak_threshold": 9, "comparison": ">=", "pixels": 6}
    >>> describe_scores(found, get_track("track3"))
    {'ranking_score': 0.5, 'ranking_score_name': 'peak_iou', 'peak_threshold': 9, 'comparison': '>='}
    >>> both = {**found, "first_stage": {"peak_iou": 0.4, "peak_threshold": 7}}
    >>> describe_scores(both, get_track("track3"))["first_stage"]
    {'peak_threshold': 7}
    """
    score = ranking(track.task).key
    found = {"ranking_score": metrics[score], "ranking_score_name": score}
    if track.task == "segmentation":
        return found
    found |= {"peak_threshold": metrics["peak_threshold"], "comparison": metrics["comparison"]}
    if "first_stage" in metrics:
        found["first_stage"] = {"peak_threshold": metrics["first_stage"]["peak_threshold"]}
    return found


def _scores_alone(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The scores that have a value before and after the CRF, without counts and baselines."""
    before = metrics["before_crf"]
    return {**{name: metrics[name] for name in before}, "before_crf": before}


def _with_predictions(images: Manifest, refined_store: Path) -> Manifest:
    """The images, or none of them if the store is empty (split val was not extracted)."""
    store = Store(refined_store)
    if not len(store):
        return images.part(0, 0)
    if missing := [image_id for image_id in images.ids() if image_id not in store]:
        raise ScoreError(
            f"{refined_store}: expected a prediction for each of {len(images)} val images, missing={sample(missing)}; "
            "likely made from another manifest"
        )
    return images


def _score_all(plan: Plan, images: Manifest) -> Result:
    """Score in the order of the ids, in which counts of each image are wanted: they need not be moved."""
    images = images.sorted()
    starts = range(0, len(images), CHUNK)
    if len(starts) == 1:  # starting processes would take longer than scoring
        return score_images(plan, images)
    total = Result(plan.scorer(), Classification())
    chunks = (list(images.part(start, start + CHUNK)) for start in starts)
    parts = in_processes(partial(score_images, plan), chunks, plan.context.settings.jobs)
    with progress(total=len(images), title="score") as bar:
        for start, part in zip(starts, parts, strict=True):
            total.scorer.merge(part.scorer)
            total.classification.merge(part.classification)
            total.classes_from_labels += part.classes_from_labels
            bar.update(min(CHUNK, len(images) - start))
    return total


def score_images(plan: Plan, records: Iterable[Record]) -> Result:
    """Score some images: one piece of work, in a process of its own."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    maps, refined = open_store(plan.maps), open_store(plan.refined)
    result = Result(plan.scorer(), Classification())
    for record in records:
        stored = read_arrays(maps, record.id, ("classes", "predicted", "known"))
        top = check_prediction(stored["predicted"], len(plan.context.classes), record.id)
        is_right = result.classification.accumulate(top, record.labels)
        result.classes_from_labels += bool(stored["known"][0])
        if result.scorer.has_truth(record):
            result.scorer.accumulate(
                record, _read_prediction(refined, record, int(stored["classes"][0]), top, is_right)
            )
    return result


def _read_prediction(refined: Store, record: Record, first: int, top: int, is_right: bool | None) -> Prediction:
    """The predictions of one image; `first` is the class of its first map."""
    stored = read_arrays(refined, record.id, ("before", "after"))
    before, after = _decode(refined, record, stored, "")
    if refined.about.get("class_agnostic"):  # one map, whichever class the image has
        return Prediction(before, after, top, is_right, (before, after))
    if "label_after" in stored:
        return Prediction(before, after, top, is_right, _decode(refined, record, stored, "label_"))
    return Prediction(before, after, top, is_right, (before, after) if first in record.labels else None)


def _decode(
    refined: Store, record: Record, stored: Mapping[str, NDArray[Any]], prefix: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    before, after = (
        decode_png(stored[f"{prefix}{name}"], f"{refined.folder}: {record.id}/{prefix}{name}")
        for name in ("before", "after")
    )
    return before, after


def read_arrays(store: Store, image_id: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of one image.

    Raises:
        StoreError: also if one of `names` is missing
    """
    arrays = store.read(image_id)
    if missing := [name for name in names if name not in arrays]:
        raise StoreError(
            f"{store.folder}: {image_id}: expected the arrays {list(names)}, missing={missing}; likely the store of "
            "another stage"
        )
    return arrays


def _metrics(result: Result, records: Manifest, predicted: Manifest) -> dict[str, Any]:
    scores = result.scorer.metrics()
    note = result.scorer.note() if scores["images"] else _nothing_to_score(records, predicted)
    by_label = result.classes_from_labels
    if by_label:
        told = (
            f"labels chose the classes of {by_label} images (extract.classes: label): the scores are not those of a "
            "prediction"
        )
        note = f"{note}; {told}" if note else told
    return {
        **scores,
        "images_without_truth": len(records) - scores["images"],
        "classes_from_labels": by_label,
        "labeled_images": result.classification.labeled,
        "classification_accuracy": result.classification.accuracy(),
        **({"note": note} if note else {}),
    }


def _nothing_to_score(records: Manifest, predicted: Manifest) -> str:
    if not len(records):
        return "nothing to score: the manifest has no val image"
    if not len(predicted):
        return (
            f"nothing to score: none of {len(records)} val images has a prediction; likely val is not among "
            "extract.splits"
        )
    return f"nothing to score: none of {len(records)} val images has usable truth (a mask or boxes)"


def _image_table(scorer: Scorer, records: Iterable[Record], classes: Sequence[str]) -> list[list[Cell]]:
    """A row for each scored image, in the order of the manifest; names are joined by `;`."""
    rows = scorer.image_rows()
    table: list[list[Cell]] = [["id", "label", "predicted", "iou_before", "iou_after", "foreground_share"]]
    for record in records:
        if row := rows.get(record.id):
            label = ";".join(classes[index] for index in record.labels)
            table.append([record.id, label, row.predicted, row.iou_before, row.iou_after, row.foreground_share])
    return table


def to_csv(rows: Iterable[Iterable[Cell]]) -> str:
    """Rows as CSV with `\\n` line ends; floats have six decimals, None is empty.

    >>> to_csv([["id", "iou"], ["a,b", 0.5], ["c", None]])
    'id,iou\\n"a,b",0.500000\\nc,\\n'
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in rows:
        writer.writerow([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row])
    return stream.getvalue()
