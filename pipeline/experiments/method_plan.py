"""Which training methods are compared, what is searched for each, and which run has which settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.core.reuse import digest

SEARCHED = "butterflies"  # the set on which settings are chosen, by split val and the first seed
PLAIN = "CAM"  # the row whose training the cost is relative to
OURS = {"train.pooling": "tap", "extract.negative_weights": "clamp", "extract.scale": "percentile"}
NOT_OURS = {"train.pooling": "gap", "extract.negative_weights": "keep", "extract.scale": "max"}
RATE = "train.optimizer.learning_rate"

# the same for every method: the head first, then the whole network, a fixed number of epochs, split val alone
BUDGET: dict[str, Any] = {
    "train.backbone.trained": True, "train.checkpoint": "last", "train.views": 1, "train.batch_size": 32,
    "extract.splits": ["val"], "extract.flip": True, "extract.diagnostic_images": 0, "package.split": "val",
    "student.enabled": False,
}  # fmt: skip
SETS: dict[str, dict[str, Any]] = {
    "butterflies": {
        "train.resize": 176, "train.crop": 160, "train.epochs": 3, "train.head_epochs": 30, "extract.sizes": [224],
    },
    "tiny_imagenet": {
        "train.resize": 88, "train.crop": 80, "train.epochs": 1, "train.head_epochs": 10, "extract.sizes": [80],
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, with the trials among which its settings are chosen: four for every row.

    Attributes:
        title: as the table shows it
        method: value of `train.method`
        parts: pooling, negative weights and scale
        trials: keys and values, below the track
    """

    title: str
    method: str
    parts: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]


def _trials(option: str = "", values: tuple[float, ...] = ()) -> tuple[dict[str, Any], ...]:
    """Two values of an option with two learning rates each; without an option, four learning rates."""
    if not option:
        return tuple({RATE: rate} for rate in (0.0005, 0.001, 0.002, 0.004))
    return tuple({RATE: rate, "train.method_options": {option: value}} for value in values for rate in (0.0005, 0.002))


ROWS = (
    Row(PLAIN, "baseline", NOT_OURS, _trials()),
    Row("HaS", "has", NOT_OURS, _trials("probability", (0.25, 0.5))),
    Row("AE", "ae", NOT_OURS, _trials("threshold", (0.6, 0.8))),
    Row("ACoL", "acol", NOT_OURS, _trials("threshold", (0.6, 0.8))),
    Row("ADL", "adl", NOT_OURS, _trials("drop_rate", (0.5, 0.75))),
    Row("CutMix", "cutmix", NOT_OURS, _trials("probability", (0.5, 1.0))),
    Row("BAS", "bas", NOT_OURS, _trials("area", (1.0, 1.5))),
    Row("TAP + NWC + PaS", "baseline", OURS, _trials()),
)


def combined(best: Row) -> Row:
    """A row of a method together with TAP, NWC and PaS; its trials are those of the method."""
    return replace(best, title=f"{best.title} + TAP + NWC + PaS", parts=OURS)


@dataclass(frozen=True, slots=True)
class Run:
    """One training with its maps and scores."""

    title: str
    name: str  # of the set
    seed: int
    changes: Mapping[str, Any]  # keys below the track

    @property
    def key(self) -> str:
        """The name of its folder, the same for the same settings."""
        return f"{self.name}-{digest([self.name, self.seed, dict(self.changes)])[:16]}"


def run_of(row: Row, trial: Mapping[str, Any], name: str, seed: int, brief: Mapping[str, Any]) -> Run:
    """The run of a row with the settings of a trial.

    Args:
        brief: keys that replace those of the budget
    """
    method = {"train.method": row.method, "train.method_options": {}, "train.seed": seed}
    return Run(row.title, name, seed, {**BUDGET, **SETS[name], **method, **row.parts, **trial, **brief})


def search_runs(rows: Sequence[Row], seed: int, brief: Mapping[str, Any]) -> list[Run]:
    """Every trial of every row, in order."""
    return [run_of(row, trial, SEARCHED, seed, brief) for row in rows for trial in row.trials]


def choose(scores: Mapping[str, list[float]]) -> dict[str, int]:
    """The number of the best trial of each row; the first of equal ones.

    >>> choose({"CAM": [0.1, 0.3, 0.3, 0.2]})
    {'CAM': 1}
    """
    return {title: max(range(len(found)), key=lambda n: (found[n], -n)) for title, found in scores.items()}


def best_method(scores: Mapping[str, list[float]]) -> Row:
    """The row of another method than the baseline whose best trial scores highest."""
    others = [row for row in ROWS if row.method != "baseline"]
    return max(others, key=lambda row: max(scores[row.title]))
