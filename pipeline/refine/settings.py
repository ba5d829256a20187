"""Settings of the stage `refine`: from scaled maps through the dense CRF to predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.settings import settings_class
from pipeline.core.tracks import Output

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


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
    backend: Literal["auto", "pydensecrf"]  # what computes it; auto: the fastest that is there
    iterations: Annotated[int, Field(ge=0)]
    gaussian: KernelSettings
    bilateral: ColorKernelSettings


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
    min_probability: Annotated[float, Field(ge=0, le=1)]  # label_map: of every class but the most probable
    crf: CrfSettings
    jobs: Annotated[int, Field(ge=-1)]  # processes; -1: all cores
    shard_size: Annotated[int, Field(ge=1)]  # images in one file, at least; at most 8 files a split

    def __post_init__(self) -> None:
        if self.jobs == 0:
            raise ValueError("jobs: expected a number of processes, or -1 for all cores, got 0")


def wrong_output(output: str, allowed: Sequence[str]) -> str:
    """The message about an output that the track does not allow."""
    return f"refine.output: expected one of {list(allowed)}, got {output!r}; it belongs to the other track"
