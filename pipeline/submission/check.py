"""Check a submission without a manifest: against a list of ids, the images themselves, or both."""

import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, SettingsError, sample
from pipeline.core.images import read_size
from pipeline.core.tracks import Track, get_track
from pipeline.package.container import container_problems
from pipeline.package.contents import Contents, content_problems, content_warnings
from pipeline.package.png import Size
from pipeline.package.record import Record, compare_record
from pipeline.package.validate import UNREADABLE, find_problems
from pipeline.preprocess.folders import JPEG_SUFFIXES, MASK_SUFFIXES, Problems, files_below, only_images, stem, walk
from pipeline.preprocess.id_lists import read_ids

CHALLENGE_CLASSES = 200  # of Track 1; the values of a label map are 0..200

Ids = str | Path | Iterable[str]  # the path of a list, or the ids themselves


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        problems: one message each; none: the zip keeps the published rules and says something
        warnings: what keeps the rules and mostly is not meant
        expected: predictions that a whole submission holds
        counts: of the predictions that could be decoded, as in package.json
        record: what made the zip, if a record lies beside it
    """

    problems: list[str]
    warnings: list[str]
    expected: int
    counts: dict[str, Any]
    record: Record | None


def check_submission(
    zip: str | Path,
    track: str,
    ids: Ids | None = None,
    images: str | Path | None = None,
    classes: int | None = None,
) -> list[str]:
    """Check a zip against the published rules; return every problem, none if it keeps them.

    The rules are those of `pipeline.package.validate`. Which predictions have to be there is said by `ids`, by
    `images`, or by both: then the images of these ids only. Without `images` the sizes are not known, and not checked.

    A zip that keeps the rules is refused, too, if it says nothing: only background, one value in each prediction,
    scores 0 and 1 (`pipeline.package.contents`); or if the record beside it, `mine.json` beside `mine.zip`, as the
    stage `package` writes it, is of other bytes or of another track.

    Args:
        zip: path of the submission
        track: `track1` or `track3`
        ids: path of a text file, one id a line (the rest of a line is ignored), or the ids
        images: folder whose images are predicted, folders in it included: ids are the stems of `.jpg`, `.jpeg` and
            `.png` files, sizes come from their headers. A PNG beside a JPEG of the same id is its mask, and no image.
            Where the zip or `ids` have ids of class folders, `class__stem`, so have the images
        classes: K, largest value of a label map in Track 1; None: 200, as in the challenge. Track 3 has no use for it

    Returns:
        messages: where, what is expected, what was found, the likely cause

    Raises:
        SettingsError: if the track is none, or neither `ids` nor `images` is given
        DataError: if ids or images are not readable, listed twice, or an id has no image

    >>> from tempfile import TemporaryDirectory
    >>> from pipeline.core.archives import write_zip
    >>> with TemporaryDirectory() as folder:
    ...     write_zip(Path(folder) / "mine.zip", [("a.png", b"no image")])
    ...     for problem in check_submission(Path(folder) / "mine.zip", "track3", ids=["a", "b"]):
    ...         print(problem)
    mine.zip: expected 2 ids, got 1; missing=['b'], extra=[]; likely predicting was stopped, or images were skipped
    a: expected a PNG of mode L, 1 to 100000000 pixels, got a file that starts with b'no image'; likely another file
    """
    return inspect_submission(zip, track, ids, images, classes).problems


def inspect_submission(
    zip: str | Path,
    track: str,
    ids: Ids | None = None,
    images: str | Path | None = None,
    classes: int | None = None,
) -> Checked:
    """`check_submission` with the counts of what the predictions hold; arguments and errors as there."""
    task, path = get_track(track), Path(zip)
    expected = expected_predictions(ids, images, ids_in(path))
    contents = Contents()
    problems = list(find_problems(path, expected, largest_value(task, classes), contents))
    compared = compare_record(path, task)
    empty = [] if problems else content_problems(contents, task, path.name)  # of all predictions, or it says nothing
    return Checked(
        problems=[*compared.problems, *problems, *empty],
        warnings=[*compared.warnings, *content_warnings(contents)],
        expected=len(expected),
        counts=contents.summarize(task),
        record=compared.record,
    )


def largest_value(track: Track, classes: int | None) -> int:
    """The largest value of a prediction, where `classes` may not be given.

    Raises:
        SettingsError, DataError: if a label map cannot hold that many classes

    >>> [largest_value(get_track("track1"), classes) for classes in (None, 12)], largest_value(get_track("track3"), 12)
    ([200, 12], 255)
    """
    count = CHALLENGE_CLASSES if classes is None else classes
    if count < 1:
        raise SettingsError(f"classes: expected at least 1, got {count}; the background does not count")
    track.check_class_count(count)
    return track.largest_value(count)


def expected_predictions(
    ids: Ids | None, images: str | Path | None, predicted: Collection[str] = ()
) -> dict[str, Size | None]:
    """(width, height) of each prediction by image id, None where only the id is known; errors as `check_submission`.

    Args:
        predicted: ids of the zip: they and `ids` tell whether ids are stems or those of class folders
    """
    if ids is None and images is None:
        raise SettingsError("expected ids, images, or both, got neither: they say which predictions have to be there")
    listed = None if ids is None else _listed(ids)
    if images is None:
        return dict.fromkeys(listed or ())
    files = _image_files(Path(images), [*(listed or ()), *predicted])
    missing = [image_id for image_id in listed or () if image_id not in files]
    if missing:
        raise DataError(
            f"{images}: expected an image of each of {len(listed or ())} ids, missing={sample(missing)}; "
            "likely the folder of another split"
        )
    return {image_id: read_size(files[image_id]) for image_id in (files if listed is None else listed)}


def ids_in(path: Path) -> list[str]:
    """The ids of a zip's predictions; none of a file that is no ordinary zip, which the check then describes."""
    try:
        if any(container_problems(path, path.name)):
            return []
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except UNREADABLE:
        return []
    return [name.removesuffix(".png") for name in names if name.endswith(".png")]


