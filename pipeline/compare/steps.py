"""The steps of one run: what it predicts without the CRF, with it, and by its student, each scored by itself.

A step is named behind the path of a run and a colon: `data/track3:before_crf`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import SettingsError, StoreError
from pipeline.core.files import read_json
from pipeline.core.manifest import Manifest, Split, read_manifest
from pipeline.core.store import INDEX, Store
from pipeline.core.tracks import Track
from pipeline.evaluate.image_counts import ImageCounts
from pipeline.evaluate.run import count_predictions
from pipeline.evaluate.settings import EvaluateSettings


@dataclass(frozen=True, slots=True)
class Step:
    """One of the predictions that a run stores of each image.

    Attributes:
        key: behind the colon
        label: for people
        stage: whose store holds it
        array: its name there
    """

    key: str
    label: str
    stage: str
    array: str

    def of(self, counts: ImageCounts) -> NDArray[np.int32]:
        """Its part of the counts of its stage."""
        return counts.before if self.array == "before" else counts.after


STEPS = {
    step.key: step
    for step in (
        Step("before_crf", "before CRF", "refined", "before"),
        Step("refined", "after CRF", "refined", "after"),
        Step("student_before_crf", "student before CRF", "student", "before"),
        Step("student", "student", "student", "after"),
    )
}


def split_step(path: Path) -> tuple[Path, Step | None]:
    """A path and the step behind its colon; a path that exists has none.

    Raises:
        SettingsError: if the part behind the colon of a folder is no step

    >>> split_step(Path("runs/a/data/track3:before_crf"))[1].label, split_step(Path("runs/a"))
    ('before CRF', (PosixPath('runs/a'), None))
    """
    run, colon, key = str(path).rpartition(":")
    if not colon or path.exists():
        return path, None
    if key in STEPS:
        return Path(run), STEPS[key]
    if Path(run).is_dir():
        raise SettingsError(f"{path}: expected a step among {sorted(STEPS)} behind the colon, got {key!r}")
    return path, None


def steps_of(data: Path) -> list[Step]:
    """The steps that a run has of split val, in their order; where a stage has no CRF, that before it alone.

    Args:
        data: `data/<track>`
    """
    found = []
    for stage, has_crf in (("refined", _refines(data, "refine")), ("student", _refines(data, "student"))):
        if has_predictions(data, stage):
            found += [step for step in STEPS.values() if step.stage == stage and (has_crf or step.array == "before")]
    return found


def has_predictions(data: Path, stage: str, split: Split = "val") -> bool:
    """Whether a stage predicted images of a split; the student of a run that has none did not."""
    folder = data / stage / split
    return (folder / INDEX).is_file() and len(Store(folder)) > 0


def _refines(data: Path, stage: str) -> bool:
    """Whether a stage applies a CRF; yes where its report does not say."""
    path = data / f"{stage}.json"
    settings = read_json(path).get("settings", {}) if path.is_file() else {}
    return bool(settings.get("crf", {}).get("enabled", True))


def placed_manifest(data: Path, splits: Sequence[Split] = ("val",)) -> Manifest:
    """The manifest of a run with absolute folders of images and masks, wherever this is called.

    Relative ones start in the checkout, two folders above `data/<track>`; where a copy of that folder lies elsewhere,
    in the current folder.

    Raises:
        StoreError: if there is no manifest
    """
    manifest = read_manifest(data / "manifest", splits)
    checkout = data.absolute().parent.parent
    masks = manifest.mask_root or manifest.root
    return replace(manifest, root=_placed(manifest.root, checkout), mask_root=_placed(masks, checkout))


def _placed(root: Path, checkout: Path) -> Path:
    there = checkout / root
    return there if there.exists() or not root.exists() else root.absolute()


def count_step(data: Path, step: Step, track: Track, settings: EvaluateSettings) -> ImageCounts:
    """Score what one stage of a run stored of split val, without and with its CRF.

    Args:
        data: `data/<track>`, with the manifest, maps, the store of the stage and the masks that the manifest names

    Raises:
        StoreError: if the stage predicted nothing
        DataError, ScoreError: if a mask cannot be read or does not fit its prediction
    """
    if not has_predictions(data, step.stage):
        likely = "likely a run without a student" if step.stage == "student" else "likely val is not extracted"
        raise StoreError(f"{data}:{step.key}: expected predictions of split val in {step.stage}, found none; {likely}")
    return _counted(data.absolute(), step.stage, track, settings)


@lru_cache(maxsize=8)  # both steps of a stage are counted at once
def _counted(data: Path, stage: str, track: Track, settings: EvaluateSettings) -> ImageCounts:
    return count_predictions(placed_manifest(data), data / "maps", data / stage / "val", settings, track)
