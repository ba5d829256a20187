"""Score a submission made anywhere: with the functions of the stage `evaluate`, against a folder of masks or boxes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError, SubmissionError
from pipeline.core.manifest import Record
from pipeline.core.parallel import LOKY
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.core.tracks import Track, get_track
from pipeline.core.truth import read_values
from pipeline.evaluate.image_counts import ImageCounts
from pipeline.evaluate.intervals import as_list, box_accuracy_score, interval
from pipeline.evaluate.localization import LocalizationScorer
from pipeline.evaluate.run import CHUNK
from pipeline.evaluate.scorer import Context, Prediction, Scorer
from pipeline.evaluate.segmentation import SegmentationScorer
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.package.contents import Contents, content_problems, content_warnings
from pipeline.package.validate import check_predictions, list_predictions, show_problems
from pipeline.submission.check import CHALLENGE_CLASSES, ids_in, largest_value
from pipeline.submission.class_shift import shift_warning
from pipeline.submission.inversion import inversion_warning
from pipeline.submission.truth import BOXES, Masks, Truth, is_binary, read_truth

CHALLENGE = EvaluateSettings(
    comparison=">=", average="pooled", classes="with_background", box_iou=(0.3, 0.5, 0.7), jobs=-1, parallel=LOKY
)
PIECES = 64  # of work, at most: each reads the list of all files in the zip once
MOST_NAMED = 20  # ids without truth, or without prediction
# keys of metrics.json that a zip says nothing about: another prediction of the same image, its probabilities, labels
_UNKNOWN = {
    "before_crf", "peak_iou_gt_known", "pxap_gt_known", "top1_loc", "center_disc_top1_loc", "class_precision",
    "class_recall", "class_f1", "top_class_everywhere_iou", "top_class_disc_iou", "images_with_boxes_without_label",
    "crf_gain_interval",
}  # fmt: skip
_BOX_NOTE = "gt_known_loc and max_box_acc_v2 take each submitted map as that of the true class"


def score_submission(
    zip: str | Path,
    truth: str | Path,
    track: str,
    classes: int | None = None,
    *,
    masks: Masks = "auto",
    partial: bool = False,
    settings: EvaluateSettings = CHALLENGE,
) -> dict[str, Any]:
    """The board's numbers for a zip made anywhere, under the keys of `metrics.json`.

    Each prediction is checked against the published rules before it is scored; its size has to be that of its mask.
    Like the server, this refuses a zip that lacks an image of the truth, or has one beside it. With `partial` the
    images that have both are scored; the others are counted, and the first of them are named.

    Track 3: `peak_iou`, `peak_threshold`, `peak_iou_pooled`, `peak_iou_mean`, `pxap`, with boxes `gt_known_loc`,
    `gt_known_threshold` and `max_box_acc_v2`, for which each submitted map is taken as that of the true class. Track 1:
    `mean_iou`, `mean_iou_with_background`, `mean_iou_foreground`, `pixel_accuracy`, `mean_accuracy`. Both: the 95 %
    confidence interval of the score that ranks over the images (`peak_iou_interval`, `mean_iou_interval`: the lower and
    the upper end), with boxes also of their accuracies (`gt_known_loc_interval`, `max_box_acc_v2_interval`), baselines
    that use no pixel, counts, and `warnings`: predictions that keep the rules and say nothing, class ids that are all
    one too low or too high, inverted maps. All scores are shares in [0, 1]; formulas: `pipeline.evaluate`.

    Args:
        zip: path of the submission
        truth: folder with `<id>.png` masks of one channel, `boxes.csv` (columns `id` and `boxes`: `x0 y0 x1 y1` in
            inclusive pixels, `;` between several), or both. Images without a mask are scored against their filled boxes
        track: `track1` or `track3`. Track 1 needs masks of class ids, or `classes=1`
        classes: K, largest value of a label map; None: 200, as in Track 1 of the challenge
        masks: `foreground` (object above 128), `labels` (class ids, 255 ignored), or `auto`: see `read_truth`
        partial: score the images that have both a prediction and truth
        settings: which reading of a metric ranks; both are in the result anyway

    Returns:
        scores and counts by name

    Raises:
        SubmissionError: with one line a problem, if the server would refuse the zip
        DataError: if the truth cannot be read
        ScoreError: if no image can be scored

    >>> from tempfile import TemporaryDirectory
    >>> from pipeline.core.archives import write_zip
    >>> from pipeline.core.images import encode_png
    >>> mask = np.array([[0, 255, 255], [0, 0, 0]], np.uint8)
    >>> score = np.array([[0, 200, 200], [0, 200, 9]], np.uint8)  # at 10..200 one pixel too many
    >>> with TemporaryDirectory() as folder:
    ...     (Path(folder) / "truth").mkdir()
    ...     _ = (Path(folder) / "truth" / "a.png").write_bytes(encode_png(mask))
    ...     write_zip(Path(folder) / "mine.zip", [("a.png", encode_png(score))])
    ...     scores = score_submission(Path(folder) / "mine.zip", Path(folder) / "truth", "track3")
    >>> scores["peak_threshold"], round(scores["peak_iou"], 3), round(scores["all_foreground_iou"], 3)
    (200, 0.667, 0.333)
    """
    task, count, path = get_track(track), CHALLENGE_CLASSES if classes is None else classes, Path(zip)
    known = read_truth(Path(truth), masks, task, count, assume=not partial)  # else some masks are not read here
    predicted = ids_in(path)
    try:
        result = _score_zip(path, known, task, classes, predicted if partial else known.sizes.keys(), settings)
    except OtherMasksError:
        known = read_truth(Path(truth), masks, task, count)
        result = _score_zip(path, known, task, classes, known.sizes.keys(), settings)
    scorer, contents = result.scorer, result.contents
    warnings = [*content_problems(contents, task, path.name), *content_warnings(contents), *_truth_warnings(scorer)]
    return {**_scores(scorer, known), **_box_intervals(scorer), **_left_out(known, predicted), "warnings": warnings}


def count_submission(zip: Path, truth: Truth, track: Track, classes: int | None = None) -> ImageCounts:
    """The counts of the images of a zip that have truth: what `score_submission` scores with `partial`.

    Raises:
        SubmissionError: with one line a problem, if the server would refuse the zip
        ScoreError: if no image can be scored
    """
    result = _score_zip(zip, truth, track, classes, ids_in(zip), CHALLENGE)
    counts = result.scorer.image_counts()
    if not counts.ids:
        raise ScoreError(f"{truth.folder}: expected truth of images of {zip.name}, got none; likely of another split")
    return counts


def _score_zip(
    path: Path, truth: Truth, track: Track, classes: int | None, expected: Collection[str], settings: EvaluateSettings
) -> "Result":
    """Check and score a zip that has to hold the expected images."""
    names = tuple(str(number) for number in range(1, (CHALLENGE_CLASSES if classes is None else classes) + 1))
    context = Context(settings, names, truth.mask_kind)
    members, problems = list_predictions(path, expected)
    result = _score_all(Plan(path, truth, track, context, largest_value(track, classes)), members)
    problems += result.problems
    if problems:
        raise SubmissionError(show_problems(problems))
    return result


# --- images to scores -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker needs."""

    zip: Path
    truth: Truth
    track: Track
    context: Context
    largest_value: int

    def scorer(self) -> Scorer:
        """An empty scorer of the track's task."""
        if self.track.task == "segmentation":
            return SegmentationScorer(self.context)
        return (BinaryMasksScorer if self.truth.assumed else LocalizationScorer)(self.context)


