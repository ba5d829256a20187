"""The `folder` layout: `index.csv`, `classes.txt`, and images and masks wherever the index says.

Columns of `index.csv`: `image`, `labels`, `split`, and perhaps `mask`, `boxes` and `id`. Labels are class names
separated by spaces, or by `;` where a class name has a space; empty for an image with none of them, and on test rows.
Boxes are `x0 y0 x1 y1`, inclusive pixels, several separated by `;`. Paths are relative to the root, or absolute. Where
there is no id, it is the stem of the image's file.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import SPLITS, Manifest, MaskKind, from_rows
from pipeline.core.text import read_text
from pipeline.preprocess.folders import ProblemsError, list_names, only_images, shared_ids

REQUIRED = ("image", "labels", "split")
OPTIONAL = ("mask", "boxes", "id")
SPLIT_WORDS = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the index: the line on which it begins, from 1, and its cells by column."""

    line: int
    cells: Mapping[str, str]


def list_folder(root: Path, mask_kind: MaskKind = "labels") -> Manifest:
    """List a folder; nothing but `index.csv` and `classes.txt` is opened.

    Raises:
        DataError: if the root or one of both files is missing, or a row does not fit the layout; all bad rows at once
    """
    if not root.is_dir():
        kind = "a link that leads nowhere" if root.is_symlink() else "no such folder"
        raise DataError(
            f"{root}: expected a folder with index.csv and classes.txt, found {kind}; "
            "link yours there (`ln -sfn /path/to/images data/raw/folder`) or set preprocess.source.root"
        )
    if not (root / "index.csv").is_file():
        raise DataError(f"{root / 'index.csv'}: {_no_index(root)}")
    classes = read_classes(root / "classes.txt")
    index = read_table(root / "index.csv", REQUIRED, OPTIONAL, "labels are separated by spaces")
    rows, problems = _rows(index, classes)
    problems += shared_ids((_id(row.cells), row.cells["image"]) for row in index)
    if problems:
        raise ProblemsError(root / "index.csv", problems, what="mistakes")
    return from_rows(rows, classes, root, mask_kind)


def _no_index(root: Path) -> str:
    """The message about a folder without an index; the usual cause is a folder of images for each class."""
    expected = f"expected a table with the columns {', '.join(REQUIRED)}, found no file"
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    with_images = [folder.name for folder in folders if only_images(list_names(folder))]
    if not with_images:
        return expected
    return (
        f"{expected}, but folders of images, {sample(with_images)}; likely a folder for each class: `lid init {root}` "
        "writes a params file for them"
    )


def read_classes(path: Path) -> tuple[str, ...]:
    """Read one class name a line; the order gives the class ids, 1..K.

    Raises:
        DataError: if the file is missing or empty, or holds a name twice, or names with a space and one with `;`
    """
    if not path.is_file():
        raise DataError(f"{path}: expected one class name a line, found no file")
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: expected different class names, got {sample(twice)} more than once")
    if (sign := separator(names)) and (bad := [name for name in names if sign in name]):
        raise DataError(
            f"{path}: expected class names without {sign!r}, which separates labels where a name has a space, got "
            f"{sample(bad)}"
        )
    if not names:
        raise DataError(f"{path}: expected class names, got an empty file")
    return tuple(names)


def separator(classes: Iterable[str]) -> str | None:
    """What separates the labels of an image: `;` where a class name has a space, else None, any spaces.

    >>> separator(["cat", "prairie dog"]), separator(["cat", "dog"])
    (';', None)
    """
    return ";" if any(" " in name for name in classes) else None


