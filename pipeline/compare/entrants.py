"""What is compared: finished runs and zips, each as the counts of its images and, where they are known, its pixels."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.steps import STEPS, Step, count_step, placed_manifest, split_step
from pipeline.core.archives import archive_of, file_version
from pipeline.core.errors import SettingsError, StoreError, sample
from pipeline.core.files import read_json
from pipeline.core.images import decode_png
from pipeline.core.manifest import Manifest, MaskKind, Record
from pipeline.core.store import Store
from pipeline.core.tracks import TRACKS, Track, get_track
from pipeline.evaluate.image_counts import IMAGE_COUNTS, read_image_counts
from pipeline.evaluate.metrics import ranking
from pipeline.evaluate.run import METRICS
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.package.container import read_member
from pipeline.preprocess.folders import files_below
from pipeline.submission.check import CHALLENGE_CLASSES
from pipeline.submission.score import CHALLENGE, count_submission
from pipeline.submission.truth import Masks, Truth, read_truth

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Choices:
    """What is known beside the paths.

    Attributes:
        track: of zips, and of a checkout that has finished runs of both
        truth: of zips: a folder, as `lid score` takes it
        masks: what the values of the masks mean
        classes: of zips in Track 1: K
        images: of zips: the folder of images, to be shown
    """

    track: str | None = None
    truth: Path | None = None
    masks: Masks = "auto"
    classes: int | None = None
    images: Path | None = None


class Images(Protocol):
    """Where images, truth and predictions are read to be shown."""

    @property
    def mask_kind(self) -> MaskKind: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def prediction(self, image_id: str) -> Pixels: ...

    def record(self, image_id: str) -> Record: ...


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """One run or zip.

    Attributes:
        name: in tables and legends
        path: as it was given
        track: whose task
        ids: of the scored images, in order
        counts: of each, as submitted, or of the step that is named; see `ImageCounts`
        settings: which reading of the metrics ranks
        class_names: of the K classes
        images: None where the folder that holds them is not there
        about: what else is known: the split, metrics.json
    """

    name: str
    path: Path
    track: Track
    ids: tuple[str, ...]
    counts: NDArray[np.int32]
    settings: EvaluateSettings
    class_names: tuple[str, ...]
    images: Images | None
    about: Mapping[str, Any]


def open_entrants(given: list[str], choices: Choices) -> list[Entrant]:
    """Everything that is to be compared, in order, with different names.

    Args:
        given: paths, or `NAME=PATH`

    Raises:
        SettingsError: if there are less than two, or they are of two tracks
    """
    if len(given) < 2:
        raise SettingsError(f"expected at least two runs or zips to compare, got {given}")
    found = [open_entrant(path, name, choices) for name, path in named_paths(given)]
    tracks = {one.name: one.track.name for one in found}
    if len(set(tracks.values())) > 1:
        raise SettingsError(f"expected runs of one track, got {tracks}; give --track")
    return found


def named_paths(given: Sequence[str]) -> list[tuple[str, Path]]:
    """Different names for paths, or for `NAME=PATH` those given."""
    named = [split_name(one) for one in given]
    paths = [path for _, path in named]
    names = distinct_names([name or short_name(path) for name, path in named], paths)
    return list(zip(names, paths, strict=True))


def class_names_of(entrants: Sequence[Entrant]) -> tuple[str, ...]:
    """The names of the K classes: of the first run that knows them, else of the first entrant, which may be numbers."""
    named = [one for one in entrants if isinstance(one.images, RunImages)]
    return (named or entrants)[0].class_names


def split_name(given: str) -> tuple[str, Path]:
    """A name, empty if none is given, and a path.

    >>> split_name("with CRF=runs/a"), split_name("runs/a")
    (('with CRF', PosixPath('runs/a')), ('', PosixPath('runs/a')))
    """
    name, sign, path = given.partition("=")
    return (name, Path(path)) if sign and not Path(given).exists() else ("", Path(given))


def short_name(path: Path, folders: int = 1) -> str:
    """What a path is called: a zip by its stem, a run by the folder of its checkout, a step by its label behind that.

    With more `folders`, those above it are part of the name.

    >>> short_name(Path("a/mine.zip")), short_name(Path("runs/b")), short_name(Path("/runs/c/reports/track3"))
    ('mine', 'b', 'c')
    >>> short_name(Path("/runs/c/data/track3:before_crf"))
    'c, before CRF'
    >>> short_name(Path("/runs/c/data/track3"), 2)
    'runs/c'
    """
    run, step = split_step(path)
    name = str(Path(*place_of(run).parts[-folders:])).removesuffix(".zip")
    return f"{name}, {step.label}" if step else name


def place_of(run: Path) -> Path:
    """Where a run is: the folder of its checkout, for its `data/<T>` and `reports/<T>`, too."""
    whole = run.absolute()
    return whole.parents[1] if run.name in TRACKS else whole


def distinct_names(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """The names; those that occur twice become the last folders of their paths that differ, or get a number.

    >>> distinct_names(["r", "r", "s"], [Path("/a/x/r"), Path("/b/x/r"), Path("/b/s")])
    ['a/x/r', 'b/x/r', 's']
    >>> distinct_names(["r", "r"], [Path("/a/r"), Path("/a/r")])
    ['r (1)', 'r (2)']
    """
    long = list(names)
    for name in {name for name in names if names.count(name) > 1}:
        places = [place for place, one in enumerate(names) if one == name]
        for place, end in zip(places, _ends([paths[place] for place in places]), strict=True):
            long[place] = end
    return [name if long.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(long, start=1)]


def _ends(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell different ones apart; the paths, where none does."""
    for folders in range(1, max(len(path.absolute().parts) for path in paths) + 1):
        ends = [short_name(path, folders) for path in paths]
        if len(set(ends)) == len(set(paths)):
            return ends
    return [str(path) for path in paths]


