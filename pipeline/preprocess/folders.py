"""Find folders, files and images of official layouts, whose copies differ in where they were unpacked.

Nothing here stats files one by one: a folder's names come from one listing. Links are followed by the operating system
only; paths are compared by name, so that `data/raw/ilsvrc` may be a link to a disk elsewhere.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import Manifest, MaskTurn, Split, make_rows
from pipeline.core.text import escaped, is_utf8

T = TypeVar("T")

JPEG_SUFFIXES = (".jpeg", ".jpg")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png")
MASK_SUFFIXES = (".png",)
WNID = re.compile(r"n\d{8}")
MOST_LINES = 20  # of a message about many mistakes


class ProblemsError(DataError):
    """Everything that is wrong with a source.

    Attributes:
        lines: the problems, one message each
        manifest: what could be listed all the same; None if nothing could
    """

    def __init__(
        self, root: Path, lines: Sequence[str], manifest: Manifest | None = None, what: str = "problems"
    ) -> None:
        self.lines, self.manifest = tuple(lines), manifest
        more = [f"  … {len(lines)} in all"] if len(lines) > MOST_LINES else []
        shown = [f"  {line}" for line in lines[:MOST_LINES]]
        heading = [f"{root}: {len(lines)} {what}:"]
        several = len(lines) > 1 or what != "problems"
        super().__init__("\n".join([*heading, *shown, *more]) if several else lines[0])


class Problems:
    """The problems of a source, collected while it is listed, so that all are reported at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def stop_if_any(self, manifest: Manifest | None = None) -> None:
        """Raise what has been collected.

        Raises:
            ProblemsError: if there is a problem; it keeps `manifest`, what could be listed all the same
        """
        if self.lines:
            raise ProblemsError(self.root, self.lines, manifest)

    def attempt(self, call: Callable[[], T]) -> T | None:
        """What `call` returns; None, and one more problem, if it raises a data error."""
        try:
            return call()
        except ProblemsError as error:
            self.lines += error.lines
        except DataError as error:
            self.add(str(error))
        return None

    def need(self, what: str, split: Split, ids: Sequence[str], found: Container[str]) -> None:
        """It is a problem if an id of a split is not among those found."""
        absent = [image_id for image_id in ids if image_id not in found]
        if absent:
            self.add(f"{self.root}: {split}: expected {what} of each of {len(ids)} images, missing={sample(absent)}")

    def keep_apart(self, val: Sequence[str], test: Sequence[str]) -> None:
        """It is a problem if an image is in val and in test: settings are chosen on val, and test must not see them."""
        if both := sorted(set(val) & set(test)):
            self.add(
                f"{self.root}: expected no image in val and in test, got {len(both)}: {sample(both)}; "
                "take them out of one list"
            )


