"""Where predictions are: a finished run, a submission, or a folder of `lid predict`; each as a stream of images."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError, SettingsError, StoreError, SubmissionError, sample
from pipeline.core.files import read_json, sha256
from pipeline.core.images import decode_png
from pipeline.core.manifest import SPLITS, Manifest, Split, read_manifest
from pipeline.core.store import INDEX, Store, submitted
from pipeline.core.text import read_text
from pipeline.core.tracks import TRACKS, Track, get_track
from pipeline.export.images import ExportImage, Named, localized, segmented
from pipeline.package.container import read_member
from pipeline.package.contents import Contents
from pipeline.package.validate import find_problems, show_problems
from pipeline.predict.files import REPORT, SCORES
from pipeline.predict.instances import least_pixels
from pipeline.predict.paths import by_printable_name
from pipeline.predict.run_folder import HALF, Described, Stage, choose_threshold, describe_run, settled_threshold
from pipeline.preprocess.folders import files_below
from pipeline.submission.check import CHALLENGE_CLASSES, ids_in

OBJECT = "object"  # the class of a score map of which only the zip is known
OF_NO_RUN = "half of 255: no threshold is known of a zip alone"
UNKNOWN_SUFFIX = ".jpg"  # of an image of which only the zip is known

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be chosen of an export.

    Attributes:
        threshold: Track 3: of the masks, 0..255; None: the best one of the run where it is known, else 128
        min_area: of an instance, pixels, or below 1 a share of its image; None: that of the call of `lid predict`, else
            0, which leaves nothing out
        split: of a run: whose images; None: those of its submission, else val
        stage: of a run: auto, the student where there is one; first, the refined maps
        track: of a zip without a run
        run: of a zip: the run that made it, for names and the threshold; None: the one beside it, if it made this zip
        class_names: of a zip without a run, a file with one name a line
        classes: of a Track 1 zip without names: K
        images: of a zip: the folder of its images, for their file names
    """

    threshold: int | None = None
    min_area: float | None = None
    split: Split | None = None
    stage: Stage = "auto"
    track: str | None = None
    run: Path | None = None
    class_names: Path | None = None
    classes: int | None = None
    images: Path | None = None

    @property
    def least(self) -> float:
        """The least area, where nothing else says one."""
        return self.min_area or 0


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Predictions that can be exported.

    Attributes:
        title: what they are, for people to read
        track: whose task they are of
        class_names: of the K classes
        threshold: of the masks in Track 3; None in Track 1
        threshold_rule: how it was chosen
        min_area: of an instance, see `least_pixels`
        count: how many images there are
        images: in the order of their names, each made when it is asked for; once only
    """

    title: str
    track: Track
    class_names: tuple[str, ...]
    threshold: int | None
    threshold_rule: str
    min_area: float
    count: int
    images: Iterable[ExportImage]


def open_source(path: Path, choices: Choices | None = None) -> Source:
    """The predictions at a path: `data/<track>`, a zip, or what `lid predict` wrote.

    Raises:
        PipelineError: if there are none, or a choice does not fit them
    """
    chosen = Choices() if choices is None else choices
    least_pixels(chosen.least, (1, 1))  # raises what is wrong with it before anything is read
    if path.is_file():
        return _open_zip(path, chosen)
    if (path / REPORT).is_file():
        return _open_predicted(path, chosen)
    return _open_run(path, chosen)


# --- a finished run ---------------------------------------------------------------------------------------------------


def _open_run(folder: Path, choices: Choices) -> Source:
    """The stored predictions of one split of a run."""
    run = describe_run(folder)
    split = choices.split or _packaged_split(folder)
    store = _stored(folder, split, choices.stage)
    manifest = _sorted(_manifest(folder, (split,)).with_ids(store.ids))
    threshold, rule = choose_threshold(run, choices.threshold, choices.stage)
    details = Details(run, threshold, choices.least)
    pixels = ((record.id, decode_png(store.read(record.id)["after"], record.id)) for record in manifest)
    title = f"{folder}, split {split}"
    return Source(
        title, run.track, run.class_names, threshold, rule, choices.least, len(manifest),
        details.images(manifest, pixels),
    )  # fmt: skip


def _packaged_split(folder: Path) -> Split:
    """The split of the submission, if there is one; else val."""
    path = folder / "package.json"
    split = read_json(path).get("split") if path.is_file() else "val"
    return split if split in SPLITS else "val"


def _stored(folder: Path, split: Split, stage: Stage) -> Store:
    """The predictions of a split: the student's where it made some and is wanted, else the refined maps."""
    student = folder / "student" / split
    has_student = stage == "auto" and (student / INDEX).is_file()
    if _has_some(folder / "refined" / split):
        return Store(submitted(folder / "refined" / split, student if has_student else None))
    others = [other for other in SPLITS if _has_some(folder / "refined" / other)]
    raise StoreError(f"{folder}: expected predictions of split {split}, found none; there are those of {others}")


