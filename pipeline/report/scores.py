"""Metrics to the numbers of the page: the ranking score with its baselines, the other scores, the classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.metrics import COUNTS, Metric, interval_of, metrics_of, named_baselines
from pipeline.report.formatting import Row, get, number, number_table
from pipeline.report.results import Results

_PSEUDO_LABELS = {  # the numbers of `metrics.json`, `pseudo_labels`, by key
    "precision": "precision of the foreground",
    "recall": "recall of the foreground",
    "iou": "IoU of the foreground",
    "mean_iou": "mean IoU of the pixels that are a target",
    "ignored_share": "share of pixels that are no target",
}
_TARGETS = {"before": "without CRF", "after": "with CRF", "walked": "random walk, with CRF"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a comparison; `kind` is a CSS class."""

    name: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Card:
    """One score: after the CRF, before it, and the baselines, as bars."""

    name: str
    about: str
    value: float | None
    before: float | None
    bars: list[Bar]
    interval: str = ""  # of the value over images, as people read it; empty where metrics.json has none
    gain_interval: str = ""  # of what the CRF changed

    @property
    def gain(self) -> str:
        """What the CRF changed, with its sign; empty if unknown.

        >>> Card("", "", 0.75, 0.5, []).gain
        '+0.250'
        """
        return "" if self.value is None or self.before is None else f"{self.value - self.before:+.3f}".replace("-", "−")


@dataclass(frozen=True, slots=True)
class Headline:
    """The first section of the page.

    Attributes:
        hero: the ranking score
        about: what it measures, averaged how, at which threshold
        cards: the other scores that are known
        numbers: every number of metrics.json: (key, value, value before the CRF)
        counts: how much was scored: (number, what it counts)
        scored: whether any image was
    """

    hero: Card
    about: str
    cards: list[Card]
    numbers: list[tuple[str, Any, Any]]
    counts: list[tuple[int, str]]
    scored: bool


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Track 1: one class; None where it is in neither truth nor prediction."""

    id: str
    name: str
    after: float | None
    before: float | None
    truth: int  # pixels
    predicted: int  # pixels


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


def headline(results: Results) -> Headline:
    """The ranking score with its baselines, the other scores as cards, every number in a table, and how much was
    scored."""
    metrics, (first, *others) = results.metrics, metrics_of(results.track.task)
    ranked_by = str(metrics.get("average", metrics.get("classes")))
    chosen = next((metric for metric in others if metric.setting == ranked_by), None)
    threshold = metrics.get("peak_threshold")
    reached = "" if threshold is None else f"reached at threshold {threshold}"
    about = [first.about, chosen.about if chosen else "", reached]
    cards = [_card(metric, metrics) for metric in others if metric.higher_is_better and metric != chosen]
    return Headline(
        hero=_card(first, metrics, _range(metrics, first.key), _range(metrics, "crf_gain", "+.3f")),
        about=", ".join(text for text in about if text),
        cards=[card for card in cards if card.bars],
        numbers=number_table(metrics),
        counts=[(metrics[key], name) for key, name in COUNTS.items() if number(metrics.get(key))],
        scored=bool(number(metrics.get("images"))),
    )


def _range(metrics: Mapping[str, Any], key: str, form: str = ".3f") -> str:
    """The interval beside a number of metrics.json; empty if there is none.

    >>> _range({"iou_interval": [0.79, 0.845]}, "iou"), _range({"gain_interval": [-0.01, 0.02]}, "gain", "+.3f")
    ('0.790 to 0.845', '−0.010 to +0.020')
    """
    ends = interval_of(metrics, key)
    return f"{ends[0]:{form}} to {ends[1]:{form}}".replace("-", "−") if ends else ""


def _card(metric: Metric, metrics: Mapping[str, Any], interval: str = "", gain_interval: str = "") -> Card:
    value, before = number(metrics.get(metric.key)), number(get(metrics, "before_crf", metric.key))
    baselines = [(name, number(metrics.get(key)), "baseline") for key, name in named_baselines(metric)]
    first = number(get(metrics, "first_stage", metric.key))
    every = [("with CRF", value, "after"), ("without CRF", before, "before"), ("first stage", first, "before")]
    every += baselines
    bars = [Bar(name, known, kind) for name, known, kind in every if known is not None]
    return Card(metric.title, metric.about, value, before, bars, interval, gain_interval)


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


def class_table(results: Results) -> list[ClassRow]:
    """Track 1: a row for each class, the best IoU first, classes that are nowhere last."""
    rows = [_class_row(row) for row in results.table]
    return sorted(rows, key=lambda row: (row.after is None, -(row.after or 0.0), int(row.id)))


def _class_row(row: Row) -> ClassRow:
    return ClassRow(
        id=row["class_id"],
        name=row["name"],
        after=number(row.get("iou_after")),
        before=number(row.get("iou_before")),
        truth=int(number(row.get("truth_pixels")) or 0),
        predicted=int(number(row.get("predicted_pixels")) or 0),
    )
