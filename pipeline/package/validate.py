"""Check a submission against the published rules.

A submission is a flat zip of one `<id>.png` per image: 8-bit, mode L, original size; class ids 0..K in Track 1, scores
0..255 in Track 3. Any zip can be checked, also one made elsewhere:

    python -m pipeline.package.validate --track track1 --manifest data/track1/manifest --split test predictions.zip
"""

import argparse
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError, SubmissionError, sample
from pipeline.core.manifest import SPLITS, Manifest, read_manifest, stored_size
from pipeline.core.progress import progress
from pipeline.core.tracks import TRACKS, get_track
from pipeline.package.container import container_problems, is_readable, member_problems, read_member
from pipeline.package.contents import Contents, content_problems
from pipeline.package.names import name_problems, sort_members
from pipeline.package.png import SMALL_FILE, Size, bytes_problem, chunk_problem, decode, header_problem
from pipeline.package.signatures import ENOUGH

Expected = Mapping[str, Size | None]  # by image id; None where the size of the image is not known

_DAMAGED = "expected a whole zip, got a damaged one ({}); likely a truncated upload or copy"
MOST_PROBLEMS = 20  # lines of one error; the rest is counted

# everything that reading a damaged or hostile zip, or a PNG in it, has been seen to raise
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def expected_sizes(images: Manifest, split: str) -> dict[str, Size]:
    """Return (width, height) by image id, from the table or, where it is not known there, from the file's header.

    Raises:
        SubmissionError: if there are no images, or an id occurs twice; `split` is named
        DataError: if a header cannot be read
    """
    if not len(images):
        raise SubmissionError(
            f"split {split!r}: expected images to package, found none; likely the source lists no such split"
        )
    sizes = {record.id: stored_size(record) for record in images}
    if len(sizes) < len(images):
        raise SubmissionError(
            f"split {split!r}: expected every image id once, got {len(images)} images with {len(sizes)} ids"
        )
    return sizes


def validate(
    zip_path: Path, expected: Expected, largest_value: int, *, name: str | None = None, most: int = MOST_PROBLEMS
) -> Contents:
    """Check a submission with the server's strictness and report all problems at once.

    Refused are: a file that is no ordinary zip (`pipeline.package.container`); folders; metadata of macOS and Windows;
    names other than `<id>.png`; ids that are missing, unknown or doubled (`pipeline.package.names`); encrypted or
    damaged members; what is not a PNG of mode L with 8 bits, whole and alone (`pipeline.package.png`); another size
    than the image has; values above `largest_value`. Members of unknown name are never unpacked, the others only if
    their header is right and they are not much larger than their pixels, so that a zip bomb does no harm. One
    prediction at a time is in memory.

    Args:
        zip_path: the zip
        expected: (width, height) by image id, or None: then any size up to 100 million pixels is right
        largest_value: K in Track 1, 255 in Track 3
        name: what messages call the zip; default: its file name
        most: lines of the error; further problems are counted

    Returns:
        what the predictions hold

    Raises:
        SubmissionError: with one line a problem
    """
    contents = Contents()
    problems = list(find_problems(zip_path, expected, largest_value, contents, name))
    if problems:
        raise SubmissionError(show_problems(problems, most))
    return contents


def show_problems(problems: Sequence[str], most: int = MOST_PROBLEMS) -> str:
    """The first problems, one a line, and how many there are.

    >>> show_problems(["a", "b", "c"], most=1)
    'a\\n… 3 problems in all, the first 1 are shown'
    """
    rest = [f"… {len(problems)} problems in all, the first {most} are shown"] if len(problems) > most else []
    return "\n".join([*problems[:most], *rest])


def find_problems(
    zip_path: Path, expected: Expected, largest_value: int, contents: Contents, name: str | None = None
) -> Iterator[str]:
    """Every problem of a submission, as `validate` describes them; what can be decoded is added to `contents`."""
    members, problems = list_predictions(zip_path, expected.keys(), name)
    yield from problems
    checked = check_predictions(zip_path, members, expected, largest_value, contents)
    for _, _, problem in progress(checked, total=len(members), title="check"):
        if problem:
            yield problem


