"""Annotations in a form that no source reads, as an `index.csv` of the layout `folder`, beside the params file.

Three forms: COCO JSON of any name, Pascal VOC XML, and CSV with columns of images and labels. Nothing is written into
the folder of the images, which the index names by absolute paths. Images without a split are divided by
`pipeline/preprocess/stable_split.py`, 20 % to val, within the images of one first label.
"""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError, sample
from pipeline.core.files import write_bytes, write_text
from pipeline.core.images import encode_png
from pipeline.core.manifest import Box, Split
from pipeline.core.text import read_text
from pipeline.core.tracks import MOST_CLASSES
from pipeline.preprocess.annotations import object_boxes, object_names
from pipeline.preprocess.coco_annotations import Instances, Truth, read_content
from pipeline.preprocess.folders import Problems, only_images, stem, walk
from pipeline.preprocess.image_header import read_header
from pipeline.preprocess.layouts.coco import box_of, draw_label_map
from pipeline.preprocess.layouts.folder import separator
from pipeline.preprocess.layouts.image_folder import SPLIT_NAMES, SUFFIXES
from pipeline.preprocess.stable_split import split_classes

VAL_SHARE, SEED = 0.2, 0
IMAGE_COLUMNS = ("image", "filename", "file_name", "file", "filepath", "path", "image_path", "image_id", "img", "id")
LABEL_COLUMNS = ("labels", "label", "class", "classes", "class_name", "category", "categories", "species", "breed",
                 "target", "tags")  # fmt: skip
SPLIT_COLUMNS = ("split", "subset", "set", "partition")
BOX_COLUMNS = (("xmin", "ymin", "xmax", "ymax"), ("x0", "y0", "x1", "y1"), ("x_min", "y_min", "x_max", "y_max"))
SIDES = ("x0", "y0", "x1", "y1")
TRIED = 50  # rows of a CSV whose images are looked for before it is taken for a list of images
FOUND = 0.8  # share of them that has to be there

Draw = Callable[[Sequence[str]], NDArray[np.uint8]]  # class names in the order of their ids to a label map, (H, W)


@dataclass(slots=True)
class Row:
    """What is known of one image; a label map is drawn for val alone."""

    file: Path
    labels: list[str] = field(default_factory=list)
    split: Split | None = None
    boxes: list[Box] = field(default_factory=list)
    draw: Draw | None = None


@dataclass(slots=True)
class Converted:
    """The rows of a set of annotations.

    Attributes:
        what: the form, for people
        rows: images with at least what is known of them
        notes: what was left out, for people
    """

    what: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


