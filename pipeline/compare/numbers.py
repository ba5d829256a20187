"""The same images of several entrants: scores, intervals, and differences on the same resamples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.entrants import Entrant
from pipeline.core.errors import ScoreError, sample
from pipeline.evaluate.image_counts import score_of_counts
from pipeline.evaluate.intervals import Interval, Score, percentile_interval, resampled_scores, score_of_all
from pipeline.evaluate.mean_iou import iou_of_counts, mean_of_present
from pipeline.evaluate.metrics import find, ranking
from pipeline.evaluate.nested import nested_choice
from pipeline.evaluate.peak_iou import find_peak, iou_curve

FEWEST_IMAGES = 2  # as in `interval`: resamples of one image are all that image
SEVERAL = 3  # entrants, from which on choosing the best one is a choice
SAME = 0.0005  # of an image's IoU: a smaller change is none

Counts = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What one entrant scores, and how it differs from the first one.

    Attributes:
        name: of it
        path: as given
        images: how many it has
        score: the ranking score of the common images
        interval: of it, 95 % over images
        scores: further numbers of the same images by key of `metrics.json`
        difference: score minus that of the first entrant; None for the first
        difference_interval: of it, both on the same resamples
        better: images whose IoU is higher than the first one's, by more than `SAME`
        worse: the same, lower
        threshold: Track 3: where the images' IoUs are taken, that of the ranking score's peak
        curve: Track 3: IoU at each threshold, as it ranks; Track 1: of each class, NaN where absent. Shape: (256,) or
            (K + 1,)
        ious: of each common image; NaN without foreground. Shape: (N,)
    """

    name: str
    path: str
    images: int
    score: float
    interval: Interval | None
    scores: Mapping[str, float]
    difference: float | None
    difference_interval: Interval | None
    better: int
    worse: int
    threshold: int | None
    curve: NDArray[np.float64]
    ious: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All entrants on their common images.

    Attributes:
        track: name of the track
        task: of it
        metric: key of the ranking score
        settings: how it is read: comparison and average, or classes
        ids: of the common images
        entrants: in the order given
        left_out: how many images of each are not common, by name
        notes: what a reader has to know
        choosing: of three and more: what choosing the best one is worth
        changed: place of the entrant whose change of an image counts; None: of the one that changed it most
    """

    track: str
    task: str
    metric: str
    settings: Mapping[str, str]
    ids: tuple[str, ...]
    entrants: tuple[Compared, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...] = ()
    choosing: tuple[str, ...] = ()
    changed: int | None = None

    @property
    def changes(self) -> NDArray[np.float64]:
        """The change of each image's IoU against the first entrant, with its sign: that of the entrant at `changed`, or
        the largest one. Shape: (N,)"""
        ious = np.nan_to_num(np.stack([one.ious for one in self.entrants]))
        differences = (ious[1:] if self.changed is None else ious[[self.changed]]) - ious[0]
        largest = np.abs(differences).argmax(axis=0)
        return np.asarray(differences[largest, np.arange(differences.shape[1])], np.float64)


def compare(entrants: Sequence[Entrant]) -> Comparison:
    """Score all entrants on the images that all of them have.

    The reading of the ranking score is that of the first one, for all.

    Raises:
        ScoreError: if they have no image in common, or another truth of an image
    """
    ids, left_out, notes = common_images(entrants)
    aligned = [align(one, ids) for one in entrants]
    check_truth(aligned, ids)
    task, settings = entrants[0].track.task, entrants[0].settings
    scores = [score_of_counts(one.counts, task, settings) for one in aligned]
    values = [score_of_all(score, len(ids)) for score in scores]
    resampled = resampled_scores(scores, len(ids)) if len(ids) >= FEWEST_IMAGES else None
    details = [_details(one) for one in (replace(one, settings=settings) for one in aligned)]
    found = []
    for place, (one, value, about) in enumerate(zip(aligned, values, details, strict=True)):
        change = about.ious - details[0].ious
        difference = None if resampled is None else percentile_interval(resampled[place] - resampled[0])
        found.append(
            Compared(
                name=one.name, path=str(one.path), images=len(entrants[place].ids), score=value,
                interval=None if resampled is None else percentile_interval(resampled[place]),
                scores=about.scores, difference=value - values[0] if place else None,
                difference_interval=difference if place else None,
                better=int((change > SAME).sum()), worse=int((change < -SAME).sum()),
                threshold=about.threshold, curve=about.curve, ious=about.ious,
            )
        )  # fmt: skip
    readings = {"comparison": settings.comparison, "average": settings.average}
    return Comparison(
        track=entrants[0].track.name,
        task=task,
        metric=ranking(task).key,
        settings=readings if task == "localization" else {"classes": settings.classes},
        ids=ids,
        entrants=tuple(found),
        left_out=left_out,
        notes=(*notes, *_other_readings(entrants)),
        choosing=tuple(_of_choosing(entrants, scores, len(ids))),
    )


def common_images(entrants: Sequence[Entrant]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """The ids that all have, sorted; how many of each are left out; and what to say of it.

    Raises:
        ScoreError: if there is none
    """
    common = set.intersection(*(set(one.ids) for one in entrants))
    if not common:
        found = {one.name: sample(one.ids) for one in entrants}
        raise ScoreError(f"expected images that all have, got none: {found}; likely other splits or data sets")
    left_out = {one.name: len(one.ids) - len(common) for one in entrants}
    counted = ", ".join(f"{one.name} has {len(one.ids)}" for one in entrants)
    notes = [f"Compared on the {len(common)} images that all have: {counted}."] if any(left_out.values()) else []
    return tuple(sorted(common)), left_out, notes


def align(entrant: Entrant, ids: Sequence[str]) -> Entrant:
    """An entrant with these images alone, in this order."""
    place = {image_id: number for number, image_id in enumerate(entrant.ids)}
    return replace(entrant, ids=tuple(ids), counts=entrant.counts[[place[image_id] for image_id in ids]])


def _classes_hint(first: Entrant, other: Entrant) -> str:
    """What to do about other numbers of classes, where one is that of a zip, which does not say it."""
    runs = [one for one in (first, other) if not one.path.is_file()]
    return f"; a zip does not say how many it has: `--classes {len(runs[0].class_names)}`" if len(runs) == 1 else ""


def check_truth(entrants: Sequence[Entrant], ids: Sequence[str]) -> None:
    """Refuse entrants that were scored against different truth: what differs is then not the prediction alone.

    Compared are the pixels of the truth of each image, in Track 3 foreground and background, in Track 1 of each class.

    Raises:
        ScoreError: naming the first images
    """
    first = _truth_pixels(entrants[0])
    for one in entrants[1:]:
        pixels = _truth_pixels(one)
        if pixels.shape != first.shape:
            raise ScoreError(
                f"expected the classes of {entrants[0].name}, {first.shape[1] - 1}, got {pixels.shape[1] - 1} of "
                f"{one.name}{_classes_hint(entrants[0], one)}"
            )
        differ = np.flatnonzero((pixels != first).any(axis=1)).tolist()
        if differ:
            raise ScoreError(
                f"expected {one.name} to be scored against the truth of {entrants[0].name}, got other pixels in "
                f"{sample([ids[n] for n in differ])}; likely other masks, or images of another size"
            )


def _truth_pixels(entrant: Entrant) -> NDArray[np.int64]:
    """Track 3: pixels inside and outside of the mask; Track 1: of each class. Shape: (N, 2) or (N, K + 1)"""
    counts = entrant.counts.astype(np.int64)
    return counts.sum(axis=2) if entrant.track.task == "localization" else counts[:, 1]


def _other_readings(entrants: Sequence[Entrant]) -> list[str]:
    """Say so where a run itself reads its score in another way."""
    first = entrants[0].settings
    keys = ("comparison", "average") if entrants[0].track.task == "localization" else ("classes",)
    told = []
    for one in entrants[1:]:
        others = {key: getattr(one.settings, key) for key in keys if getattr(one.settings, key) != getattr(first, key)}
        if others:
            told.append(f"{one.name} itself reads its score with {others}; here all are read as {entrants[0].name}.")
    return told


def _of_choosing(entrants: Sequence[Entrant], scores: Sequence[Score], images: int) -> list[str]:
    """Of three and more: what choosing the best one on these images is worth on others."""
    if len(entrants) < SEVERAL:
        return []
    chosen = nested_choice([partial(_itself, score) for score in scores], images)
    if chosen is None:
        return []
    label = ranking(entrants[0].track.task).title
    told = chosen.show(label, entrants[0].name)
    return [f"The best of {len(entrants)} on the images that choose it looks better than it is. {told}"]


def _itself(score: Score) -> Score:
    return score


# --- one entrant ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """Numbers of one entrant beside its ranking score; as in `Compared`."""

    scores: Mapping[str, float]
    threshold: int | None
    curve: NDArray[np.float64]
    ious: NDArray[np.float64]


def _details(entrant: Entrant) -> Details:
    return (_localized if entrant.track.task == "localization" else _segmented)(entrant)


def _localized(entrant: Entrant) -> Details:
    """Curves pooled and as the mean over images, and each image's IoU at the best threshold of the ranking one."""
    comparison, counts = entrant.settings.comparison, entrant.counts.astype(np.int64)
    has_foreground = counts[:, 0].any(axis=1)
    if not has_foreground.any():
        raise ScoreError(f"{entrant.name}: expected foreground pixels in the common images, got none")
    total = counts.sum(axis=0)
    curves = iou_curve(counts[has_foreground, 0], counts[has_foreground, 1], comparison)
    pooled, mean = find_peak(iou_curve(total[0], total[1], comparison)), find_peak(curves.mean(axis=0))
    ranked = pooled if entrant.settings.average == "pooled" else mean
    ious = np.full(len(counts), np.nan)
    ious[has_foreground] = curves[:, ranked.threshold]
    scores = {"peak_threshold": float(ranked.threshold), "peak_iou_pooled": pooled.iou, "peak_iou_mean": mean.iou}
    return Details(scores, ranked.threshold, ranked.curve, ious)