def find_folder(root: Path, candidates: Sequence[str], what: str, key: str = "root") -> Path:
    """The first of `candidates` below `root` that is a folder.

    Raises:
        DataError: if there is none, naming `what` is expected and the setting `key` of the place
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DataError(_missing(root, candidates, what, key))


def find_file(root: Path, candidates: Sequence[str], what: str, key: str = "root") -> Path:
    """The first of `candidates` below `root` that is a file; else as `find_folder`."""
    for candidate in candidates:
        if (root / candidate).is_file():
            return root / candidate
    raise DataError(_missing(root, candidates, what, key))


def first_files(root: Path, candidates: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """By split the first of its candidates below `root` that is a file; splits without one are left out."""
    found = {split: [root / name for name in names if (root / name).is_file()] for split, names in candidates.items()}
    return {split: paths[0] for split, paths in found.items() if paths}


def _missing(root: Path, candidates: Sequence[str], what: str, key: str) -> str:
    """The message about something that is in none of the usual places."""
    if not root.is_dir():
        kind = "a link that leads nowhere" if root.is_symlink() else "no such folder"
        return (
            f"{root}: expected {what} in it, found {kind}; link yours there (`ln -s /path/to/it {root}`) or set "
            f"preprocess.source.{key}"
        )
    places = " or ".join(candidate or "." for candidate in candidates)
    inside = sorted(path.name for path in root.iterdir())
    return (
        f"{root}: expected {what} at {places}, found {sample(inside)}; likely preprocess.source.{key} is another folder"
    )


def list_names(folder: Path) -> list[str]:
    """The names in a folder, in any order; creating a Path for each would take three times as long."""
    names = os.listdir(folder)  # noqa: PTH208
    check_names(folder, names)
    return names


def check_names(folder: Path, names: Sequence[str]) -> None:
    """Refuse names of images that are no UTF-8: no table can hold them.

    Raises:
        DataError: naming the folder, and the names with what is no UTF-8 as escapes
    """
    if bad := [escaped(name) for name in only_images(names) if not is_utf8(name)]:
        raise DataError(
            f"{escaped(str(folder))}: expected names of images in UTF-8, got {sample(bad)}; likely unpacked from an "
            "archive of another system: rename them (`convmv -f latin1 -t utf-8`)"
        )


def only_images(names: Iterable[str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
    """The names that end as images do, in any case, sorted; `._a.jpg`, which macOS leaves, is none.

    >>> only_images(["b.JPEG", "a.png", "._a.png", "n01440764.tar"])
    ['a.png', 'b.JPEG']
    >>> only_images(["b.JPEG", "a.png"], JPEG_SUFFIXES)
    ['b.JPEG']
    """
    return sorted(name for name in names if name.lower().endswith(suffixes) and not name.startswith("."))


def walk(folder: Path) -> dict[str, list[str]]:
    """The names of all files below `folder`, by the folder they are in, as seen from there.

    Links are followed, but for those to a folder above them.
    """
    found, above = {}, {str(folder): frozenset({_identity(folder)})}  # of each folder: itself and those it lies in
    for place, below_it, names in os.walk(folder, followlinks=True):
        check_names(Path(place), names)
        found[place] = names
        here = above.pop(place)
        identities = {name: _identity(Path(place, name)) for name in below_it}
        below_it[:] = [name for name in below_it if identities[name] not in here]
        above |= {os.path.join(place, name): here | {identities[name]} for name in below_it}  # noqa: PTH118
    return {Path(place).relative_to(folder).as_posix(): names for place, names in sorted(found.items()) if names}


def _identity(folder: Path) -> tuple[int, int]:
    about = folder.stat()
    return about.st_dev, about.st_ino


def stem(name: str) -> str:
    """The image id of a file name.

    >>> stem("n02672831_11478.JPEG"), stem("2007_000032")
    ('n02672831_11478', '2007_000032')
    """
    return os.path.splitext(name)[0]  # noqa: PTH122 (a Path for each of a million names takes seconds)


def shared_ids(named: Iterable[tuple[str, str]], rule: str = "the id is the file's stem") -> list[str]:
    """One line for every image id that more than one file has: the id names the prediction.

    Ids that differ in case alone, or in the way an accent is written, are one name on the disks of other systems.

    Args:
        named: image id and file
        rule: how ids follow from files, as messages say it
    """
    first: dict[str, tuple[str, str]] = {}
    lines = []
    for image_id, file in named:
        key = unicodedata.normalize("NFC", image_id).lower()  # casefold makes ß and ss one
        if key not in first:
            first[key] = (image_id, file)
            continue
        other_id, other = first[key]
        if other == file:
            lines.append(f"{file!r}: image listed twice")
        elif other_id == image_id:
            lines.append(f"{file!r}: same image id as {other!r}; {rule}, rename one")
        else:
            lines.append(
                f"{file!r}: expected an image id of its own, got that of {other!r} but for case or accents "
                f"({image_id!a}, {other_id!a}); the predictions would be one file on some disks, rename one"
            )
    return lines


def files_by_id(folders: Iterable[Path], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Where the images of several folders are, by id; where two folders hold an id, the first one's.

    Args:
        folders: those that are there are listed, without the folders below them
        suffixes: how a name has to end, in lower case; a name counts in any case
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for name in only_images(list_names(folder), suffixes):
                found.setdefault(stem(name), folder / name)
    return found


def files_below(folder: Path) -> dict[str, Path]:
    """The images of a folder and of those below it, by the id that class folders give: the path joined by `__`.

    Raises:
        DataError: if there is no such folder
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, found none")
    return {
        "__".join([*Path(place).parts, stem(name)]): folder / place / name
        for place, names in walk(folder).items()
        for name in only_images(names)
    }


