"""The folder of a finished run, or a copy of it: what a prediction needs to read there.

That is `data/<track>`. Read are `model/`, `extract.json`, `refine.json`; of a run with a student `student.json` and
`student/model/`; and, for the threshold of Track 3, `evaluate.json`. Nothing else has to be copied, and no params file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import SettingsError, StoreError, sample
from pipeline.core.files import read_json
from pipeline.core.settings import build
from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier, load_classifier
from pipeline.refine.run import check_output
from pipeline.refine.settings import RefineSettings
from pipeline.student.network import StudentNetwork, load_student
from pipeline.student.settings import StudentSettings

Stage = Literal["auto", "first"]  # auto: the student where the run has one; first: the refined maps
Made = Literal["student", "first"]  # which of the two made a prediction
MODEL = "model"
HALF = 128  # the threshold of Track 3 where split val has no truth: scores of at least half of 255
GIVEN, PEAK, WITHOUT_TRUTH, LABEL_MAP = (
    "given",
    "peak threshold of split val",
    "half of 255: split val has no truth",
    "class ids above background",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Described:
    """What a run is about: enough to say what its stored predictions mean, whatever version it is of.

    Attributes:
        folder: where it was read
        track: whose task it is
        class_names: the K classes, in the order of the logits
        has_student: whether a student makes its predictions
    """

    folder: Path
    track: Track
    class_names: tuple[str, ...]
    has_student: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What the stages left of how images are predicted.

    Attributes:
        folder: where it was read
        track: whose task it is
        class_names: the K classes, in the order of the logits
        extract, refine: settings of the two stages
        student: settings of the stage; None where it is switched off, and in runs of earlier versions
        thresholds: of the classes, where `extract.class_thresholds` is not `fixed`. Shape: (K,)
    """

    folder: Path
    track: Track
    class_names: tuple[str, ...]
    extract: ExtractSettings
    refine: RefineSettings
    student: StudentSettings | None
    thresholds: NDArray[np.float64] | None = None

    @property
    def has_student(self) -> bool:
        """Whether a student makes the predictions."""
        return self.student is not None


def describe_run(folder: Path) -> Described:
    """Read what a run is about.

    Raises:
        StoreError: naming the stage to run again, if a file or key is missing
    """
    extract = _read_extract(folder)
    about = folder / "student.json"
    has_student = about.is_file() and bool(_read(folder, "student", ("enabled",))["enabled"])
    return Described(folder, TRACKS[extract["track"]], tuple(extract["class_names"]), has_student)


def read_run(folder: Path) -> Run:
    """Read the settings of a run.

    Raises:
        StoreError: naming the stage to run again, if a file or key is missing or of another version
        MapError: if the settings of `refine` are of the other track
    """
    extract = _read_extract(folder)
    refine = _read(folder, "refine", ("settings",))
    run = Run(
        folder,
        TRACKS[extract["track"]],
        tuple(extract["class_names"]),
        _settings(ExtractSettings, extract, folder, "extract"),
        _settings(RefineSettings, refine, folder, "refine"),
        _read_student(folder),
        _read_thresholds(extract, folder),
    )
    check_output(run.refine.output, run.track.outputs, run.track.name)
    return run


def _read_extract(folder: Path) -> Mapping[str, Any]:
    if not folder.is_dir():
        raise StoreError(f"{folder}: expected the folder of a finished run, such as data/track3, found none")
    if not (folder / "extract.json").is_file():
        raise StoreError(
            f"{folder / 'extract.json'}: expected a file, found none; likely not the folder of a finished run, such as "
            "data/track3; in that of an earlier version, run the stage `extract` again"
        )
    extract = _read(folder, "extract", ("settings", "track", "class_names"))
    if extract["track"] not in TRACKS:
        raise StoreError(
            f"{folder / 'extract.json'}: expected a track among {sorted(TRACKS)}, got {extract['track']!r}"
        )
    return extract


def _read_thresholds(extract: Mapping[str, Any], folder: Path) -> NDArray[np.float64] | None:
    """The thresholds of the classes, if the run has some.

    Raises:
        StoreError: if they are missing, or not one probability for each class
    """
    if extract["settings"].get("class_thresholds", "fixed") == "fixed":
        return None
    path, values = folder / "extract.json", extract.get("class_thresholds", {}).get("values")
    classes = len(extract["class_names"])
    if not isinstance(values, list) or len(values) != classes or not all(0 <= value <= 1 for value in values):
        raise StoreError(
            f"{path}: class_thresholds.values: expected {classes} numbers in 0..1, one for each class, got "
            f"{sample(values or [], 10)}; likely edited: run the stage `extract` again"
        )
    return np.array(values)


def _read_student(folder: Path) -> StudentSettings | None:
    """The settings of the student, if the run has one."""
    if not (folder / "student.json").is_file():
        return None
    values = _read(folder, "student", ("enabled", "settings"))
    return _settings(StudentSettings, values, folder, "student") if values["enabled"] else None


def choose_stage(run: Run | Described, stage: str) -> Made:
    """Which stage predicts.

    Raises:
        SettingsError: if there is no such choice
    """
    if stage not in get_args(Stage):
        raise SettingsError(f"stage: expected one of {list(get_args(Stage))}, got {stage!r}")
    return "first" if not run.has_student or stage == "first" else "student"


