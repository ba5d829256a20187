"""Check a submission against the published rules.

A submission is a flat zip of one `<id>.png` per image: 8-bit, mode L, original size; class ids 0..K in Track 1, scores
0..255 in Track 3. Any zip can be checked, also one made elsewhere:

    python -m pipeline.package.validate --track track1 --manifest data/track1/manifest --split test predictions.zip
"""

import argparse
import io
import lzma
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import PipelineError, SubmissionError, sample
from pipeline.core.images import MAX_PIXELS
from pipeline.core.manifest import SPLITS, Manifest, read_manifest, stored_size
from pipeline.core.tracks import TRACKS, Track, get_track

Size = tuple[int, int]  # (width, height)
Expected = Mapping[str, Size | None]  # by image id; None where the size of the image is not known

MOST_PROBLEMS = 20  # lines of one error; the rest is counted
SMALL_FILE = 1 << 16  # bytes that a PNG may hold beside its pixels

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_HEADER = struct.Struct(">8sI4sIIBB")  # signature, length, IHDR, width, height, bit depth, color type
_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}  # color type of a PNG to mode
_MODE_HINTS = {
    "P": "; likely a palette copy for viewing, save the values themselves",
    "RGB": "; likely a colored copy for viewing, save the values themselves",
    "1": "; likely a bool array, save it as uint8",
    "L with 16 bits": "; likely saved from a 16-bit array, save it as uint8",
}
_METADATA = re.compile(r"(^|[/\\])(__MACOSX[/\\]|\.DS_Store$|\._|Thumbs\.db$|desktop\.ini$)")
# everything that reading a damaged or hostile zip, or a PNG in it, has been seen to raise
_UNREADABLE = (
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


@dataclass(slots=True, eq=False)
class Contents:
    """What a valid submission holds.

    Attributes:
        images: predictions
        values: pixels per value, over all predictions. Shape: (256,)
        constant: predictions with one value only
        without_foreground: predictions with nothing but 0
    """

    images: int = 0
    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    constant: int = 0
    without_foreground: int = 0

    def add(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Count one prediction of shape (H, W); return its pixels per value. Shape: (256,)"""
        counts = np.bincount(pixels.ravel(), minlength=256)
        self.images += 1
        self.values += counts
        self.constant += int(np.count_nonzero(counts) == 1)
        self.without_foreground += int(counts[0] == pixels.size)
        return counts

    def summarize(self, track: Track) -> dict[str, Any]:
        """Counts for package.json; in Track 1 also how many classes the predictions name."""
        used = np.flatnonzero(self.values).tolist()
        counts = {
            "images": self.images,
            "images_without_foreground": self.without_foreground,
            "constant_images": self.constant,
            "smallest_value": min(used, default=0),
            "largest_value": max(used, default=0),
        }
        return counts | ({"classes_in_predictions": len(set(used) - {0})} if track.task == "segmentation" else {})


def validate(
    zip_path: Path, expected: Expected, largest_value: int, *, name: str | None = None, most: int = MOST_PROBLEMS
) -> Contents:
    """Check a submission with the server's strictness and report all problems at once.

    Refused are: a file that is no zip; folders; metadata of macOS and Windows; names other than `<id>.png`; ids that
    are missing, unknown or doubled; encrypted or damaged members; what is not a PNG of mode L with 8 bits; another size
    than the image has; values above `largest_value`. Members of unknown name are never unpacked, the others only if
    their header is right and they are not much larger than their pixels, so that a zip bomb does no harm.

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
    name = zip_path.name if name is None else name
    if not zip_path.is_file():
        yield f"{name}: expected a zip, found no file"
        return
    try:
        with zipfile.ZipFile(zip_path) as archive:
            members = _sort(archive.infolist())
            yield from _name_problems(members, expected, name)
            for image_id in sorted(members.predictions.keys() & expected.keys()):
                member = members.predictions[image_id]
                yield from _prediction_problems(archive, member, image_id, expected[image_id], largest_value, contents)
    except _UNREADABLE as error:
        yield (
            f"{name}: expected a zip, got a file that cannot be read as one ({error}); likely a truncated upload or "
            "copy"
        )


@dataclass(frozen=True, slots=True)
class _Members:
    predictions: dict[str, zipfile.ZipInfo] = field(default_factory=dict)  # image id to its first member
    folders: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def _sort(infos: Sequence[zipfile.ZipInfo]) -> _Members:
    members = _Members()
    for info in infos:
        name = info.filename
        *folders, last = re.split(r"[/\\]", name)
        if _METADATA.search(name):
            members.metadata.append(name)
            continue
        if folders:
            members.folders.append(name)
        if last and not last.endswith(".png"):
            members.misnamed.append(name)
        elif last.removesuffix(".png") in members.predictions:
            members.doubled.append(name)
        elif last:
            members.predictions[last.removesuffix(".png")] = info
    return members


def _name_problems(members: _Members, expected: Mapping[str, Any], name: str) -> Iterator[str]:
    if members.folders:
        yield (
            f"{name}: expected a flat zip, got {len(members.folders)} members in folders: {sample(members.folders)}; "
            "likely the folder was zipped instead of its files, use `zip -j`"
        )
    if members.metadata:
        yield (
            f"{name}: expected predictions only, got {len(members.metadata)} files of the operating system: "
            f"{sample(members.metadata)}; likely zipped in the Finder, use `zip -X -j`"
        )
    if members.misnamed:
        yield (
            f"{name}: expected names of the form <id>.png, got {len(members.misnamed)} others: "
            f"{sample(members.misnamed)}"
        )
    if members.doubled:
        yield (
            f"{name}: expected every id once, got {len(members.doubled)} members a second time: "
            f"{sample(members.doubled)}"
        )
    missing, extra = (
        sorted(expected.keys() - members.predictions.keys()),
        sorted(members.predictions.keys() - expected.keys()),
    )
    if missing or extra:
        hint = "; likely the predictions for another split" if len(missing) == len(expected) and extra else ""
        yield (
            f"{name}: expected {len(expected)} ids, got {len(members.predictions)}; "
            f"missing={sample(missing)}, extra={sample(extra)}{hint}"
        )


def _prediction_problems(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    image_id: str,
    size: Size | None,
    largest_value: int,
    contents: Contents,
) -> Iterator[str]:
    if info.flag_bits & 0x1:
        yield f"{image_id}: expected a readable member, got an encrypted one"
        return
    try:
        with archive.open(info) as stream:
            header = stream.read(_HEADER.size)
        problem = _header_problem(header, size) or _bytes_problem(info.file_size, size or _stored_size(header))
        pixels = None if problem else _decode(archive.read(info))
    except _UNREADABLE as error:
        problem, pixels = f"expected a PNG, got a member that cannot be read ({error}); likely damaged", None
    if pixels is not None:
        problem = _value_problem(contents.add(pixels), largest_value)
    if problem:
        yield f"{image_id}: {problem}"


def _header_problem(header: bytes, size: Size | None) -> str | None:
    wanted = "expected a PNG of mode L, " + (
        f"{size[0]}x{size[1]} (width x height)" if size else f"1 to {MAX_PIXELS} pixels"
    )
    if len(header) < _HEADER.size or not header.startswith(_PNG_SIGNATURE):
        return (
            f"{wanted}, got "
            f"{'a JPEG' if header.startswith(_JPEG_SIGNATURE) else f'a file that starts with {header[:8]!r}'}"
        )
    _, _, _, width, height, bits, color = _HEADER.unpack(header)
    mode = _mode(bits, color)
    if mode == "L" and ((width, height) == size if size else 0 < width * height <= MAX_PIXELS):
        return None
    hint = (
        "; likely width and height swapped" if (height, width) == size != (width, height) else _MODE_HINTS.get(mode, "")
    )
    return f"{wanted}, got mode {mode}, {width}x{height}{hint}"


def _stored_size(header: bytes) -> Size:
    _, _, _, width, height, _, _ = _HEADER.unpack(header)
    return width, height


def _mode(bits: int, color: int) -> str:
    mode = _MODES.get(color, f"of color type {color}")
    if color == 3 or bits == 8:
        return mode
    return "1" if (bits, color) == (1, 0) else f"{mode} with {bits} bits"


def _bytes_problem(unpacked: int, size: Size) -> str | None:
    """A PNG of mode L needs (width + 1) * height bytes if nothing is compressed.

    Twice that is no prediction but a bomb.
    """
    most = 2 * (size[0] + 1) * size[1] + SMALL_FILE
    return f"expected at most {most} bytes for {size[0]}x{size[1]} pixels, got {unpacked}" if unpacked > most else None


def _decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a PNG whose header is known to be right, with another decoder than the one that wrote it. Shape: (H, W)

    Pillow decodes without looking at checksums or at the end of the file, so it has to `verify` first.
    """
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        image.verify()
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.array(image, np.uint8)


def _value_problem(counts: NDArray[np.int64], largest_value: int) -> str | None:
    above = (np.flatnonzero(counts[largest_value + 1 :]) + largest_value + 1).tolist()
    if not above:
        return None
    hint = "; 255 marks ignored pixels, which only the truth may have" if 255 in above else ""
    return f"expected values 0..{largest_value}, got {sample(above)} in {int(counts[above].sum())} pixels{hint}"


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
        contents = validate(args.zip, expected, get_track(args.track).largest_value(len(manifest.classes)))
    except PipelineError as error:
        print(error)
        return 1
    print(f"ok: {contents.images} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