def _listed(ids: Ids) -> tuple[str, ...]:
    if isinstance(ids, str | Path):
        path = Path(ids)
        if not path.is_file():
            raise DataError(f"{path}: expected one image id a line, found no file")
        problems = Problems(path)
        found = read_ids(path, problems)
        problems.stop_if_any()
        return found
    found = tuple(ids)
    twice = (
        sorted({image_id for image_id in found if found.count(image_id) > 1}) if len(set(found)) < len(found) else []
    )
    if twice or not found:
        raise DataError(f"ids: expected different ids, got {f'some twice: {sample(twice)}' if twice else 'none'}")
    return found


def _image_files(folder: Path, wanted: Iterable[str]) -> dict[str, Path]:
    """`image_files`; by the ids of class folders, `class__stem`, if any wanted id is one."""
    below = files_below(folder)
    if any("__" in image_id and image_id in below for image_id in wanted):
        return dict(sorted(below.items()))
    return image_files(folder)


def image_files(folder: Path) -> dict[str, Path]:
    """Where each image below a folder is, by id, sorted.

    Raises:
        DataError: if there is none, or two have one id
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, found none")
    listing = walk(folder)
    found: dict[str, Path] = {}
    for suffixes in (JPEG_SUFFIXES, MASK_SUFFIXES):  # of a JPEG and a PNG with one id, the PNG is the mask
        paths = [folder / place / name for place, names in listing.items() for name in only_images(names, suffixes)]
        by_id = {stem(path.name): path for path in paths}
        if len(by_id) < len(paths):
            twice = sorted(path.as_posix() for path in paths if by_id[stem(path.name)] != path)
            raise DataError(f"{folder}: expected every image id once, got these a second time: {sample(twice)}")
        found = by_id | found
    if not found:
        raise DataError(f"{folder}: expected images (.jpg, .jpeg or .png), found none")
    return dict(sorted(found.items()))
