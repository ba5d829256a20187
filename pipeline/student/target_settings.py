"""Which pixels a student learns from: the settings. `evaluate` reads them too, without the student's other settings."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from pipeline.core.settings import settings_class

Probability = Annotated[float, Field(ge=0, le=1)]


@settings_class
@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What the network learns from a refined prediction, by the probability p of its foreground."""

    soft: bool  # Track 3: p itself is the target; false: 0 or 1
    low: Probability  # background where p is at most low
    high: Probability  # foreground where p is at least high; pixels between the two do not count

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, high is {self.high}: expected low to be at most high")
