"""What the stages of one track left, in one object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.manifest import Manifest, Split
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.evaluate.image_counts import ImageCounts, StoredImageCounts
from pipeline.report.formatting import Row

PREDICTED: tuple[Split, ...] = ("val", "test")  # by the student


def read_student(folder: Path) -> Store | None:
    """What the student predicts; None if it predicts nothing.

    Beside its predictions of val and test lie targets of split train that have walked, which are none.
    """
    return Store(folder) if any(len(Store(folder / split)) for split in PREDICTED) else None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a page is made.

    Attributes:
        made: date and time, UTC
        commit: of the code, with a word where it was changed; empty without git
        machine: in one line
        packages: versions by name
        other: name of the other track, if the params file has it
    """

    made: str = ""
    commit: str = ""
    machine: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    other: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """All that the stages of one track left, as the page needs it.

    Attributes:
        track: which page this is
        manifest: all images and classes
        maps: `maps` (P, h, w), `classes` (P,) and `probabilities` (K,) by image id
        refined: `before` and `after`, PNG bytes, by image id
        student: the same of the student; None or empty where it is switched off
        metrics: scores by name, `before_crf` among them; a score may be None
        table: Track 3: IoU by threshold; Track 1: IoU by class
        per_image: id, label, predicted, iou_before, iou_after of each scored image
        confusion: truth, predicted, and how many pixels (Track 1) or images (Track 3)
        image_counts: of each scored image; None where nothing was scored
        history: one row an epoch of the classifier
        student_history: one row an epoch of the student
        counts: what the stages counted, by stage
        params: settings of the track, as in params.yaml
        diagnosis: contents of diagnostics.json
        origin: where and when the page is made
    """

    track: Track
    manifest: Manifest
    maps: Store
    refined: Store
    metrics: Mapping[str, Any]
    table: Sequence[Row]
    per_image: Sequence[Row]
    history: Sequence[Row]
    counts: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, Any]
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    student: Store | None = None
    confusion: Sequence[Row] = ()
    image_counts: ImageCounts | StoredImageCounts | None = None
    student_history: Sequence[Row] = ()
    origin: Origin = field(default_factory=Origin)

    @property
    def predictions(self) -> Store:
        """What the run submits: the student's predictions where it has some, else the refined maps."""
        return self.student if self.student is not None and len(self.student) else self.refined

    @property
    def is_taught(self) -> bool:
        """Whether a student predicts."""
        return self.predictions is not self.refined

    @property
    def localizes(self) -> bool:
        """Whether predictions are score maps (Track 3), not label maps (Track 1)."""
        return self.track.task == "localization"