def choose_classes(run: Run, stage: Made, names: Sequence[str] | None) -> tuple[int, ...]:
    """The indices of named classes, in order; empty: all.

    Raises:
        SettingsError: if the run does not know a name, or its predictions do not depend on classes
    """
    if names is None:
        return ()
    unknown = sorted(set(names) - set(run.class_names))
    if unknown or not names:
        close = [one for name in unknown for one in get_close_matches(name, run.class_names, n=1)]
        hint = f"; likely {close}" if close else ""
        raise SettingsError(f"classes: expected some of {sample(run.class_names, 10)}, got {list(names)}{hint}")
    if run.track.task == "localization" and stage == "student":
        raise SettingsError(
            "classes: expected the first stage, got the student: in Track 3 its network knows no classes; choose the "
            "first stage"
        )
    return tuple(sorted({run.class_names.index(name) for name in names}))


def read_student_model(run: Run) -> StudentNetwork:
    """The network of the student.

    Raises:
        StoreError: if there is none, or it has other outputs than the track and `extract.json` ask for
        TrainError: if its files do not fit each other
    """
    folder = run.folder / "student" / MODEL
    if not (folder / "design.json").is_file():
        raise StoreError(
            f"{folder}: expected the network of the stage `student`, which student.json says is enabled, found none; "
            "copy it, or predict with the first stage"
        )
    network = load_student(folder)
    expected = 1 if run.track.task == "localization" else len(run.class_names) + 1
    if network.design.outputs != expected:
        raise StoreError(
            f"{folder}: expected a network of {expected} outputs for {run.track.name} and {len(run.class_names)} "
            f"classes, got {network.design.outputs}; likely files of two runs"
        )
    return network


def read_model(run: Run) -> Classifier:
    """The classifier of a run.

    Raises:
        StoreError: if there is none, or it has another number of classes than `extract.json`
        TrainError: if its files do not fit each other
    """
    classifier = load_classifier(run.folder / MODEL)
    if classifier.design.classes != len(run.class_names):
        raise StoreError(
            f"{run.folder / MODEL}: expected a classifier of {len(run.class_names)} classes, as extract.json lists, "
            f"got {classifier.design.classes}; likely files of two runs"
        )
    return classifier


def settled_threshold(track: Track, given: int | None) -> tuple[int | None, str] | None:
    """The threshold and its rule where no run is needed to say it: none of label maps, and a given one; else None.

    Raises:
        SettingsError: if the given one is no whole number in 0..255, or the track has none
    """
    if track.task == "segmentation":
        if given is not None:
            raise SettingsError(f"threshold: expected none for {track.name}, whose predictions are label maps")
        return None, LABEL_MAP
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= 255:
        raise SettingsError(f"threshold: expected a whole number in 0..255, got {given!r}")
    return given, GIVEN


def choose_threshold(run: Run | Described, given: int | None, stage: str = "auto") -> tuple[int | None, str]:
    """The threshold t of the mask {score >= t} of Track 3, and the rule that it was chosen by.

    That is the given one; else the peak threshold that the stage `evaluate` found on split val, for the predictions of
    the student or those of the first stage, whichever predicts; else, where val has no truth, 128. If
    `evaluate.comparison` is `>`, {score > t} is {score >= t + 1}. Track 1 has label maps and no threshold.

    Raises:
        SettingsError: if the given one is no whole number in 0..255, or the track has none
        StoreError: naming the stage `evaluate`, if it has to run again
    """
    if settled := settled_threshold(run.track, given):
        return settled
    otherwise = ", or give a threshold"
    found = _read(run.folder, "evaluate", ("peak_threshold", "comparison"), otherwise)
    peak = found["peak_threshold"]
    if peak is None:
        return HALF, WITHOUT_TRUTH
    if run.has_student and choose_stage(run, stage) == "first":  # the other one is of what is submitted
        peak = _read(run.folder, "evaluate", ("first_stage",), otherwise)["first_stage"]["peak_threshold"]
    return int(peak) + (found["comparison"] == ">"), PEAK  # 256 selects nothing, as > 255 does


def _read(folder: Path, stage: str, keys: tuple[str, ...], otherwise: str = "") -> Mapping[str, Any]:
    """The JSON file of a stage, which has at least these keys."""
    path = folder / f"{stage}.json"
    again = f"run the stage `{stage}` again{otherwise}"
    if not path.is_file():
        raise StoreError(f"{path}: expected a file, found none; likely a run of an earlier version: {again}")
    values = read_json(path)
    missing = [key for key in keys if not isinstance(values, Mapping) or key not in values]
    if missing:
        raise StoreError(
            f"{path}: expected the keys {list(keys)}, missing={missing}; likely a run of an earlier version: {again}"
        )
    return values  # type: ignore[no-any-return]


def _settings(kind: type[T], values: Mapping[str, Any], folder: Path, stage: str) -> T:
    path = folder / f"{stage}.json"
    try:
        return build(kind, values["settings"], path, "settings")
    except SettingsError as error:
        raise StoreError(
            f"{error}\n{path}: likely a run of an earlier version: run the stage `{stage}` again"
        ) from None