def read_table(path: Path, required: Sequence[str], optional: Sequence[str], inside: str) -> list[Row]:
    """The rows of a table. No cell is dropped: a row with more of them than columns is an error.

    Cells that a row lacks at its end are empty; blank lines count, but are no rows.

    Args:
        required, optional: names of columns
        inside: what separates things inside a cell, in place of a comma

    Raises:
        DataError: if the file is no text in UTF-8, has no row or other columns, or a row has too many cells
    """
    lines = _read_lines(path)
    if not lines:
        raise DataError(f"{path}: expected comma-separated values, got an empty file")
    columns = lines[0][1]
    _check_columns(path, columns, required, optional)
    long = [
        f"line {line}: expected {len(columns)} cells, {','.join(columns)}, got {len(cells)}: {cells}; likely a comma "
        f"inside a cell: {inside}"
        for line, cells in lines[1:]
        if any(cells[len(columns) :])
    ]
    if long:
        raise ProblemsError(path, long, what="mistakes")
    if not lines[1:]:
        raise DataError(f"{path}: expected rows, got none")
    padding = [""] * len(columns)
    return [Row(line, dict(zip(columns, [*cells, *padding], strict=False))) for line, cells in lines[1:]]


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The cells of each row, with the line on which it begins as an editor counts them."""
    reader, rows, line = csv.reader(io.StringIO(read_text(path), newline=""), strict=True), [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or len(cells) > 1:
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}: line {line}: expected comma-separated values, got {error}; likely a quote that is not closed"
        ) from None
    return rows


def _check_columns(path: Path, columns: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    missing = sorted(set(required) - set(columns))
    unknown = sorted(set(columns) - set(required) - set(optional))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if missing or unknown or twice:
        split = {name.strip() for name in re.split(r"[;\t|]", columns[0])}
        hint = "; likely separated by semicolons or tabs: save it with commas" if split >= set(required) else ""
        more, others = f", twice={twice}" if twice else "", f" and perhaps {optional}" if optional else ""
        raise DataError(
            f"{path}: expected the columns {required}{others}; missing={missing}, unknown={unknown}{more}{hint}"
        )


def _rows(index: Sequence[Row], classes: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    position = {name: k for k, name in enumerate(classes)}
    rows, mistakes = [], dict[str, list[str]]()
    for row in index:
        try:
            rows.append(_row(row.cells, position, separator(classes)))
        except ValueError as error:
            mistakes.setdefault(str(error), []).append(f"line {row.line}, {row.cells['image']!r}")
    return rows, list(_grouped(mistakes))


def _grouped(mistakes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A line for each mistake, with the first row that has it, and how many more have the same."""
    for message, rows in mistakes.items():
        more = f" and {len(rows) - 1} more rows" if len(rows) > 2 else f" and {rows[1]}" if len(rows) > 1 else ""
        yield f"{rows[0]}{more}: {message}"


def _id(row: Mapping[str, str]) -> str:
    return row.get("id") or Path(row["image"]).stem


def _row(row: Mapping[str, str], position: Mapping[str, int], sign: str | None) -> dict[str, Any]:
    if not row["image"]:
        raise ValueError("expected the path of an image, got nothing")
    if row["split"] not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {row['split']!r}{_split_hint(row['split'])}")
    return {
        "id": _id(row),
        "file": row["image"],
        "width": 0,
        "height": 0,
        "labels": sorted({_class_index(name.strip(), position) for name in row["labels"].split(sign) if name.strip()}),
        "split": row["split"],
        "mask": row.get("mask") or None,
        "boxes": parse_boxes(row["boxes"]) if row.get("boxes") else None,
        "bytes": 0,
    }


def _split_hint(word: str) -> str:
    plain = word.strip().lower()
    close = difflib.get_close_matches(plain, SPLITS, n=1)
    meant = SPLIT_WORDS.get(plain) or (close[0] if close else "")
    return f"; did you mean {meant!r}?" if meant else ""


def _class_index(name: str, position: Mapping[str, int]) -> int:
    if name not in position:
        if len(parts := [part for part in re.split(r"[;,|/+]", name) if part]) > 1 and position.keys() >= set(parts):
            raise ValueError(f"label: expected names of classes.txt separated by spaces, got {name!r}")
        close = difflib.get_close_matches(name, position, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"label: expected a name of classes.txt, got {name!r}{hint}")
    return position[name]


def parse_boxes(text: str) -> list[int]:
    """Parse `x0 y0 x1 y1; x0 y0 x1 y1`, inclusive pixels, to one flat list.

    Raises:
        ValueError: if a box has not four whole numbers, or ends before it starts

    >>> parse_boxes("1 17 58 56; 0 0 3 2")
    [1, 17, 58, 56, 0, 0, 3, 2]
    """
    flat: list[int] = []
    for box in text.split(";"):
        try:
            x0, y0, x1, y1 = (int(number) for number in box.split())
        except ValueError:
            raise ValueError(f"boxes: expected `x0 y0 x1 y1` in whole pixels, got {box.strip()!r}") from None
        if not (0 <= x0 <= x1 and 0 <= y0 <= y1):
            raise ValueError(
                f"boxes: expected 0 <= x0 <= x1 and 0 <= y0 <= y1, got {box.strip()!r}; likely width and height"
            )
        flat += [x0, y0, x1, y1]
    return flat
