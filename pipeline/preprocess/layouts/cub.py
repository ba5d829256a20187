"""CUB-200-2011 in its official layout.

    <root>/CUB_200_2011/images.txt                `<n> <folder>/<name>.jpg`; <root> may also be CUB_200_2011 itself
    <root>/CUB_200_2011/image_class_labels.txt    `<n> <class>`, class from 1
    <root>/CUB_200_2011/train_test_split.txt      `<n> <1: train, 0: test>`
    <root>/CUB_200_2011/bounding_boxes.txt        `<n> <x> <y> <width> <height>`, pixels with decimals
    <root>/CUB_200_2011/classes.txt               `<class> <name>`
    <root>/CUB_200_2011/images/<folder>/<name>.jpg
    <root>/segmentations/<folder>/<name>.png      a download of its own, also inside CUB_200_2011: foreground above 128

A box holds all pixels that the official one touches.
Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011
"""

import math
from pathlib import Path

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import Manifest
from pipeline.core.text import read_text
from pipeline.preprocess.folders import Problems, find_folder, rows_of_splits, stem, walk
from pipeline.preprocess.held_out import split_in_three
from pipeline.preprocess.settings import CubSource

NAMES = ("images", "classes")  # lists of names
LISTS = {"images": 1, "image_class_labels": 1, "train_test_split": 1, "bounding_boxes": 4}  # values after the number


def list_images(source: CubSource, jobs: int = 1) -> Manifest:
    """List train, val and test; the official splits are train and test.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = Path(source.root)
    home = find_folder(root, ("CUB_200_2011/images", "images"), "CUB-200-2011").parent
    names, numbers, training, corners = (_read(home / f"{name}.txt", values) for name, values in LISTS.items())
    incomplete = sorted(set(names) ^ set(numbers) | set(names) ^ set(training) | set(names) ^ set(corners))
    if incomplete:
        raise DataError(
            f"{home}: expected every image number in all four lists, not so: {sample(incomplete)}; likely a cut list"
        )
    ids = {number: stem(name[0].rpartition("/")[2]) for number, name in names.items()}
    problems = Problems(root)
    train, test = ([ids[number] for number in names if training[number] == [flag]] for flag in ("1", "0"))
    table = rows_of_splits(
        split_in_three(train, test, source.val),
        root,
        _files(home / "images"),
        problems,
        labels={ids[number]: [int(words[0]) - 1] for number, words in numbers.items()},
        masks=_segmentations(root, problems) if source.truth == "segmentations" else None,
        boxes={ids[number]: _box(words) for number, words in corners.items()} if source.truth == "boxes" else None,
    )
    problems.stop_if_any()
    return Manifest(table, _class_names(home), root, "foreground")


def _read(path: Path, values: int = 1) -> dict[str, list[str]]:
    """The words after the number at the start of each line, by that number: so many values, numbers but for names."""
    if not path.is_file():
        raise DataError(f"{path}: expected a list of CUB-200-2011, found no file")
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    for words in lines:
        if len(words) != values + 1 or not all(map(_is_number, words[:1] if path.stem in NAMES else words)):
            raise DataError(f"{path}: expected `<number>` and {values} values on every line, got {' '.join(words)!r}")
    return {words[0]: words[1:] for words in lines}


def _is_number(word: str) -> bool:
    return word.removeprefix("-").replace(".", "", 1).isdecimal()


def _class_names(home: Path) -> tuple[str, ...]:
    return tuple(words[0] for words in _read(home / "classes.txt").values())


def _box(words: list[str]) -> list[int]:
    """x0 y0 x1 y1, inclusive, of x y width height.

    >>> _box(["60.0", "27.5", "325.0", "304.0"])
    [60, 27, 384, 331]
    """
    x, y, width, height = (float(word) for word in words)
    return [math.floor(x), math.floor(y), math.ceil(x + width) - 1, math.ceil(y + height) - 1]


def _files(folder: Path) -> dict[str, Path]:
    return {stem(name): folder / inner / name for inner, names in walk(folder).items() for name in names}


def _segmentations(root: Path, problems: Problems) -> dict[str, Path]:
    candidates = ("segmentations", "CUB_200_2011/segmentations")
    what = "the segmentations of CUB-200-2011, a download of their own,"
    folder = problems.attempt(lambda: find_folder(root, candidates, what))
    return _files(folder) if folder else {}
