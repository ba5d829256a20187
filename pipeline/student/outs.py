"""Where the stage `student` reads and writes, and what it leaves where it is switched off; loads no network library."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import write_text
from pipeline.core.manifest import SPLITS, Manifest
from pipeline.core.store import finish
from pipeline.core.tracks import Track
from pipeline.student.settings import StudentSettings

HISTORY = ("round", "epoch", "train_loss", "seconds")  # columns of history.csv

NO_MODEL = "No network: student.enabled is false.\n"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the stage reads and writes.

    Attributes:
        maps: of the stage extract; what the classifier says of each image is read there
        refined: of the stage refine, split train: the targets
        out: `val` and `test`, the predictions; `train`, targets that have walked; `model`, the trained network;
            `history.csv`, its training
    """

    maps: Path
    refined: Path
    out: Path

    @property
    def model(self) -> Path:
        """The trained network."""
        return self.out / "model"

    @property
    def history(self) -> Path:
        """A row for each epoch."""
        return self.out / "history.csv"

    @property
    def walked(self) -> Path:
        """The targets of the first round after the random walk; empty without one."""
        return self.out / "train"


def leave_empty(manifest: Manifest, paths: Paths, settings: StudentSettings, track: Track) -> dict[str, Any]:
    """Empty stores and history, and no network, for a student that is switched off; the contents of `student.json`."""
    for split in SPLITS:
        finish(paths.out / split, [], about_classes(manifest, track.task == "localization"))
    write_text(paths.model / "README.txt", NO_MODEL)  # DVC warns of an empty folder
    write_text(paths.history, ",".join(HISTORY) + "\n")
    return {"enabled": False, "track": track.name, "settings": asdict(settings)}


def about_classes(manifest: Manifest, class_agnostic: bool) -> Mapping[str, Any]:
    """What an index says of the predictions of a store."""
    return {"classes": list(manifest.classes), "class_agnostic": class_agnostic}
