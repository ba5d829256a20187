"""Settings of the stage `report`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from pipeline.core.settings import settings_class


@settings_class
@dataclass(frozen=True, slots=True)
class ReportSettings:
    """`tracks.<track>.report`."""

    images: Annotated[int, Field(ge=0)]  # of the gallery at most: all of val, the scored ones first, then some of test
    width: Annotated[int, Field(ge=64, le=2048)]  # pixels of the longer side; smaller images stay
