"""Annotation files in the XML of Pascal VOC and ILSVRC: the objects of an image, and their boxes.

ILSVRC DET has 349,319 annotation files. Parsers measured on 6,000 such files of 620 bytes, one core of a
busy machine, microseconds a file in five runs:

| opening and reading | checked expression | ElementTree | expat, own handlers | ElementTree.iterparse |
|---|---|---|---|---|
| 13-18 | 2-3 | 11-26 | 20-36 | 25-55 |

So names come from a regular expression, 5 to 10 times faster than the fastest parser, and reading takes most of the
time. Its result is used only if it has a name for every object of a complete file; otherwise the parser reads the file
or reports what is wrong.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.manifest import Box
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress

CHUNK = 4096  # files in one piece of work

_NAME = re.compile(rb"<object>\s*<name>\s*([^<&\s]+)\s*</name>")
_END = b"</annotation>"
_SPECIAL = (b"<!--", b"<!DOCTYPE")  # what only the parser understands, or refuses


def object_names(xml: bytes) -> set[str]:
    """The names of all objects in an annotation.

    Raises:
        ValueError: if it is no annotation

    >>> objects = b"<object><name>dog</name></object><object><name>cat</name></object>"
    >>> sorted(object_names(b"<annotation>" + objects + b"</annotation>"))
    ['cat', 'dog']
    """
    names = _NAME.findall(xml)
    if len(names) == xml.count(b"<object") and xml.rstrip().endswith(_END) and not any(m in xml for m in _SPECIAL):
        return {name.decode() for name in names}
    return {(node.findtext("name") or "").strip() for node in _parse(xml).iter("object")}


def object_boxes(xml: bytes) -> list[Box]:
    """The boxes of all objects in their order: x0 y0 x1 y1, inclusive, cut at the size that the file names.

    Raises:
        ValueError: if it is no annotation, or a corner is no number
    """
    root = _parse(xml)
    width, height = (int(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    boxes = []
    for node in root.iterfind("object/bndbox"):
        x0, y0, x1, y1 = corners = [_pixel(node, side) for side in ("xmin", "ymin", "xmax", "ymax")]
        if x1 < x0 or y1 < y0:
            raise ValueError(f"expected xmin <= xmax and ymin <= ymax, got {corners}; likely corners in another order")
        boxes.append(
            (max(x0, 0), max(y0, 0), min(x1, width - 1) if width else x1, min(y1, height - 1) if height else y1)
        )
    return boxes


def _pixel(box: ElementTree.Element, side: str) -> int:
    text = (box.findtext(side) or "").strip()
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"expected a number in <{side}>, got {text!r}") from None


def _parse(xml: bytes) -> ElementTree.Element:
    try:
        checker = expat.ParserCreate()
        checker.StartDoctypeDeclHandler = _refuse_doctype
        checker.Parse(xml, True)
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, expat.ExpatError) as error:
        raise ValueError(f"expected an annotation in XML, got {error}; likely a truncated download") from None
    if root.tag != "annotation":
        raise ValueError(f"expected <annotation>, got <{root.tag}>")
    return root


def _refuse_doctype(*_: object) -> None:
    """A document type can declare entities, which expand to gigabytes or name other files; annotations have none."""
    raise ValueError("expected an annotation in XML without a document type, got one; likely not of the official set")


@dataclass(slots=True)
class Labels:
    """The labels of many files: the count of each file, the labels one after the other, and the problems."""

    counts: NDArray[np.int32]  # (files,)
    values: NDArray[np.int32]  # (sum of counts,) class indices
    problems: list[str] = field(default_factory=list)


def read_labels(files: Mapping[Path, Sequence[str]], position: Mapping[str, int], jobs: int) -> Labels:
    """Read the class indices of every annotation, in parallel.

    Args:
        files: names of annotation files by folder
        position: class index by object name
        jobs: processes

    Returns:
        the class indices of each file, rising, in the order of `files`
    """
    tasks = [
        (folder, names[start : start + CHUNK])
        for folder, names in files.items()
        for start in range(0, len(names), CHUNK)
    ]
    parts = list[Labels]()
    with progress(total=sum(map(len, files.values())), title="annotations", unit="file") as bar:
        for part in in_processes(partial(_read_some, position), tasks, jobs if len(tasks) > 4 else 1):
            parts.append(part)
            bar.update(len(part.counts))
    empty = np.zeros(0, np.int32)
    return Labels(
        np.concatenate([empty, *(part.counts for part in parts)]),
        np.concatenate([empty, *(part.values for part in parts)]),
        [line for part in parts for line in part.problems],
    )


def _read_some(position: Mapping[str, int], task: tuple[Path, Sequence[str]]) -> Labels:
    folder, names = task
    counts, values, problems = np.zeros(len(names), np.int32), [], []
    for n, name in enumerate(names):
        path = f"{folder}/{name}"  # creating a Path takes longer than reading the file
        try:
            with open(path, "rb") as stream:  # noqa: PTH123
                found = object_names(stream.read())
            row = sorted(position[name] for name in found)
        except (OSError, ValueError) as error:
            problems.append(f"{path}: {error}")
            continue
        except KeyError as error:
            problems.append(f"{path}: expected objects of the {len(position)} classes, got {error}")
            continue
        counts[n] = len(row)
        values += row
    return Labels(counts, np.array(values, np.int32), problems)


def read_boxes(path: Path) -> list[Box]:
    """Read the boxes of one annotation file.

    Raises:
        DataError: naming the file, if it cannot be read
    """
    try:
        return object_boxes(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
