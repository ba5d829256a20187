"""Settings of the stage `evaluate`: which variant of a metric is the ranking score."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.parallel import ParallelSettings
from pipeline.core.settings import settings_class

Share = Annotated[float, Field(gt=0, le=1)]


@settings_class
@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """`tracks.<track>.evaluate`."""

    comparison: Literal[">=", ">"]  # Track 3: foreground is {score >= t} or {score > t}
    average: Literal["pooled", "mean"]  # Track 3: which peak IoU is `peak_iou`; the other is printed beside it
    classes: Literal["with_background", "foreground"]  # Track 1: which mean IoU is `mean_iou`; both are printed
    box_iou: Annotated[tuple[Share, ...], Field(min_length=1)]  # MaxBoxAccV2: the overlaps that are averaged
    jobs: Annotated[int, Field(ge=-1)]  # processes; -1: all cores
    parallel: ParallelSettings

    def __post_init__(self) -> None:
        if self.jobs == 0:
            raise ValueError("jobs: expected a number of processes, or -1 for all cores, got 0")