def _segmented(entrant: Entrant) -> Details:
    """IoU of each class, and each image's mean over the classes in its truth or prediction."""
    counts = entrant.counts.astype(np.int64)
    right, truth, predicted = counts.sum(axis=0)
    classes = iou_of_counts(right, truth, predicted)
    each = iou_of_counts(counts[:, 0], counts[:, 1], counts[:, 2])
    scores = {
        "mean_iou_with_background": mean_of_present(classes),
        "mean_iou_foreground": mean_of_present(classes[1:]),
        "pixel_accuracy": float(right.sum() / truth.sum()),
    }
    return Details(scores, None, classes, np.array([mean_of_present(row) for row in each]))


# --- in words ---------------------------------------------------------------------------------------------------------


def verdict(comparison: Comparison, place: int) -> str:
    """What the difference of one entrant to the first says, in a sentence."""
    one, first = comparison.entrants[place], comparison.entrants[0]
    label = find(comparison.metric).label
    assert one.difference is not None
    how = (
        f"{label} of {one.name} is {abs(one.difference):.4f} {'above' if one.difference >= 0 else 'below'} {first.name}"
    )
    if one.difference_interval is None:
        return f"The {how}; one image is too few for an interval."
    low, high = one.difference_interval
    told = f"95 % interval of the difference [{low:+.4f}, {high:+.4f}]"
    if low == high == 0:
        return f"The {label} of {one.name} and of {first.name} are the same on every resample."
    if low <= 0 <= high:
        return f"The {how}; {told}: these {len(comparison.ids)} images do not tell which is better."
    return f"The {how}; {told}: more than other images of this kind would change."
