"""Metrics to the numbers of the page: the ranking score with its baselines, the other scores, the verdict in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.diagnostics_text import conclude
from pipeline.evaluate.intervals import Interval
from pipeline.evaluate.metrics import COUNTS, Metric, interval_of, metrics_of, named_baselines, ranking
from pipeline.report.board import best_published, is_challenge
from pipeline.report.formatting import Row, format_signed, get, number
from pipeline.report.results import Results

_PSEUDO_LABELS = {  # the numbers of `metrics.json`, `pseudo_labels`, by key
    "precision": "precision of the foreground",
    "recall": "recall of the foreground",
    "iou": "IoU of the foreground",
    "mean_iou": "mean IoU of the pixels that are a target",
    "ignored_share": "share of pixels that are no target",
}
_TARGETS = {"before": "without CRF", "after": "with CRF", "walked": "random walk, with CRF"}
LOSSES = {  # of `metrics.json`, `iou_lost`: title and what it is
    "missed": ("missed", "the truth has an object, the prediction background"),
    "surplus": ("surplus", "the prediction has an object, the truth background; false in the overlap"),
    "false": ("false", "the prediction has a class, the truth background"),
    "confused": ("confused", "both have a class, not the same"),
    "border": ("at borders", "any error within 1 % of the image's diagonal of a border of the truth"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a comparison; `kind` is a CSS class."""

    name: str
    value: float
    kind: str
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A score: its value, what it measures, and the same of other predictions in a line each."""

    name: str
    about: str
    value: float
    beside: list[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first section of the page.

    Attributes:
        name: of the ranking score
        value: None where nothing was scored
        interval: over images
        about: what it measures, averaged how, at which threshold
        bars: the score with and without its parts, of predictions that use no pixel, and of the board
        sentences: what follows from the numbers
        counts: how much was scored: (number, what it counts)
    """

    name: str
    value: float | None
    interval: Interval | None
    about: str
    bars: list[Bar]
    sentences: list[str]
    counts: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of the IoU that is lost: `color` is a name of the page's style."""

    name: str
    about: str
    share: float
    color: str


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """What the student learns from, against the truth of split train.

    Attributes:
        images: how many were compared
        without_truth: how many were not
        columns: what each value of a row is of: without the CRF, with it, and after the random walk if there is one
        rows: name, its values
    """

    images: int
    without_truth: int
    columns: list[str]
    rows: list[tuple[str, list[float | None]]]


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The mean IoU of the images with so many classes: without CRF, of the first stage, and as submitted."""

    classes: str
    images: int
    before: float | None
    first_stage: float | None
    score: float | None


# --- verdict ----------------------------------------------------------------------------------------------------------


def verdict(results: Results) -> Verdict:
    """The ranking score beside what it is to be compared with, and what follows."""
    metrics, metric = results.metrics, ranking(results.track.task)
    chosen = _reading(results)
    threshold = metrics.get("peak_threshold")
    reached = "" if threshold is None else f"reached at threshold {threshold}"
    return Verdict(
        name=metric.title,
        value=number(metrics.get(metric.key)),
        interval=interval_of(metrics, metric.key),
        about=", ".join(text for text in (metric.about, chosen.about if chosen else "", reached) if text),
        bars=_bars(results, metric),
        sentences=list(_sentences(results, metric)),
        counts=[(metrics[key], name) for key, name in COUNTS.items() if number(metrics.get(key))],
    )


def _reading(results: Results) -> Metric | None:
    """The metric that equals the ranking one under these settings: pooled or mean, with background or without."""
    ranked_by = str(results.metrics.get("average", results.metrics.get("classes")))
    return next((metric for metric in metrics_of(results.track.task) if metric.setting == ranked_by), None)


def _bars(results: Results, metric: Metric) -> list[Bar]:
    metrics = results.metrics
    parts = [
        ("with CRF", metrics, "after"),
        ("without CRF", metrics.get("before_crf", {}), "before"),
        ("first stage", metrics.get("first_stage", {}), "before"),
    ]
    found = [
        Bar(name, value, kind, interval_of(values, metric.key))
        for name, values, kind in parts
        if (value := number(values.get(metric.key))) is not None
    ]
    found += [Bar(name, value, "baseline") for name, value in baselines(results)]
    if not found:
        return []
    other = "test images" if is_challenge(results.params) else "another data set"
    return [
        *found,
        *(Bar(f"board {best.year}, {other}", best.score, "board") for best in best_published(results.track)),
    ]


def baselines(results: Results) -> list[tuple[str, float]]:
    """Predictions that use no pixel, by name, and their ranking score."""
    named = named_baselines(ranking(results.track.task))
    values = [(name, number(results.metrics.get(key))) for key, name in named]
    return [(name, value) for name, value in values if value is not None]


def _sentences(results: Results, metric: Metric) -> Iterator[str]:
    value = number(results.metrics.get(metric.key))
    if value is not None:
        yield from _compared(results, metric, value)
        yield from _of_losses(results)
    if "p1" in results.diagnosis:
        yield from (text for text in conclude(results.diagnosis).values() if text)


def _compared(results: Results, metric: Metric, value: float) -> Iterator[str]:
    """The score beside predictions that use no pixel, the first stage and the CRF, and the board."""
    if trivial := max(baselines(results), key=lambda pair: pair[1], default=None):
        yield (
            f"{abs(value - trivial[1]):.3f} {'above' if value >= trivial[1] else 'below'} the best prediction that "
            f"looks at no pixel ({trivial[0]}, {trivial[1]:.3f})."
        )
    before = number(get(results.metrics, "before_crf", metric.key))
    if before is not None:
        yield _of_crf(value - before, interval_of(results.metrics, "crf_gain"))
    first = number(get(results.metrics, "first_stage", metric.key))
    if first is not None:
        yield f"The student changes the score of the first stage ({first:.3f}) by {format_signed(value - first)}."
    best = best_published(results.track)
    published = ", ".join(f"{one.score:.3f} ({one.year})" for one in best)
    where = (
        "on its test images, whose truth is not public"
        if is_challenge(results.params)
        else "but on another data set: these numbers are not to be compared with the ones above"
    )
    yield f"The best published results of the challenge are {published}, {where}."


def _of_crf(gain: float, ends: Interval | None) -> str:
    """What the CRF changed, and whether these images can tell.

    >>> _of_crf(0.25, (0.125, 0.5)), _of_crf(0.25, (-0.5, 0.5))
    ('The CRF adds +0.250 (+0.125 to +0.500).', 'The CRF changes +0.250 (−0.500 to +0.500): chance explains it.')
    """
    between = f" ({format_signed(ends[0])} to {format_signed(ends[1])})" if ends else ""
    if ends and ends[0] <= 0 <= ends[1]:
        return f"The CRF changes {format_signed(gain)}{between}: chance explains it."
    return f"The CRF {'adds' if gain >= 0 else 'costs'} {format_signed(gain)}{between}."


def _of_losses(results: Results) -> Iterator[str]:
    parts = losses(results)
    if parts and (total := sum(part.share for part in parts)) > 0:
        largest = max(parts, key=lambda part: part.share)
        part, where = f"the largest part ({largest.share:.3f})", _where(largest.name)
        yield f"Of the {total:.3f} that the IoU lacks to 1, {part} is lost {where}."


def _where(name: str) -> str:
    return name if name == "at borders" else f"to {name} pixels"


def losses(results: Results) -> list[Loss]:
    """What the IoU loses to each kind of error; empty where nothing was scored."""
    colors = {"surplus": "false"}
    found = {key: number(value) for key, value in (results.metrics.get("iou_lost") or {}).items()}
    return [
        Loss(*LOSSES[key], share, colors.get(key, key))
        for key in LOSSES
        if (share := found.get(key)) is not None
    ]  # fmt: skip


# --- cards ------------------------------------------------------------------------------------------------------------


def cards(results: Results) -> list[Card]:
    """The other scores that are known."""
    chosen = _reading(results)
    wanted = [metric for metric in metrics_of(results.track.task)[1:] if metric.higher_is_better and metric != chosen]
    found = [card for metric in wanted if (card := _card(metric, results.metrics))]
    exact = exact_sets(results.per_image)
    if not results.localizes and exact is not None:
        found.append(
            Card("Exact class sets", "images whose predicted classes are the labels, no more, no fewer", exact, [])
        )
    return found


def _card(metric: Metric, metrics: Mapping[str, Any]) -> Card | None:
    value = number(metrics.get(metric.key))
    if value is None:
        return None
    others = [
        ("without CRF", get(metrics, "before_crf", metric.key)),
        ("first stage", get(metrics, "first_stage", metric.key)),
    ]
    others += [(name, metrics.get(key)) for key, name in named_baselines(metric)]
    beside = [f"{name} {other:.3f}" for name, raw in others if (other := number(raw)) is not None]
    return Card(metric.title, metric.about, value, beside)


def exact_sets(per_image: Sequence[Row]) -> float | None:
    """Share of the scored images with labels whose predicted classes equal them; None if there is none.

    >>> exact_sets([{"label": "a;b", "predicted": "b;a"}, {"label": "a", "predicted": "a;b"}])
    0.5
    """
    known = [row for row in per_image if row.get("label")]
    equal = sum(set(row["label"].split(";")) == set(row["predicted"].split(";")) for row in known)
    return equal / len(known) if known else None


# --- images by their number of classes --------------------------------------------------------------------------------


def class_counts(results: Results) -> list[ClassCount]:
    """Track 1: a row for each number of classes that the truth of an image has, and one of all images with several.

    Empty where no image has several, and where all have the same number: the row would repeat the score.
    """
    rows = results.metrics.get("by_class_count") or []
    if len(rows) < 2 or rows[-1]["classes"] < 2:
        return []
    found = [_class_count(str(row["classes"]), row) for row in rows]
    several = results.metrics.get("several_classes")
    if several and sum(row["classes"] > 1 for row in rows) > 1:
        found.append(_class_count("2 or more", several))
    return found


def _class_count(classes: str, row: Mapping[str, Any]) -> ClassCount:
    names = ("mean_iou_before_crf", "mean_iou_first_stage", "mean_iou")
    before, first_stage, score = (number(row.get(name)) for name in names)
    return ClassCount(classes, row["images"], before, first_stage, score)


# --- pseudo labels ----------------------------------------------------------------------------------------------------


def pseudo_labels(results: Results) -> PseudoLabels | None:
    """The quality of the student's targets; None where nothing was compared."""
    found = results.metrics.get("pseudo_labels")
    if not found:
        return None
    scores = {name: found[key] for key, name in _TARGETS.items() if key in found}
    rows = [
        (name, [of_one.get(key) for of_one in scores.values()])
        for key, name in _PSEUDO_LABELS.items()
        if key in found["after"]
    ]
    return PseudoLabels(found["images"], found["images_without_truth"], list(scores), rows)