def open_entrant(path: Path, name: str, choices: Choices) -> Entrant:
    """One run or zip.

    Raises:
        PipelineError: if it is neither, or was not scored
    """
    return _open_zip(path, name, choices) if path.is_file() else _open_run(path, name, choices)


# --- a run ------------------------------------------------------------------------------------------------------------


def _open_run(given: Path, name: str, choices: Choices) -> Entrant:
    path, step = split_step(given)
    reports = reports_of(path, choices.track)
    metrics = read_json(reports / METRICS)
    track = get_track(reports.name) if reports.name in TRACKS else _track_of(metrics, reports)
    if choices.track not in (None, track.name):
        raise SettingsError(f"{path}: expected a run of {choices.track}, got one of {track.name}")
    readings = {key: metrics[key] for key in ("comparison", "average", "classes") if metrics.get(key)}
    settings = replace(CHALLENGE, **readings)
    checkout = reports.parent.parent
    data = checkout / "data" / track.name
    counts = read_image_counts(reports / IMAGE_COUNTS)
    if not counts.ids:
        raise StoreError(
            f"{reports}: expected scored images, found none: {metrics.get('note', 'split val has no truth')}"
        )
    submitted = STEPS["student" if "first_stage" in metrics else "refined"]
    step = step or submitted
    if step.stage != submitted.stage:  # the counts beside the scores are of what is submitted
        counts = count_step(data, step, track, settings)
    images = RunImages.of(checkout, track, step) if (data / "manifest").is_dir() else None
    classes = images.class_names if images else _numbered(track, counts.after)
    return Entrant(
        name, given, track, counts.ids, step.of(counts), settings, classes, images,
        {"split": "val", "metrics": metrics},
    )  # fmt: skip