def with_class_folders(folders: Iterable[Path]) -> list[Path]:
    """The folders, each with those of its folders that are named after a class (`n01440764`).

    Many copies have the val images of ILSVRC sorted by class, for loaders that want train and val alike.
    """
    every: list[Path] = []
    for folder in folders:
        every.append(folder)
        if folder.is_dir():
            with os.scandir(folder) as entries:
                classes = sorted(entry.name for entry in entries if WNID.fullmatch(entry.name) and entry.is_dir())
            every += [folder / name for name in classes]
    return every


def masks_by_id(folder: Path) -> dict[str, Path]:
    """The masks of a folder, `<id>.png`, by id; images that lie among them are none.

    Raises:
        DataError: if it holds no mask
    """
    masks = files_by_id([folder], MASK_SUFFIXES)
    if not masks:
        count = len(list_names(folder))
        hint = "likely the folder of the images, or an unfinished copy"
        raise DataError(f"{folder}: expected masks, <id>.png, found none among {count} files; {hint}")
    return masks


def common_root(*folders: Path) -> Path:
    """The folder that all folders are in, by name; the working directory if one is absolute and another is not.

    >>> common_root(Path("data/raw/ilsvrc"), Path("data/raw/lid")).as_posix()
    'data/raw'
    >>> common_root(Path("data"), Path("/disks/ilsvrc")).as_posix()
    '.'
    """
    if len({folder.is_absolute() for folder in folders}) == 2:
        return Path()
    return Path(os.path.commonpath(folders))


def below(path: Path, root: Path) -> str:
    """`path` from `root` on, by name; the path itself if it is elsewhere.

    >>> below(Path("data/raw/lid/a.png"), Path("data/raw")), below(Path("/disks/a.png"), Path())
    ('lid/a.png', '/disks/a.png')
    """
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def rows_of_ids(
    ids: Sequence[str],
    split: Split,
    root: Path,
    files: Mapping[str, Path],
    problems: Problems,
    *,
    labels: Mapping[str, Sequence[int]] | None = None,
    masks: Mapping[str, Path] | None = None,
    boxes: Mapping[str, Sequence[int]] | None = None,
    mask_turns: Mapping[str, MaskTurn] | None = None,
) -> pa.Table:
    """Rows of listed images, in the order of the list; a listed image without a file is a problem.

    Args:
        ids: image ids
        split: theirs
        root: where the paths in the table start
        files: image files by id
        problems: gets what is missing
        labels, masks, boxes, mask_turns: what is known of the images, by id
    """
    problems.need("a file", split, ids, files)
    there = [image_id for image_id in ids if image_id in files]
    truth = {image_id: below(path, root) for image_id, path in (masks or {}).items()}
    return make_rows(
        len(there),
        id=there,
        file=[below(files[image_id], root) for image_id in there],
        split=split,
        labels=[list((labels or {}).get(image_id, ())) for image_id in there],
        mask=[truth.get(image_id) for image_id in there],
        boxes=[(boxes or {}).get(image_id) for image_id in there],
        mask_turn=[(mask_turns or {}).get(image_id) for image_id in there],
    )


def rows_of_splits(
    splits: Mapping[Split, Sequence[str]],
    root: Path,
    files: Mapping[str, Path],
    problems: Problems,
    *,
    labels: Mapping[str, Sequence[int]],
    masks: Mapping[str, Path] | None = None,
    boxes: Mapping[str, Sequence[int]] | None = None,
) -> pa.Table:
    """Rows of a set whose truth is public: train gets labels, val labels and truth, test nothing.

    The challenge forbids masks and boxes in training, and a submission predicts images without any labels or masks.
    A val image without a mask, where masks are given, is a problem. Arguments as in `rows_of_ids`.
    """
    parts = []
    for split, ids in splits.items():
        known = None if split == "test" else labels
        is_val = split == "val"
        problems.need("a mask", split, ids if is_val and masks is not None else (), masks or {})
        of_val = (masks, boxes) if is_val else (None, None)
        parts.append(rows_of_ids(ids, split, root, files, problems, labels=known, masks=of_val[0], boxes=of_val[1]))
    return pa.concat_tables(parts)
