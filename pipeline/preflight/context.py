"""What the checks share: the settings that could be read, what earlier checks found out, and counts of images."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.core.manifest import SPLITS, Manifest, Record
from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.plan import choose_targets
from pipeline.extract.settings import ExtractSettings
from pipeline.params.check import SECTIONS
from pipeline.preprocess.challenge_lists import COUNTS
from pipeline.preprocess.settings import DemoSource, IlsvrcClsSource, IlsvrcDetSource, PreprocessSettings
from pipeline.student.run import PREDICTED
from pipeline.student.settings import StudentSettings

T = TypeVar("T")


class NotCheckedError(PipelineError):
    """A check that could not be made, because something else is wrong."""


@dataclass(slots=True)
class Listing:
    """The images that the source of a track could list, and how long it took."""

    manifest: Manifest | None = None
    seconds: float = 0.0
    reason: str = "listing"  # without a manifest: the check whose rows say why


@dataclass(slots=True)
class Trial:
    """Seconds that one image costs here, in one process or on the device."""

    header: float = 0.0  # reading the header
    decode: float = 0.0  # reading and decoding
    learn: float = 0.0  # one training step, a share of its batch
    validate: float = 0.0  # one pass through the network at the size of training
    extract: float = 0.0  # all scales and mirror images of `extract`
    refine: float = 0.0  # resize, CRF, output, PNG
    student_features: float = 0.0  # one view through the backbone
    student_learn: float = 0.0  # one training step, a share of its batch; on kept features without the backbone
    student_predict: float = 0.0  # all sizes and mirror images of `student`
    student_refine: float = 0.0  # resize, CRF, output, PNG
    score: float = 0.0  # reading a prediction and comparing it
    prediction: float = 0.0  # bytes of one prediction's PNG


@dataclass(slots=True)
class Context:
    """One preflight."""

    params: Path
    folder: Path = Path()  # where the chain runs: `data/`, `submissions/` and `reports/` are made there
    minutes: float = 1.0  # about how long the trial takes; 0: no trial
    sample: int = 150  # images of each split that are decoded
    seed: int = 0  # which ones
    gpus: int = 1  # like this one, over which training, extraction and the student are divided in the estimate
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # by track; sections without a mistake
    listings: dict[str, Listing] = field(default_factory=lambda: {track: Listing() for track in TRACKS})
    good: dict[str, list[Record]] = field(default_factory=dict)  # images that could be decoded
    parameters: dict[str, int] = field(default_factory=dict)
    student_parameters: dict[str, int] = field(default_factory=dict)
    unbuilt: set[tuple[str, str]] = field(default_factory=set)  # networks that cannot be: track, and row that says so
    strides: dict[str, int] = field(default_factory=dict)  # output stride that the backbone has, in pixels
    trials: dict[str, Trial] = field(default_factory=dict)

    def get(self, track: str, kind: type[T]) -> T:
        """The settings of one section.

        Raises:
            NotCheckedError: if it has mistakes
        """
        name = next(name for name, section in SECTIONS.items() if section is kind)
        found = self.settings.get(track, {}).get(name)
        if not isinstance(found, kind):
            raise NotCheckedError(f"{self.key(track, name)}: not checked, the section has mistakes")
        return found

    def key(self, track: str, key: str) -> str:
        """A key of the params file as messages name it."""
        return f"{self.params.as_posix()}: tracks.{track}.{key}"

    def manifest(self, track: str) -> Manifest:
        """The table of a track, without what the source had problems with.

        Raises:
            NotCheckedError: if nothing could be listed
        """
        listing = self.listings[track]
        if listing.manifest is None:
            raise NotCheckedError(f"not checked, the images could not be listed; see the rows `{listing.reason}`")
        return listing.manifest

    def need_built(self, track: str, network: str, row: str) -> None:
        """Called by checks that use a network; `row` is the one of the check that tried to build it.

        Raises:
            NotCheckedError: if it cannot be built
        """
        if (track, row) in self.unbuilt:
            raise NotCheckedError(f"not checked, the {network} cannot be built; see the row `{row}`")

    def images(self, track: str) -> dict[str, int]:
        """How many images each split has; of the challenge's, where they could not be listed, how many it has."""
        preprocess = self.settings.get(track, {}).get("preprocess")
        if preprocess is not None and isinstance(preprocess.source, DemoSource):
            return {split: getattr(preprocess.source, split) for split in SPLITS}
        challenge = preprocess is None or isinstance(preprocess.source, IlsvrcClsSource | IlsvrcDetSource)
        listed = self.listings[track].manifest if challenge else self.manifest(track)
        return {split: len(listed.select(split)) for split in SPLITS} if listed is not None else COUNTS[track]

    def count_classes(self, track: Track) -> int:
        """K, as listed; where that failed, the challenge's."""
        source, listed = self.get(track.name, PreprocessSettings).source, self.listings[track.name].manifest
        if listed is not None:
            return max(1, len(listed.classes))
        return source.classes if isinstance(source, DemoSource) else {"track1": 200, "track3": 1000}[track.name]

    def count_extracted(self, track: Track) -> int:
        """Images that have maps and are refined, the student's targets among them."""
        images, splits = self.images(track.name), self.get(track.name, ExtractSettings).splits
        return sum(images[split] for split in splits) + self.count_targets(track)

    def count_targets(self, track: Track) -> int:
        """Train images that are extracted and refined for the student alone: those with a label."""
        settings, extract = self.get(track.name, StudentSettings), self.get(track.name, ExtractSettings)
        return 0 if not settings.enabled or "train" in extract.splits else self._count_labelled(track, one_label=False)

    def count_taught(self, track: Track) -> int:
        """Train images that the student learns from: those with a label, in Track 3 with one."""
        return self._count_labelled(track, one_label=track.task == "localization")

    def _count_labelled(self, track: Track, one_label: bool) -> int:
        listed, most = self.listings[track.name].manifest, self.get(track.name, ExtractSettings).train_images
        if listed is None:
            return min(self.images(track.name)["train"], most or sys.maxsize)
        return sum(len(record.labels) == 1 or not one_label for record in choose_targets(listed.select("train"), most))

    def count_predicted(self, track: Track) -> int:
        """Images that the student predicts: of val and test those with maps; its own in a walk and before a round."""
        splits, images = self.get(track.name, ExtractSettings).splits, self.images(track.name)
        settings, taught = self.get(track.name, StudentSettings), self.count_taught(track)
        times = settings.rounds - 1 + settings.random_walk.enabled
        return sum(images[split] for split in PREDICTED if split in splits) + times * taught