class ImageFiles:
    """The images below a folder, found by what annotations call them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = [
            folder / place / name
            for place, names in walk(folder).items()
            if not any(part.startswith((".", "__MACOSX")) for part in place.split("/") if part != ".")
            for name in only_images(names, SUFFIXES)
        ]
        self._named: dict[str, list[Path]] = defaultdict(list)
        for file in self.files:
            for key in (file.name.lower(), stem(file.name).lower()):
                self._named[key].append(file)

    def find(self, name: str, near: Path) -> Path | None:
        """The image at this path below `near` or the folder; else that of this name, or stem, if it is the only one."""
        for place in (near, near.parent, self.folder):
            if (place / name).is_file():
                return place / name
        found = self._named.get(name.replace("\\", "/").rpartition("/")[2].lower(), [])
        return found[0] if len(found) == 1 else None


def split_in(path: Path, folder: Path) -> Split | None:
    """The split that a path names in one of its words, such as `instances_val.json` or `train/labels.csv`.

    >>> split_in(Path("a/annotations/instances_val2017.json"), Path("a")), split_in(Path("a/b.json"), Path("a"))
    ('val', None)
    """
    words = (
        path.relative_to(folder).with_suffix("").as_posix().lower().translate(str.maketrans("/_-.0123456789", " " * 14))
    )
    found = {SPLIT_NAMES[word] for word in words.split() if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


# --- the three forms --------------------------------------------------------------------------------------------------


def from_coco(folder: Path) -> Converted | None:
    """The images of all JSON files of COCO in the folder and those below it; None if there is no such file.

    Raises:
        DataError: with everything that is wrong in the files
    """
    files = [path for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]) if _is_coco(path)]
    if not files:
        return None
    image_files, problems, rows, missing = ImageFiles(folder), Problems(folder), list[Row](), list[str]()
    for path in files:
        rows += _coco_rows(path, image_files, split_in(path, folder), problems, missing)
    problems.stop_if_any()
    names = ", ".join(path.relative_to(folder).as_posix() for path in files)
    return Converted(f"COCO JSON ({names})", rows, _missing_notes(missing))


def _is_coco(path: Path) -> bool:
    try:
        read_content(path, ("categories", "images", "annotations"))
    except DataError:
        return False
    return True


def _coco_rows(
    path: Path, image_files: ImageFiles, split: Split | None, problems: Problems, missing: list[str]
) -> Iterator[Row]:
    content = read_content(path, ("categories", "images", "annotations"))
    truth = _coco_truth([each for each in content["annotations"] if isinstance(each, dict)])
    instances = Instances(path, truth, problems)
    files = {image["id"]: str(image["file_name"]) for image in content["images"] if image.get("id") in instances.ids}
    for number in instances.ids:
        file, objects = image_files.find(files[number], path.parent), instances.annotations[number]
        if file is None:
            missing.append(files[number])
            continue
        names = {instances.classes[instances.position[each["category_id"]]] for each in objects}
        row = Row(file.resolve(), sorted(names), split)
        if truth == "boxes":
            solid = [each["bbox"] for each in objects if not each.get("iscrowd")]
            row.boxes = [tuple(box_of(box, *instances.sizes[number])) for box in solid]  # type: ignore[misc]
        elif truth == "masks":
            row.draw = _drawer(instances, number)
        yield row


def _coco_truth(annotations: Sequence[Mapping[str, Any]]) -> Truth:
    """Masks if every object has an outline, else boxes if every one has a box."""
    if annotations and all(each.get("segmentation") for each in annotations):
        return "masks"
    return "boxes" if annotations and all(each.get("bbox") for each in annotations) else "none"


def _drawer(instances: Instances, number: int) -> Draw:
    def draw(classes: Sequence[str]) -> NDArray[np.uint8]:
        position = {category: classes.index(instances.classes[k]) for category, k in instances.position.items()
                    if instances.classes[k] in classes}  # fmt: skip
        return draw_label_map(instances.annotations[number], *instances.sizes[number], position)

    return draw


def from_voc(folder: Path) -> Converted | None:
    """The images of all annotations in XML, with labels and boxes; None if no image has one of its name.

    Splits are those of `ImageSets/Main/{train,val,test}.txt`, or what the path of the annotation names.
    """
    files = [folder / place / name for place, names in walk(folder).items() for name in sorted(names)
             if name.lower().endswith(".xml") and not name.startswith(".")]  # fmt: skip
    if not files:
        return None
    image_files, splits, rows, missing = ImageFiles(folder), _voc_splits(folder), list[Row](), list[str]()
    for path in files:
        file = image_files.find(path.stem, path.parent)
        if file is None:
            missing.append(path.name)
            continue
        try:
            xml = path.read_bytes()
            names, boxes = object_names(xml), object_boxes(xml)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}") from None
        rows.append(Row(file.resolve(), sorted(names), splits.get(path.stem, split_in(path, folder)), boxes))
    if not rows:  # XML of something else, beside the images
        return None
    return Converted(f"Pascal VOC XML ({len(files)} files)", rows, _missing_notes(missing))


def _voc_splits(folder: Path) -> dict[str, Split]:
    return {
        line.split()[0]: split
        for split in ("train", "val", "test")
        for path in sorted(folder.rglob(f"ImageSets/Main/{split}.txt"))
        for line in read_text(path).splitlines()
        if line.strip()
    }


def from_csv(folder: Path) -> Converted | None:
    """The images of all CSV files with a column of images and one of labels; None if there is none.

    Several labels in a cell are separated by `;` or `|`; several rows of an image are one image with all their labels
    and boxes.
    """
    image_files, by_file, names, missing = ImageFiles(folder), dict[Path, Row](), list[str](), list[str]()
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*/*.csv")]):
        table = _table(path)
        columns = _columns(table)
        if columns is None or not _names_images(table, columns["image"], image_files, path):
            continue
        names.append(f"{path.relative_to(folder)}: {columns['image']}, {columns['label']}")
        for cells in table:
            _add_cells(cells, columns, path, image_files, by_file, missing, folder)
    if not by_file:
        return None
    unlisted = len(image_files.files) - len(by_file)
    notes = [f"{unlisted} images that no row names are left out"] if unlisted > 0 else []
    return Converted(f"CSV with a column of labels ({'; '.join(names)})", [*by_file.values()],
                     [*_missing_notes(missing), *notes])  # fmt: skip


def _table(path: Path) -> list[dict[str, str]]:
    try:
        text = read_text(path)
    except DataError:  # another encoding: no list of ours, named by the message about what was looked for
        return []
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    return [
        {(key or "").strip(): value.strip() for key, value in row.items() if isinstance(value, str)} for row in rows
    ]


def _columns(table: Sequence[Mapping[str, str]]) -> dict[str, str] | None:
    """The columns by what they hold: image, label, perhaps split and the corners of boxes."""
    there = {name.lower(): name for name in (table[0] if table else {})}
    image, label, split = (
        next((there[name] for name in known if name in there), None)
        for known in (IMAGE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
    )
    if image is None or label is None:
        return None
    corners = next((names for names in BOX_COLUMNS if all(name in there for name in names)), ())
    sides = {side: there[name] for side, name in zip(SIDES, corners, strict=False)}
    return {"image": image, "label": label, **({"split": split} if split else {}), **sides}


def _names_images(table: Sequence[Mapping[str, str]], column: str, image_files: ImageFiles, path: Path) -> bool:
    tried = [row[column] for row in table[:TRIED]]
    return sum(image_files.find(name, path.parent) is not None for name in tried) >= FOUND * len(tried) > 0


def _add_cells(
    cells: Mapping[str, str], columns: Mapping[str, str], path: Path, image_files: ImageFiles,
    by_file: dict[Path, Row], missing: list[str], folder: Path,
) -> None:  # fmt: skip
    file = image_files.find(cells[columns["image"]], path.parent)
    if file is None:
        missing.append(cells[columns["image"]])
        return
    word = cells.get(columns.get("split", ""), "").lower()
    row = by_file.setdefault(file.resolve(), Row(file.resolve(), split=SPLIT_NAMES.get(word, split_in(path, folder))))
    labels = cells[columns["label"]].replace("|", ";").split(";")
    row.labels = sorted({*row.labels, *(name for label in labels if (name := label.strip()))})
    if any(corners := [cells[columns[side]] for side in SIDES if side in columns]):
        row.boxes.append(_corners(corners, f"{path}: {file.name}"))


def _corners(texts: Sequence[str], where: str) -> Box:
    """x0 y0 x1 y1, rounded to pixels.

    Raises:
        DataError: if one is no number, or they are shares of the image's sides
    """
    try:
        numbers = [float(text) for text in texts]
        x0, y0, x1, y1 = map(round, numbers)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: expected numbers as corners of a box, got {list(texts)}") from None
    if max(numbers) <= 1 and any(number % 1 for number in numbers):
        raise DataError(
            f"{where}: expected corners of a box in pixels, got {list(texts)}; likely shares of width and height: "
            "multiply them by both"
        )
    return x0, y0, x1, y1


def _missing_notes(missing: Sequence[str]) -> list[str]:
    return [f"no image found for {len(missing)} names: {sample(missing)}"] if missing else []


# --- the index --------------------------------------------------------------------------------------------------------


def write_index(converted: Converted, out: Path) -> None:
    """Write `index.csv`, `classes.txt` and masks of val images to a folder.

    Raises:
        DataError: if no image has a label, or label maps of more classes than a byte holds would be drawn
    """
    rows = sorted(converted.rows, key=lambda row: row.file)
    classes = sorted({name for row in rows for name in row.labels})
    if not classes:
        raise DataError(f"{converted.what}: expected labels, found none on {len(rows)} images that are there")
    ids = _ids([row.file for row in rows])
    splits = _splits(rows, ids)
    lines = [("id", "image", "labels", "split", "mask", "boxes")]
    sign = separator(classes) or " "
    for row in rows:
        image_id, split = ids[row.file], splits[row.file]
        mask = _draw(row, out, image_id, classes) if split == "val" else ""
        boxes = "; ".join(" ".join(map(str, box)) for box in _cut(row)) if split == "val" and not mask else ""
        lines.append(
            (image_id, row.file.as_posix(), "" if split == "test" else sign.join(row.labels), split, mask, boxes)
        )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(out / "index.csv", text.getvalue())
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in classes))


def _cut(row: Row) -> list[Box]:
    """The boxes of an image, cut at its border: corners of some lists are one pixel outside."""
    try:
        header = read_header(row.file) if row.boxes else None
    except DataError:  # it is named among the broken files
        header = None
    if header is None:
        return row.boxes
    right, below = header.width - 1, header.height - 1
    return [(max(x0, 0), max(y0, 0), min(x1, right), min(y1, below)) for x0, y0, x1, y1 in row.boxes]


def _draw(row: Row, out: Path, image_id: str, classes: Sequence[str]) -> str:
    if row.draw is None or len(classes) > MOST_CLASSES:
        return ""
    write_bytes(out / "masks" / f"{image_id}.png", encode_png(row.draw(classes)))
    return f"masks/{image_id}.png"


def _ids(files: Sequence[Path]) -> dict[Path, str]:
    """The path of each image below what is common to all, without suffix, joined by `__`."""
    common = Path(os.path.commonpath([file.parent for file in files]))
    return {file: "__".join(file.relative_to(common).with_suffix("").parts) for file in files}


def _splits(rows: Sequence[Row], ids: Mapping[Path, str]) -> dict[Path, Split]:
    """The split of each image: its own; val is taken from train where no image is of val."""
    splits: dict[Path, Split] = {row.file: row.split or "train" for row in rows}
    if "val" in splits.values():
        return splits
    groups: dict[str, list[Path]] = defaultdict(list)
    for row in rows:
        if splits[row.file] == "train":
            groups["".join(row.labels[:1])].append(row.file)
    return splits | _divide(groups.values(), ids)


def _divide(groups: Iterable[Sequence[Path]], ids: Mapping[Path, str]) -> dict[Path, Split]:
    files = {ids[file]: file for group in groups for file in group}
    found = split_classes([[ids[file] for file in group] for group in groups], SEED, VAL_SHARE)
    return {files[image_id]: split for image_id, split in found.items()}
