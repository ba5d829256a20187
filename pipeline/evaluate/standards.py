"""P3 of the diagnostics: the maximum of a map and its percentiles, compared as the standard of the stored maps."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.core.images import score_to_uint8
from pipeline.evaluate.diagnostics_sample import StoredMap
from pipeline.evaluate.peak_iou import PeakIoU
from pipeline.evaluate.phenomena import Floats
from pipeline.extract.scale import apply_standard, find_standard

LEVELS = (75.0, 80.0, 85.0, 90.0, 95.0, 98.0, 99.0, 100.0)  # percentiles; 100 is the maximum


@dataclass(frozen=True, slots=True)
class StandardScores:
    """How one standard does on the sample, before any CRF.

    Attributes:
        percentile: that is the standard; 100 is the maximum
        peak_iou: of the sample, with one threshold for all images
        own_threshold: mean of each image's own best threshold, as a share of the standard
        own_threshold_variation: its coefficient of variation, which one threshold for all images has to bear; None if
            the mean is 0
        maximum_over_standard: mean ratio of the maximum to the standard
    """

    percentile: float
    peak_iou: float
    own_threshold: float
    own_threshold_variation: float | None
    maximum_over_standard: float


@dataclass(slots=True)
class _Trial:
    """The maps of the sample, scaled by one standard."""

    percentile: float
    state: PeakIoU = field(default_factory=PeakIoU)
    thresholds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def add(self, stored: StoredMap) -> None:
        method: Literal["max", "percentile"] = "max" if self.percentile == 100 else "percentile"
        scaled = apply_standard(stored.cam, find_standard(stored.cam, method, self.percentile))
        score = score_to_uint8(np.clip(scaled, 0.0, 1.0))
        self.state.accumulate(score, stored.inside, stored.name, stored.ignored)
        self.ratios.append(float(scaled.max()))
        self.thresholds.append(own_threshold(scaled, stored))

    def scores(self) -> StandardScores:
        best = np.array(self.thresholds)
        mean = float(best.mean())
        return StandardScores(
            percentile=self.percentile,
            peak_iou=self.state.compute().iou,
            own_threshold=mean,
            own_threshold_variation=float(best.std() / best.mean()) if mean > 0 else None,
            maximum_over_standard=float(np.mean(self.ratios)),
        )


def compare_standards(maps: Iterable[StoredMap]) -> list[StandardScores]:
    """The scores of every standard; none if no map has an object."""
    trials = [_Trial(level) for level in LEVELS]
    for stored in maps:
        if stored.has_object:
            for trial in trials:
                trial.add(stored)
    return [trial.scores() for trial in trials if trial.thresholds]


def own_threshold(scaled: Floats, stored: StoredMap) -> float:
    """The share of the standard at which this image's IoU peaks; above 1, too, where the maximum is."""
    top = float(scaled.max())
    if top <= 0:
        return 0.0
    state = PeakIoU()
    score = score_to_uint8(np.clip(scaled / np.float32(top), 0.0, 1.0))
    state.accumulate(score, stored.inside, stored.name, stored.ignored)
    return state.compute().threshold / 255 * top