def list_predictions(
    zip_path: Path, image_ids: Collection[str], name: str | None = None
) -> tuple[list[str], list[str]]:
    """Look at a zip without unpacking anything.

    Args:
        zip_path: the zip
        image_ids: of which predictions are expected
        name: what messages call the zip; default: its file name

    Returns:
        the expected ids whose prediction can be unpacked, sorted; and every problem of the zip and its names
    """
    name = (zip_path.name or str(zip_path)) if name is None else name
    if not zip_path.is_file():
        kind = "a folder; zip the files in it" if zip_path.is_dir() else "no file"
        return [], [f"{name}: expected a zip, found {kind}"]
    problems: list[str] = []
    try:
        problems += container_problems(zip_path, name)
        if problems:
            return [], problems
        with zipfile.ZipFile(zip_path) as archive:
            infos = archive.infolist()
        found = sort_members(infos)
        problems += member_problems(infos, name)
        problems += name_problems(found, image_ids, name)
    except UNREADABLE as error:
        return [], [*problems, f"{name}: {_DAMAGED.format(error)}"]
    wanted = found.predictions.keys() & set(image_ids)
    return sorted(image_id for image_id in wanted if is_readable(found.predictions[image_id])), problems


def check_predictions(
    zip_path: Path, image_ids: Sequence[str], expected: Expected, largest_value: int, contents: Contents
) -> Iterator[tuple[str, NDArray[np.uint8] | None, str | None]]:
    """Unpack and check some predictions of a zip, one at a time.

    Args:
        zip_path: the zip
        image_ids: of `list_predictions`
        expected: (width, height) of each of them, or None: then any size up to 100 million pixels is right
        largest_value: K in Track 1, 255 in Track 3
        contents: what can be decoded is added to it

    Yields:
        image id; pixels of shape (H, W), None where they could not be decoded; the problem, None where there is none
    """
    if not image_ids:
        return
    with zipfile.ZipFile(zip_path) as archive:
        members = sort_members(archive.infolist()).predictions
        for image_id in image_ids:
            pixels, problem = _decode_member(archive, members[image_id], expected[image_id])
            if pixels is not None:
                problem = _value_problem(contents.add(pixels, image_id), largest_value)
            yield image_id, pixels, f"{image_id}: {problem}" if problem else None


def _decode_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: Size | None
) -> tuple[NDArray[np.uint8] | None, str | None]:
    try:
        data, problem = _read(archive, info, size)
        problem = problem or chunk_problem(data)
        return (None, problem) if problem else (decode(data), None)
    except UNREADABLE as error:
        return None, f"expected a PNG, got a member that cannot be read ({error}); likely damaged on the way"


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: Size | None) -> tuple[bytes, str | None]:
    """The bytes of a prediction; or the first ones and what is wrong with them, the rest is not unpacked."""
    if info.file_size <= SMALL_FILE:  # harmless whatever it is
        data = read_member(archive, info)
        return data, header_problem(data, size) or bytes_problem(data, info.file_size)
    with archive.open(info) as stream:
        start = stream.read(ENOUGH)
    problem = header_problem(start, size) or bytes_problem(start, info.file_size)
    return (start, problem) if problem else (read_member(archive, info), None)


def _value_problem(counts: NDArray[np.int64], largest_value: int) -> str | None:
    above = (np.flatnonzero(counts[largest_value + 1 :]) + largest_value + 1).tolist()
    if not above:
        return None
    ignored = "255 marks ignored pixels, which only the truth may have"
    hint = ignored if 255 in above else "likely scores in place of class ids, or ids of another list of classes"
    return f"expected values 0..{largest_value}, got {sample(above)} in {int(counts[above].sum())} pixels; {hint}"


# --- command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one zip; print its problems and return 1, or print `ok` and return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--split", required=True, choices=SPLITS)
    parser.add_argument("zip", type=Path)
    args = parser.parse_args(arguments)
    try:
        manifest = read_manifest(args.manifest, (args.split,), truth=False)
        expected = expected_sizes(manifest.select(args.split), args.split)
        track = get_track(args.track)
        contents = validate(args.zip, expected, track.largest_value(len(manifest.classes)))
        if problems := content_problems(contents, track, args.zip.name):
            raise SubmissionError(show_problems(problems))
    except PipelineError as error:
        print(error)
        return 1
    print(f"ok: {contents.images} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
