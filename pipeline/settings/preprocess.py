"""Settings of the stage `preprocess`: where images come from and how closely they are looked at."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings.loader import settings_class

Count = Annotated[int, Field(ge=0)]


@settings_class
@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder with `index.csv`, `classes.txt`, images and masks."""

    name: Literal["folder"]
    root: str
    masks: Literal["auto", "foreground", "labels"]  # auto: foreground if every mask holds 0 and 255 only


@settings_class
@dataclass(frozen=True, slots=True)
class DemoSource:
    """The challenge in miniature, rendered into `root`."""

    name: Literal["demo"]
    root: str
    train: Annotated[int, Field(ge=1)]  # images
    val: Count
    test: Count
    classes: Annotated[int, Field(ge=2)]
    long_side: Annotated[int, Field(ge=64, le=2048)]  # pixels
    seed: Count


Source = Annotated[FolderSource | DemoSource, Field(discriminator="name")]


@settings_class
@dataclass(frozen=True, slots=True)
class PreprocessSettings:
    """`tracks.<track>.preprocess`."""

    source: Source
    check: Literal["list", "header", "decode"]  # read nothing, sizes, or every pixel
    on_bad_image: Literal["error", "skip"]  # skip: left out, counted and listed in preprocess.json; val and test always stop
    jobs: Annotated[int, Field(ge=-1)]  # processes; -1: all cores

    def __post_init__(self) -> None:
        if self.check == "list" and self.finds_mask_kind:
            raise ValueError(
                "check is 'list', source.masks is 'auto': expected 'foreground' or 'labels', a list shows no mask values"
            )

    @property
    def finds_mask_kind(self) -> bool:
        """Whether the kind of the masks is to be found out by looking at them."""
        return isinstance(self.source, FolderSource) and self.source.masks == "auto"
