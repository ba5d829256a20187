"""Finding folders, files and images of official layouts, whose copies differ in where they were unpacked.

Nothing here stats files one by one: a folder's names come from one listing. Links are followed by the operating system
only; paths are compared by name, so that `data/raw/ilsvrc` may be a link to a disk elsewhere.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DataError, sample
from pipeline.manifest import Split, make_rows

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
MOST_LINES = 20  # of a message about many mistakes


class Problems:
    """What is wrong with a data set, collected, so that all of it is said at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def stop_if_any(self) -> None:
        """Raise what has been collected.

        Raises:
            DataError: if there is a problem, with one line for each of the first `MOST_LINES`
        """
        if len(self.lines) == 1:
            raise DataError(self.lines[0])
        if self.lines:
            more = [f"  … {len(self.lines)} in all"] if len(self.lines) > MOST_LINES else []
            shown = [f"  {line}" for line in self.lines[:MOST_LINES]]
            raise DataError("\n".join([f"{self.root}: {len(self.lines)} problems:", *shown, *more]))

    def folder(self, root: Path, candidates: Sequence[str], what: str, key: str = "root") -> Path:
        """The first of `candidates` below `root` that is a folder; if there is none, that is a problem of the setting `key`."""
        return self._first(root, candidates, what, key, Path.is_dir)

    def file(self, root: Path, candidates: Sequence[str], what: str, key: str = "root") -> Path:
        """The first of `candidates` below `root` that is a file; if there is none, that is a problem of the setting `key`."""
        return self._first(root, candidates, what, key, Path.is_file)

    def _first(self, root: Path, candidates: Sequence[str], what: str, key: str, exists: object) -> Path:
        assert callable(exists)
        for candidate in candidates:
            if exists(root / candidate):
                return root / candidate
        self.add(missing(root, candidates, what, key))
        return root / candidates[0]


def missing(root: Path, candidates: Sequence[str], what: str, key: str) -> str:
    """The message about something that none of the places holds where downloads have it."""
    if not root.is_dir():
        kind = "a link that leads nowhere" if root.is_symlink() else "no such folder"
        return (
            f"{root}: expected {what} in it, found {kind}; link yours there (`ln -s /path/to/it {root}`) or set "
            f"preprocess.source.{key}"
        )
    places = " or ".join(candidate or "." for candidate in candidates)
    inside = sorted(os.listdir(root))
    return f"{root}: expected {what} at {places}, found {sample(inside)}; likely preprocess.source.{key} is another folder"


def image_names(folder: Path) -> tuple[list[str], int]:
    """The names of the images in a folder, sorted, and how many other entries it has; `._a.jpg` of macOS is no image."""
    every = os.listdir(folder)
    images = sorted(name for name in every if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
    return images, len(every) - len(images)


def stem(name: str) -> str:
    """The image id of a file name.

    >>> stem("n02672831_11478.JPEG"), stem("2007_000032")
    ('n02672831_11478', '2007_000032')
    """
    return os.path.splitext(name)[0]


def files_by_id(folders: Iterable[Path]) -> dict[str, Path]:
    """Where the images of several folders are, by id; where two folders hold an id, the first one's."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for name in image_names(folder)[0]:
                found.setdefault(stem(name), folder / name)
    return found


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
    masks: Mapping[str, Path] | None,
    labels: Mapping[str, Sequence[int]],
    problems: Problems,
) -> pa.Table:
    """Rows of listed images; a listed image without a file, or without a mask where masks are given, is a problem.

    Args:
        ids: image ids, in order
        split: theirs
        root: where paths start
        files: image files by id
        masks: mask files by id; None if there are none
        labels: class indices by id; none where unknown
        problems: gets what is missing
    """
    for what, place in (("file", files), ("mask", masks)):
        absent = [image_id for image_id in ids if place is not None and image_id not in place]
        if absent:
            problems.add(f"{split}: expected a {what} for each of {len(ids)} listed images, missing={sample(absent)}")
    there = [image_id for image_id in ids if image_id in files]
    return make_rows(
        len(there),
        id=there,
        file=[below(files[image_id], root) for image_id in there],
        split=split,
        labels=[list(labels.get(image_id, ())) for image_id in there],
        mask=None if masks is None else [below(masks[i], root) if i in masks else None for i in there],
    )