def _has_some(store: Path) -> bool:
    return (store / INDEX).is_file() and len(Store(store)) > 0


def _manifest(folder: Path, splits: Sequence[Split]) -> Manifest:
    """The images of a run. Its paths start at the checkout that the run `data/<track>` lies in, wherever this runs."""
    manifest = read_manifest(folder / "manifest", splits, truth=False)
    placed = folder.absolute().parent.parent / manifest.root
    return replace(manifest, root=placed) if placed.exists() else manifest


def _sorted(manifest: Manifest) -> Manifest:
    return replace(manifest, table=manifest.table.sort_by("id"))


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """What a run adds to the pixels of a prediction: classes, probabilities, names of files."""

    run: Described
    threshold: int | None
    min_area: float

    def images(self, manifest: Manifest, pixels: Iterable[tuple[str, Pixels]]) -> Iterator[ExportImage]:
        """The images of a manifest, whose pixels come in the same order."""
        maps, names = Store(self.run.folder / "maps"), self.run.class_names
        for record, (image_id, found) in zip(manifest, pixels, strict=True):
            file_name = record.file.relative_to(manifest.root).as_posix()
            named, stored = Named(image_id, file_name, record.file), maps.read(image_id)
            if self.threshold is None:
                probabilities = stored["probabilities"].astype(np.float32)
                yield segmented(named, found, probabilities, names, self.min_area)
            else:
                yield localized(named, found, self.threshold, int(stored["classes"][0]), names, self.min_area)


# --- a submission -----------------------------------------------------------------------------------------------------


def _open_zip(path: Path, choices: Choices) -> Source:
    """A zip: with the run that made it, as a run; else by itself."""
    folder = choices.run or _run_beside(path)
    run = describe_run(folder) if folder else None
    track = _track_of(path, run, choices)
    names = run.class_names if run else _class_names(track, choices)
    ids = _checked_ids(path, track.largest_value(len(names)))
    if run:
        threshold, rule = choose_threshold(run, choices.threshold, choices.stage)
        manifest = _records(run, ids)
        images: Iterable[ExportImage] = Details(run, threshold, choices.least).images(manifest, _members(path, ids))
    else:
        threshold, rule = settled_threshold(track, choices.threshold) or (HALF, OF_NO_RUN)
        images = _images_of_zip(path, ids, names, threshold, choices)
    return Source(path.name, track, names, threshold, rule, choices.least, len(ids), images)


def _run_beside(path: Path) -> Path | None:
    """The run that made exactly this zip, if it lies as the chain leaves it: `submissions/T.zip` beside `data/T`."""
    for track in TRACKS:
        folder = path.absolute().parent.parent / "data" / track
        about = folder / "package.json"
        if about.is_file() and read_json(about).get("sha256") == sha256(path):
            return folder
    return None


def _track_of(path: Path, run: Described | None, choices: Choices) -> Track:
    if run and choices.track not in (None, run.track.name):
        raise SettingsError(f"{path}: expected {run.track.name}, as its run {run.folder} has it, got {choices.track}")
    if run:
        return run.track
    if choices.track is None:
        raise SettingsError(f"{path}: expected to know its track, found no run that made it; give --track or --run")
    return get_track(choices.track)


def _class_names(track: Track, choices: Choices) -> tuple[str, ...]:
    if choices.class_names is not None:
        names = tuple(line.strip() for line in read_text(choices.class_names).splitlines() if line.strip())
        if not names or (track.task == "localization" and len(names) > 1):
            wanted = "one name: a score map does not say its class" if names else "a name a line"
            raise DataError(f"{choices.class_names}: expected {wanted}, got {len(names)}")
        return names
    if track.task == "localization":
        return (OBJECT,)
    return tuple(str(number) for number in range(1, (choices.classes or CHALLENGE_CLASSES) + 1))


