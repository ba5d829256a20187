"""How good the targets of the student are: refined predictions of split train against its truth, for a diagnosis only.

The targets of a random walk are compared, too. No number made here ranks or chooses anything, and the masks of split
train are read for nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import decode_png
from pipeline.core.manifest import MaskKind, Record, read_manifest
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.core.store import Arrays, Store
from pipeline.core.tracks import Track
from pipeline.core.truth import IGNORE_INDEX, has_foreground, has_label_map, read_foreground, read_label_map
from pipeline.evaluate.mean_iou import compute_segmentation, confusion_matrix
from pipeline.evaluate.peak_iou import count_scores
from pipeline.evaluate.run import CHUNK, read_arrays
from pipeline.student.target_rules import counted_scores, has_target, stored_target
from pipeline.student.target_settings import TargetSettings

FOREGROUND_FROM = 128  # Track 3: the lowest score whose p = score / 255 is at least 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker needs: small, so that only paths and rows of the manifest travel."""

    track: Track
    classes: int
    mask_kind: MaskKind
    store: Path
    targets: TargetSettings

    def has_truth(self, record: Record) -> bool:
        """Whether the truth of the image is known as the track needs it."""
        return has_foreground(record) if self.track.task == "localization" else has_label_map(record, self.mask_kind)


@dataclass(frozen=True, slots=True, eq=False)
class PixelCounts:
    """Pixels whose truth is known, of one prediction of some images; adding them in any order gives the same.

    Attributes:
        known: all of them
        ignored: those that do not count as a target
        true: foreground in the truth
        predicted: foreground in the prediction
        both: foreground in both
        confusion: Track 1, of those that count as a target: [truth, prediction]. Shape: (K + 1, K + 1); Track 3: (0, 0)
    """

    known: int
    ignored: int
    true: int
    predicted: int
    both: int
    confusion: NDArray[np.int64]

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            self.known + other.known,
            self.ignored + other.ignored,
            self.true + other.true,
            self.predicted + other.predicted,
            self.both + other.both,
            self.confusion + other.confusion,
        )

    def scores(self) -> dict[str, float | None]:
        """Precision, recall and IoU of the foreground, the ignored share, and in Track 1 the mean IoU; None for 0 / 0.

        The foreground is that of all known pixels, the mean IoU that of the pixels that count as a target, over the
        classes in truth or prediction, background among them.
        """
        found = {
            "precision": _share(self.both, self.predicted),
            "recall": _share(self.both, self.true),
            "iou": _share(self.both, self.true + self.predicted - self.both),
            "ignored_share": _share(self.ignored, self.known),
        }
        if not self.confusion.size:
            return found
        return {**found, "mean_iou": compute_segmentation(self.confusion).mean_iou if self.confusion.any() else None}


Pair = tuple[PixelCounts, PixelCounts]  # before the CRF and after it


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def count_score_map(
    score: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    targets: TargetSettings,
    image_id: str,
) -> PixelCounts:
    """Track 3: the pixels of one score map, whose foreground is p >= 0.5 with p = score / 255.

    Args:
        score: 0..255. Shape: (H, W)
        inside: the foreground of the truth. Shape: (H, W)
        ignored: pixels whose truth is not known. Shape: (H, W)
        targets: pixels with low < p < high are not a target
        image_id: named in errors

    Raises:
        ScoreError: if a dtype is another one, or the shapes differ
    """
    known = count_scores(score, inside, ignored, image_id)[:2]  # (2, 256): inside and outside, per score value
    predicted = known[:, FOREGROUND_FROM:].sum(axis=1)  # (2,)
    return PixelCounts(
        known=int(known.sum()),
        ignored=int(known[:, ~counted_scores(targets)].sum()),
        true=int(known[0].sum()),
        predicted=int(predicted.sum()),
        both=int(predicted[0]),
        confusion=np.zeros((0, 0), np.int64),
    )


def count_label_map(
    label_map: NDArray[np.uint8], truth: NDArray[np.uint8], counts: NDArray[np.bool_], classes: int, image_id: str
) -> PixelCounts:
    """Track 1: the pixels of one label map, whose foreground is every class but the background.

    Args:
        label_map: class ids 0..K. Shape: (H, W)
        truth: class ids 0..K, 255 where it is not known. Shape: (H, W)
        counts: pixels that count as a target. Shape: (H, W)
        classes: K
        image_id: named in errors

    Raises:
        ScoreError: as `confusion_matrix`
    """
    known = confusion_matrix(truth, label_map, classes, image_id)
    counted = confusion_matrix(np.where(counts, truth, np.uint8(IGNORE_INDEX)), label_map, classes, image_id)
    return PixelCounts(
        known=int(known.sum()),
        ignored=int(known.sum() - counted.sum()),
        true=int(known[1:].sum()),
        predicted=int(known[:, 1:].sum()),
        both=int(known[1:, 1:].sum()),
        confusion=counted,
    )