class OtherMasksError(Exception):
    """A mask is none of 0 and 255, as was assumed by the first one: all of them have to be looked at first."""


class BinaryMasksScorer(LocalizationScorer):
    """Scores against foreground masks, and makes sure that each of them is one: every mask is decoded once."""

    def read_truth(self, record: Record) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """As of every foreground mask.

        Raises:
            OtherMasksError: if a mask holds other values than 0 and 255
        """
        if record.mask is None:
            return super().read_truth(record)
        values = read_values(record.mask, record)
        if not is_binary(values):
            raise OtherMasksError(record.id)
        return values > 0, np.zeros(values.shape, np.bool_)


@dataclass(slots=True)
class Result:
    """What the predictions hold and score; the scores count only where there is no problem."""

    scorer: Scorer
    contents: Contents = field(default_factory=Contents)
    problems: list[str] = field(default_factory=list)

    def merge(self, other: "Result") -> None:
        """Add what another piece of work has found."""
        self.scorer.merge(other.scorer)
        self.contents.merge(other.contents)
        self.problems += other.problems


def _score_all(plan: Plan, image_ids: Sequence[str]) -> Result:
    size = max(CHUNK, -(-len(image_ids) // PIECES))
    chunks = [image_ids[start : start + size] for start in range(0, len(image_ids), size)]
    if len(chunks) <= 1:  # starting processes would take longer than scoring
        return score_predictions(plan, image_ids)
    total = Result(plan.scorer())
    plans = (replace(plan, truth=plan.truth.select(chunk)) for chunk in chunks)  # only what travels is needed there
    parts = in_processes(_score_task, zip(plans, chunks, strict=True), plan.context.settings.jobs)
    with progress(total=len(image_ids), title="score") as bar:
        for chunk, part in zip(chunks, parts, strict=True):
            total.merge(part)
            bar.update(len(chunk))
    return total


def _score_task(task: tuple[Plan, Sequence[str]]) -> Result:
    return score_predictions(*task)


def score_predictions(plan: Plan, image_ids: Sequence[str]) -> Result:
    """Check some predictions, and score those with truth: one piece of work, in a process of its own.

    Raises:
        ScoreError: in Track 1, if the class of the foreground is not known
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    result = Result(plan.scorer())
    sizes = {image_id: plan.truth.sizes.get(image_id) for image_id in image_ids}
    for image_id, pixels, problem in check_predictions(plan.zip, image_ids, sizes, plan.largest_value, result.contents):
        if problem:
            result.problems.append(problem)
        elif pixels is not None and image_id in plan.truth.sizes:
            _score(plan.truth, result.scorer, image_id, pixels)
    return result


def _score(truth: Truth, scorer: Scorer, image_id: str, pixels: NDArray[np.uint8]) -> None:
    record = truth.record(image_id, (pixels.shape[0], pixels.shape[1]))
    _check_boxes_inside(record)
    if not scorer.has_truth(record):
        raise ScoreError(
            f"{record.file}: expected a mask of class ids, for the mean IoU, got foreground only; Track 1 takes "
            "masks of 0 and 255, and boxes, with classes = 1"
        )
    scorer.accumulate(record, Prediction(pixels, pixels, 0, None, (pixels, pixels)))


def _check_boxes_inside(record: Record) -> None:
    """Refuse a prediction that is smaller than its boxes reach: where no mask says it, its size is the image's.

    Raises:
        ScoreError: naming the box
    """
    for box in record.boxes:
        if box[2] >= record.width or box[3] >= record.height:
            raise ScoreError(
                f"{record.id}: expected a prediction that holds the box {list(box)}, got {record.width} x "
                f"{record.height} pixels; likely it is not of the size of the image"
            )


# --- scores to the result ---------------------------------------------------------------------------------------------


def _scores(scorer: Scorer, truth: Truth) -> dict[str, Any]:
    metrics = scorer.metrics()
    if not metrics["images"]:
        raise ScoreError(f"{truth.folder}: expected truth of predicted images, got none; likely of another split")
    notes = [scorer.note(), _BOX_NOTE if "gt_known_loc" in metrics else None]
    note = "; ".join(filter(None, notes))
    kept = {key: value for key, value in metrics.items() if key not in _UNKNOWN}
    return {**kept, "masks": truth.mask_kind if truth.masks else BOXES, **({"note": note} if note else {})}


def _box_intervals(scorer: Scorer) -> dict[str, Any]:
    """The confidence intervals of the box accuracies, where there are boxes."""
    if not isinstance(scorer, LocalizationScorer) or not scorer.boxes_after.images:
        return {}
    hits = scorer.boxes_after.image_hits()
    parts = {"gt_known_loc": hits[:, :1], "max_box_acc_v2": hits[:, 1:]}
    return {f"{key}_interval": as_list(interval(box_accuracy_score(part), len(hits))) for key, part in parts.items()}


def _truth_warnings(scorer: Scorer) -> list[str]:
    """What only the truth can tell of predictions that keep the rules."""
    found = None
    if isinstance(scorer, SegmentationScorer):
        found = shift_warning(scorer.after.matrix)
    elif isinstance(scorer, LocalizationScorer):
        found = inversion_warning(scorer.after.inside, scorer.after.outside)
    return [found] if found else []


def _left_out(truth: Truth, predicted: Sequence[str]) -> dict[str, Any]:
    without_truth = sorted(set(predicted) - truth.sizes.keys())
    without_prediction = sorted(truth.sizes.keys() - set(predicted))
    return {
        "images_without_truth": len(without_truth),
        "images_without_prediction": len(without_prediction),
        "without_truth": without_truth[:MOST_NAMED],
        "without_prediction": without_prediction[:MOST_NAMED],
    }