def reports_of(path: Path, track: str | None) -> Path:
    """The folder `reports/<track>` of a checkout, of itself, or of `data/<track>` beside it; or any other folder with
    the scores of a run, such as one below `scores/` of an ablation.

    Raises:
        StoreError: if there is none
        SettingsError: if there are those of two tracks, and none is named
    """
    names = [track] if track else sorted(TRACKS)
    places = [path, *(path / "reports" / name for name in names)]
    if path.name in TRACKS:
        places.append(path.absolute().parent.parent / "reports" / path.name)
    found = list(dict.fromkeys(place.absolute() for place in places if (place / IMAGE_COUNTS).is_file()))
    if not found:
        cause = "the stage `evaluate` has not run" if path.exists() else "misspelt: nothing has this name"
        raise StoreError(
            f"{path}: expected a checkout with a finished run, its reports/{names[0]} or data/{names[0]}, or a zip; "
            f"found no {IMAGE_COUNTS}; likely {cause}"
        )
    if len(found) > 1:
        raise SettingsError(f"{path}: expected one track, found {[place.name for place in found]}; give --track")
    return found[0]


def _track_of(metrics: Mapping[str, Any], reports: Path) -> Track:
    """The track whose score ranks in a folder that does not have its name."""
    for track in TRACKS.values():
        if ranking(track.task).key in metrics:
            return track
    raise StoreError(f"{reports / METRICS}: expected the scores of a run, got keys {sample(sorted(metrics))}")


def _numbered(track: Track, counts: NDArray[np.int32]) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, counts.shape[2])) if track.task == "segmentation" else ()


@dataclass(frozen=True, slots=True, eq=False)
class RunImages:
    """Images, truth and predictions of split val, as a checkout holds them."""

    manifest: Manifest
    store: Store
    array: str
    mask_kind: MaskKind
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, checkout: Path, track: Track, step: Step) -> "RunImages | None":
        """None where predictions are not there."""
        data = checkout / "data" / track.name
        try:
            manifest, store = placed_manifest(data), Store(data / step.stage / "val")
        except StoreError:
            return None
        return cls(manifest, store, step.array, manifest.mask_kind, manifest.classes)

    def prediction(self, image_id: str) -> Pixels:
        """As the step has it. Shape: (H, W)"""
        return decode_png(self.store.read(image_id)[self.array], image_id)

    def record(self, image_id: str) -> Record:
        """The image and its truth."""
        return next(iter(self.manifest.with_ids([image_id])))


# --- a zip ------------------------------------------------------------------------------------------------------------


def _open_zip(path: Path, name: str, choices: Choices) -> Entrant:
    if choices.truth is None or choices.track is None:
        raise SettingsError(f"{path}: expected --truth and --track, which a zip does not say")
    track = get_track(choices.track)
    count = CHALLENGE_CLASSES if choices.classes is None else choices.classes
    truth = read_truth(choices.truth, choices.masks, track, count)
    counts = count_submission(path, truth, track, choices.classes)
    names = tuple(str(number) for number in range(1, count + 1)) if track.task == "segmentation" else ("object",)
    files = files_below(choices.images) if choices.images else {}
    images = ZipImages(path, truth, files, truth.mask_kind, names)
    return Entrant(name, path, track, counts.ids, counts.after, CHALLENGE, names, images, {"split": "of the zip"})


@dataclass(frozen=True, slots=True, eq=False)
class ZipImages:
    """Predictions of a zip, truth of a folder, images of another one, if they are known."""

    path: Path
    truth: Truth
    images: Mapping[str, Path]
    mask_kind: MaskKind
    class_names: tuple[str, ...]

    def prediction(self, image_id: str) -> Pixels:
        """As submitted. Shape: (H, W)"""
        archive = _opened(self.path, file_version(self.path))
        return decode_png(read_member(archive, archive.getinfo(f"{image_id}.png")), image_id)

    def record(self, image_id: str) -> Record:
        """The truth, and the image, which may be a path that leads nowhere."""
        height, width = self.prediction(image_id).shape
        record = self.truth.record(image_id, (height, width))
        return replace(record, file=self.images.get(image_id, Path(f"{image_id} (its image is not known)")))


@lru_cache(maxsize=8)
def _opened(path: Path, version: tuple[int, int] | None) -> zipfile.ZipFile:
    """A zip, whose list of members is read once; another version is another zip."""
    return zipfile.ZipFile(path)


def has_image(record: Record) -> bool:
    """Whether the image of a record can be shown."""
    return (archive_of(record.file) or record.file).is_file()