def score_pseudo_labels(
    manifest_path: Path,
    store: Path,
    targets: TargetSettings,
    track: Track,
    jobs: int = 1,
    walked: Path | None = None,
) -> dict[str, Any] | None:
    """Score the refined predictions that the student learns from, with the CRF and without it, and what a random walk
    made of them.

    Args:
        manifest_path: table of the images and their truth; only split train is read
        store: refined predictions of split train: per image `before` and `after`, in Track 1 also `foreground` or
            `target`
        targets: which pixels count as a target
        track: decides what a prediction is
        jobs: processes; -1: all cores
        walked: the targets of the first round after a random walk, as `store`; empty without one

    Returns:
        `images` that were scored and `images_without_truth`, both among those that the student learns from; under
        `before` and `after`, without and with the CRF, what `PixelCounts.scores` says. In Track 1, `before` has no
        ignored share, as no probability is stored of it, and its mean IoU is over the pixels that count in `after`.
        `walked`, where there was a random walk, is the `after` of its store, for the same images.
        None if no image has both a prediction and truth.

    Raises:
        DataError: if a mask cannot be read or does not fit its image
        ScoreError: if a prediction does not fit the truth
        StoreError: if a store is missing or damaged, or lacks an array or an image
    """
    manifest = read_manifest(manifest_path, ("train",))
    plan = Plan(track, len(manifest.classes), manifest.mask_kind, store, targets)
    one_label = track.task == "localization"
    learned = [
        record for record in manifest.with_ids(Store(store).ids) if has_target(record.labels, one_label=one_label)
    ]
    scored = [record for record in learned if plan.has_truth(record)]
    if not scored:
        return None
    before, after = (counts.scores() for counts in _count_all(plan, scored, jobs))
    if track.task == "segmentation":
        before["ignored_share"] = None  # the stored probability is that after the CRF
    without = len(learned) - len(scored)
    found = {"images": len(scored), "images_without_truth": without, "before": before, "after": after}
    if walked is None or not len(Store(walked)):
        return found
    return {**found, "walked": _count_all(replace(plan, store=walked), scored, jobs)[1].scores()}


def _count_all(plan: Plan, records: Sequence[Record], jobs: int) -> Pair:
    """Count the images in the store of the plan."""
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    if len(chunks) == 1:  # starting processes would take longer than counting
        return count_images(plan, records)
    parts = in_processes(partial(count_images, plan), chunks, jobs)
    return _total(progress(parts, total=len(chunks), title="pseudo labels", unit="part"))


def count_images(plan: Plan, records: Sequence[Record]) -> Pair:
    """Count at least one image, before and after the CRF: one piece of work, in a process of its own."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    store, count = Store(plan.store), _count_scores if plan.track.task == "localization" else _count_labels
    return _total(count(plan, store, record) for record in records)


def _total(parts: Iterable[Pair]) -> Pair:
    """The sum, one part after the other: a confusion matrix for each of many images would fill the memory."""
    return reduce(lambda total, part: (total[0] + part[0], total[1] + part[1]), parts)


def _count_scores(plan: Plan, store: Store, record: Record) -> Pair:
    before, after = _decode(store, record.id, ("before", "after"))
    inside, ignored = read_foreground(record, plan.mask_kind)
    count = partial(count_score_map, inside=inside, ignored=ignored, targets=plan.targets, image_id=record.id)
    return count(before), count(after)


def _count_labels(plan: Plan, store: Store, record: Record) -> Pair:
    before, after = _decode(store, record.id, ("before", "after"))
    truth = read_label_map(record, plan.mask_kind, plan.classes)
    learned = stored_target(_with_certainty(store, record.id), record.id, record.labels, plan.targets)
    counts = learned != IGNORE_INDEX
    count = partial(count_label_map, truth=truth, counts=counts, classes=plan.classes, image_id=record.id)
    return count(before), count(np.where(counts, learned, after))  # a target of its own can name another class


def _with_certainty(store: Store, image_id: str) -> Arrays:
    """The arrays of an image, one of which says which pixels are certain."""
    stored = store.read(image_id)
    return stored if "target" in stored else read_arrays(store, image_id, ("after", "foreground"))


def _decode(store: Store, image_id: str, names: Sequence[str]) -> list[NDArray[np.uint8]]:
    arrays = read_arrays(store, image_id, names)
    return [decode_png(arrays[name], f"{store.folder}: {image_id}/{name}") for name in names]
