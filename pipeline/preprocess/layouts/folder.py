"""The `folder` layout: `index.csv`, `classes.txt`, and images and masks wherever the index says.

Columns of `index.csv`: `image`, `labels`, `split`, and `mask` and/or `boxes`. Labels are class names separated by
spaces, empty for an image with none of them, and on test rows. Boxes are `x0 y0 x1 y1`, inclusive pixels, several
separated by `;`. Paths are relative to the root.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import SPLITS, Manifest, MaskKind, from_rows
from pipeline.preprocess.folders import ProblemsError

REQUIRED = ("image", "labels", "split")
OPTIONAL = ("mask", "boxes")


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
    classes = read_classes(root / "classes.txt")
    index = _read_index(root / "index.csv")
    rows, problems = _rows(index, classes)
    problems += _listed_twice(index["image"].tolist())
    if problems:
        raise ProblemsError(root / "index.csv", problems, what="bad rows")
    return from_rows(rows, classes, root, mask_kind)


def read_classes(path: Path) -> tuple[str, ...]:
    """Read one class name a line; the order gives the class ids, 1..K.

    Raises:
        DataError: if the file is missing or empty, or holds a name twice or one with a space
    """
    if not path.is_file():
        raise DataError(f"{path}: expected one class name a line, found no file")
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    bad = [name for name in names if " " in name] or [name for name in set(names) if names.count(name) > 1]
    if not names or bad:
        raise DataError(
            f"{path}: expected different class names without spaces, got {sample(bad) if bad else 'an empty file'}"
        )
    return tuple(names)


def _read_index(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: expected a table with the columns {', '.join(REQUIRED)}, found no file")
    try:
        index = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected comma-separated values, got {error}") from error
    missing = sorted(set(REQUIRED) - set(index.columns))
    unknown = sorted(set(index.columns) - set(REQUIRED) - set(OPTIONAL))
    if missing or unknown:
        raise DataError(
            f"{path}: expected the columns {REQUIRED} and perhaps {OPTIONAL}; missing={missing}, unknown={unknown}"
        )
    if index.empty:
        raise DataError(f"{path}: expected rows, got none")
    return index


def _rows(index: pd.DataFrame, classes: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    position = {name: k for k, name in enumerate(classes)}
    rows, problems = [], []
    for line, row in enumerate(index.to_dict("records"), start=2):
        try:
            rows.append(_row(row, position))
        except ValueError as error:
            problems.append(f"line {line}, {row['image']!r}: {error}")
    return rows, problems


def _row(row: Mapping[Any, str], position: Mapping[str, int]) -> dict[str, Any]:
    if not row["image"]:
        raise ValueError("expected the path of an image, got nothing")
    if row["split"] not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {row['split']!r}")
    return {
        "id": Path(row["image"]).stem,
        "file": row["image"],
        "width": 0,
        "height": 0,
        "labels": sorted({_class_index(name, position) for name in row["labels"].split()}),
        "split": row["split"],
        "mask": row.get("mask") or None,
        "boxes": parse_boxes(row["boxes"]) if row.get("boxes") else None,
        "bytes": 0,
    }


def _class_index(name: str, position: Mapping[str, int]) -> int:
    if name not in position:
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


def _listed_twice(files: Sequence[str]) -> list[str]:
    """One line for every image id that more than one row has: the id is the file's stem and names the prediction."""
    first: dict[str, str] = {}
    lines = []
    for file in files:
        image_id = Path(file).stem
        if image_id not in first:
            first[image_id] = file
        elif first[image_id] == file:
            lines.append(f"{file!r}: image listed twice")
        else:
            lines.append(f"{file!r}: same image id as {first[image_id]!r}; the id is the file's stem, rename one")
    return lines
