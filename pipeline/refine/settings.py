"""Settings of the stage `refine`: from scaled maps through the dense CRF to predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.parallel import ParallelSettings
from pipeline.core.settings import settings_class
from pipeline.core.tracks import Output

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Dilation = Annotated[int, Field(ge=1, le=256)]


@settings_class
@dataclass(frozen=True, slots=True)
class KernelSettings:
    """One Gaussian pairwise term; compat 0 leaves it out."""

    spatial_std: Positive  # pixels
    compat: NotNegative  # weight of the Potts penalty


@settings_class
@dataclass(frozen=True, slots=True)
class ColorKernelSettings:
    """The pairwise term over position and color; compat 0 leaves it out."""

    spatial_std: Positive  # pixels
    color_std: Positive  # gray levels, 0..255
    compat: NotNegative


@settings_class
@dataclass(frozen=True, slots=True)
class CrfSettings:
    """The fully connected CRF."""

    enabled: bool
    backend: Literal["auto", "lattice", "pydensecrf"]  # what computes it; auto: lattice
    scale: Annotated[float, Field(gt=0, le=1)]  # of width and height at which it is computed; 0.5: faster, approximate
    iterations: Annotated[int, Field(ge=0)]
    gaussian: KernelSettings
    bilateral: ColorKernelSettings


@settings_class
@dataclass(frozen=True, slots=True)
class AffinitySettings:
    """Averages over neighbors of similar color, before the CRF."""

    iterations: Annotated[int, Field(ge=0)]  # averages over neighbors of similar color, before the CRF; 0: off
    dilations: Annotated[tuple[Dilation, ...], Field(min_length=1)]  # pixels to the 8 neighbors, all distances together

    def __post_init__(self) -> None:
        if len(set(self.dilations)) < len(self.dilations):
            raise ValueError(f"dilations {list(self.dilations)}: expected every entry once")


@settings_class
@dataclass(frozen=True, slots=True)
class RefineSettings:
    """`tracks.<track>.refine`."""

    output: Output  # Track 3: score_map; Track 1: the others
    shape: Literal[
        "free", "box"
    ]  # box: every level set of a score map becomes a box, for sets with box annotations only (Track 3)
    exponent: Positive
    background: Share  # Track 1: score of the background, compared with the scaled maps
    background_exponent: NotNegative  # Track 1: α > 0: that score is (1 − the largest clipped map)^α; 0: background
    # label_map: where both scores, low and high, give a pixel the same class, the student learns it (with a random walk
    # its affinities do); empty: off
    target_backgrounds: tuple[Share, ...]
    min_probability: Annotated[float, Field(ge=0, le=1)]  # label_map: of every class but the most probable
    affinity: AffinitySettings
    crf: CrfSettings
    jobs: Annotated[int, Field(ge=-1)]  # processes; -1: all cores
    parallel: ParallelSettings
    shard_size: Annotated[int, Field(ge=1)]  # images in one file, at least; at most 8 files a split

    def __post_init__(self) -> None:
        if self.jobs == 0:
            raise ValueError("jobs: expected a number of processes, or -1 for all cores, got 0")
        if self.background_exponent and self.output == "score_map":
            raise ValueError(
                f"background_exponent is {self.background_exponent}, output is 'score_map': expected 0, a score map "
                "has no background score"
            )
        self._check_targets()

    def _check_targets(self) -> None:
        given = list(self.target_backgrounds)
        if given and (len(given) != 2 or given[0] >= given[1]):
            raise ValueError(f"target_backgrounds is {given}: expected [] or [low, high], low below high")
        if given and self.output != "label_map":
            raise ValueError(
                f"target_backgrounds is {given}, output is {self.output!r}: expected [] or output 'label_map', which "
                "holds every class that a student learns"
            )


def wrong_output(output: str, allowed: Sequence[str]) -> str:
    """The message about an output that the track does not allow."""
    return f"refine.output: expected one of {list(allowed)}, got {output!r}; it belongs to the other track"