def _checked_ids(path: Path, largest: int) -> list[str]:
    """The ids of a zip that keeps the published rules, sorted.

    Raises:
        SubmissionError: if it breaks one
    """
    ids = sorted(ids_in(path))
    problems = list(find_problems(path, dict.fromkeys(ids), largest, Contents()))
    if problems:
        raise SubmissionError(show_problems(problems))
    if not ids:
        raise SubmissionError(f"{path}: expected predictions, got an empty zip")
    return ids


def _records(run: Described, ids: Sequence[str]) -> Manifest:
    found = _sorted(_manifest(run.folder, SPLITS).with_ids(ids))
    if len(found) != len(ids):
        missing = sorted(set(ids) - set(found.ids()))
        raise StoreError(
            f"{run.folder}: expected the images of the zip, missing={sample(missing)}; likely another run made it"
        )
    return found


def _members(path: Path, ids: Sequence[str]) -> Iterator[tuple[str, Pixels]]:
    with zipfile.ZipFile(path) as archive:
        for image_id in ids:
            yield image_id, decode_png(read_member(archive, archive.getinfo(f"{image_id}.png")), image_id)


def _images_of_zip(
    path: Path, ids: Sequence[str], names: Sequence[str], threshold: int | None, choices: Choices
) -> Iterator[ExportImage]:
    files = files_below(choices.images) if choices.images else {}
    certain = np.ones(len(names), np.float32)  # a zip holds no probabilities
    for image_id, pixels in _members(path, ids):
        file = files.get(image_id)
        named = Named(image_id, file.name if file else image_id + UNKNOWN_SUFFIX, file)
        if threshold is None:
            yield segmented(named, pixels, certain, names, choices.least)
        else:
            yield localized(named, pixels, threshold, 0, names, choices.least)


# --- a folder of `lid predict` ----------------------------------------------------------------------------------------


def _open_predicted(folder: Path, choices: Choices) -> Source:
    """What `lid predict` wrote: score maps or label maps, and the list of images."""
    report = read_json(folder / REPORT)
    try:
        track, names = get_track(report["track"]), tuple(report["class_names"])
        entries = sorted(report["images"], key=lambda entry: str(entry["name"]))
        threshold, rule = report["threshold"], report["threshold_rule"]
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / REPORT}: expected the list of `lid predict`, got another file ({error!r}); likely of an "
            "earlier version: predict again"
        ) from None
    threshold, rule = settled_threshold(track, choices.threshold) or (threshold, rule)
    least = report.get("min_area", 0) if choices.min_area is None else choices.min_area
    images = _predicted_images(folder, entries, names, threshold, least)
    return Source(str(folder), track, names, threshold, rule, least, len(entries), images)


def _predicted_images(
    folder: Path, entries: Sequence[Mapping[str, Any]], names: Sequence[str], threshold: int | None, min_area: float
) -> Iterator[ExportImage]:
    written = by_printable_name(folder / SCORES, ".png")
    for entry in entries:
        path = written.get(entry["name"])
        if path is None:
            raise StoreError(
                f"{folder / SCORES / entry['name']}.png: expected a prediction, found no file; predict again"
            )
        pixels, file = decode_png(path.read_bytes(), str(path)), Path(entry["file"])
        named = Named(entry["name"], file.name, file)
        if threshold is None:
            yield segmented(named, pixels, _probabilities(entry, len(names)), names, min_area)
        else:
            yield localized(named, pixels, threshold, _class_index(entry), names, min_area)


def _probabilities(entry: Mapping[str, Any], classes: int) -> NDArray[np.float32]:
    """Of the listed classes, which are all that have instances; 0 elsewhere. Shape: (K,)"""
    found = np.zeros(classes, np.float32)
    for one in entry["classes"]:
        found[one["class_id"] - 1] = one["probability"]
    return found


def _class_index(entry: Mapping[str, Any]) -> int:
    """Track 3: that of the map."""
    named = [*entry["instances"], *entry["classes"]]
    return int(named[0]["class_id"]) - 1
