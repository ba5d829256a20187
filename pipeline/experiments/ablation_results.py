"""The results of an ablation: numbers over the seeds, the rows of its tables, the contents of `results.json`."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.tracks import get_track
from pipeline.evaluate.metrics import Task

Number = int | float


@dataclass(frozen=True, slots=True)
class Summary:
    """One number over the seeds.

    Attributes:
        mean: over the seeds
        spread: standard deviation between seeds, sqrt(sum (x - mean)^2 / (n - 1)); None for a single one
        values: of each seed
    """

    mean: float
    spread: float | None
    values: tuple[Number, ...]

    def show(self, digits: int = 4, signed: bool = False) -> str:
        """Mean ± spread.

        >>> Summary(0.86149, 0.004, ()).show(), Summary(0.02, None, ()).show(signed=True)
        ('0.8615 ± 0.0040', '+0.0200')
        """
        text = f"{self.mean:{'+' if signed else ''}.{digits}f}"
        return text if self.spread is None else f"{text} ± {self.spread:.{digits}f}"


def summarize(values: Iterable[Number]) -> Summary:
    """Mean and spread of one number over the seeds, at least one.

    >>> summarize([1, 3, 5]).spread, summarize([0.5]).spread
    (2.0, None)
    """
    known = tuple(values)
    return Summary(math.fsum(known) / len(known), statistics.stdev(known) if len(known) > 1 else None, known)


@dataclass(frozen=True, slots=True)
class PartGain(Summary):
    """What one part adds to the ranking score, over all combinations of the other parts.

    Attributes:
        smallest: over the combinations, of the mean over the seeds
        largest: the same
    """

    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One row of a table.

    Attributes:
        title: for people to read
        parts: which of `PARTS` are on
        output: `refine.output`
        published: the authors' score
        scores: by key; what is not known of every seed is left out
        gain: of the ranking score over the row before, seed by seed
    """

    title: str
    parts: tuple[bool, ...]
    output: str
    published: float | None
    scores: dict[str, Summary]
    gain: Summary | None = None

    @property
    def crf(self) -> bool:
        """Whether the scores are those after the CRF."""
        return self.parts[0]


@dataclass(frozen=True, slots=True)
class Tables:
    """The numbers of an ablation.

    Attributes:
        images: scored, of split val
        groups: rows by table
        parts: gains by part, if all combinations were run
        baselines: scores of predictions that use no map, by key
        classification_accuracy: by pooling, `GAP` and `TAP`
        why: numbers of the diagnosis, by pooling and by their place in diagnostics.json
    """

    images: int
    groups: dict[str, tuple[ScoredRow, ...]]
    parts: dict[str, PartGain]
    baselines: dict[str, float]
    classification_accuracy: dict[str, Summary]
    why: dict[str, dict[str, Summary]]


@dataclass(frozen=True, slots=True)
class Results(Tables):
    """The numbers of an ablation, and what it was run on: the contents of `results.json`."""

    track: str
    recipe: str
    seeds: tuple[int, ...]
    changes: dict[str, Any] = field(default_factory=dict)  # of keys of the recipe

    @property
    def task(self) -> Task:
        """What the track asks for."""
        return get_track(self.track).task
