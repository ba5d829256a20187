"""What the checks share: the settings that could be read, and what earlier checks found out."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.params.check import SECTIONS
from pipeline.preprocess.settings import DemoSource

if TYPE_CHECKING:
    from pipeline.core.manifest import Manifest, Record

T = TypeVar("T")

NOMINAL = {  # images of the challenge, where they could not be counted
    "track1": {"train": 349_319, "val": 4_690, "test": 10_000},
    "track3": {"train": 1_281_167, "val": 23_151, "test": 21_120},
}


class NotCheckedError(PipelineError):
    """Something could not be looked at, because something else is wrong; said, not dropped."""


@dataclass(slots=True)
class Listing:
    """What the source of a track said.

    Attributes:
        manifest: the table; None if the source refused
        lines: why it refused
        seconds: how long it took
    """

    manifest: "Manifest | None" = None
    lines: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(slots=True)
class Trial:
    """What one image costs, measured here: seconds of one process, or of the device.

    Attributes:
        header: reading the header
        decode: reading and decoding
        learn: one training step, a share of its batch
        validate: one pass through the network at the size of training
        extract: all scales and mirror images of `extract`
        refine: resize, CRF, output, PNG
        score: reading a prediction and comparing it
        prediction: bytes of one prediction's PNG
    """

    header: float = 0.0
    decode: float = 0.0
    learn: float = 0.0
    validate: float = 0.0
    extract: float = 0.0
    refine: float = 0.0
    score: float = 0.0
    prediction: float = 0.0


@dataclass(slots=True)
class Context:
    """One preflight.

    Attributes:
        params: the params file
        folder: where the chain runs: `data/`, `submissions/` and `reports/` are made there
        minutes: the trial takes about this long in all; 0: no trial
        sample: images of each split that are decoded
        seed: which ones
        settings: by track and section; only sections without a mistake
        listings, good, parameters, trials: what earlier checks found out, by track
    """

    params: Path
    folder: Path = Path()
    minutes: float = 1.0
    sample: int = 150
    seed: int = 0
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    good: "dict[str, list[Record]]" = field(default_factory=dict)  # images that could be decoded
    parameters: dict[str, int] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)

    def get(self, track: str, kind: type[T]) -> T:
        """The settings of one section.

        Raises:
            NotCheckedError: if it has mistakes
        """
        name = next(name for name, section in SECTIONS.items() if section is kind)
        found = self.settings.get(track, {}).get(name)
        if not isinstance(found, kind):
            raise NotCheckedError(
                f"{self.key(track, name)}: not looked at, for the section has mistakes; mend them first"
            )
        return found

    def key(self, track: str, key: str) -> str:
        """A key of the params file as messages name it."""
        return f"{self.params.as_posix()}: tracks.{track}.{key}"

    def manifest(self, track: str) -> "Manifest":
        """The table of a track.

        Raises:
            NotCheckedError: if the source refused
        """
        listing = self.listings.get(track)
        if listing is None or listing.manifest is None:
            raise NotCheckedError("not looked at, for the images could not be listed; see the rows `listing`")
        return listing.manifest

    def images(self, track: str) -> dict[str, int]:
        """How many images each split has; where they could not be listed, how many the challenge's has."""
        preprocess = self.settings.get(track, {}).get("preprocess")
        if preprocess is not None and isinstance(preprocess.source, DemoSource):
            return {"train": preprocess.source.train, "val": preprocess.source.val, "test": preprocess.source.test}
        listing = self.listings.get(track)
        if listing is None or listing.manifest is None:
            return NOMINAL[track]
        return {split: len(listing.manifest.select(split)) for split in ("train", "val", "test")}


def cores() -> int:
    """How many processes can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(jobs: int) -> int:
    """What a setting `jobs` means here."""
    return cores() if jobs == -1 else min(jobs, cores())
