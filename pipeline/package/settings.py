"""Settings of the stage `package`."""

from dataclasses import dataclass
from typing import Literal

from pipeline.core.settings import settings_class


@settings_class
@dataclass(frozen=True, slots=True)
class PackageSettings:
    """`tracks.<track>.package`."""

    split: Literal["val", "test"]  # whose predictions go into the zip
