"""What was published on the challenge's boards, to stand beside a score of ours.

The boards are of test images whose truth is not public: even on the challenge's data a score of split val is not the
same number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.tracks import Track
from pipeline.report.formatting import get

CHALLENGE_SOURCES = ("ilsvrc_det", "ilsvrc_cls")  # `preprocess.source.name` of the challenge's images


@dataclass(frozen=True, slots=True)
class Published:
    """The best entry of a year, on the challenge's test images."""

    year: int
    score: float


BEST = {  # peak IoU and mean IoU
    "localization": (Published(2020, 0.63), Published(2021, 0.697)),
    "segmentation": (Published(2020, 0.4518), Published(2021, 0.4906)),
}


def best_published(track: Track) -> tuple[Published, ...]:
    """The best of each year, the first year first."""
    return BEST[track.task]


def is_challenge(params: Mapping[str, Any]) -> bool:
    """Whether a run is of the challenge's images.

    >>> is_challenge({"preprocess": {"source": {"name": "demo"}}})
    False
    """
    return get(params, "preprocess", "source", "name") in CHALLENGE_SOURCES
