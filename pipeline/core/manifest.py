"""The table of all images: one file for each split, and one for the truth.

On disk it is a folder with one file for each split and one with the truth, so that a stage reruns only for what it
reads: neither a new test image nor a corrected mask causes a new training.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.core.errors import StoreError
from pipeline.core.files import write_bytes
from pipeline.core.images import read_size

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
MaskKind = Literal["foreground", "labels", "trimap"]
MaskTurn = Literal["transpose", "rotate_left", "rotate_right"]
Box = tuple[int, int, int, int]

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # file stem: names the image in every stage and in the submission
        ("file", pa.string()),  # relative to the root
        ("width", pa.int32()),  # stored pixels; 0 where not read yet
        ("height", pa.int32()),
        ("labels", pa.list_(pa.int32())),  # class indices, 0..K-1; empty where unknown
        ("split", pa.string()),
        ("mask", pa.string()),  # relative to the root; null where there is none
        ("boxes", pa.list_(pa.int32())),  # x0 y0 x1 y1, inclusive pixels, one box after the other; null where none
        ("bytes", pa.int64()),  # size of the image file: a changed file changes the table; 0 where not read
        ("mask_turn", pa.string()),  # how a mask with width and height swapped is to be turned; null where as it is
        ("quirks", pa.list_(pa.string())),  # names of the rules that this image or its mask met; null where none
        ("mask_sha256", pa.string()),  # of the mask file: a corrected mask changes the truth; null where not read
        ("has_mask", pa.bool_()),  # filled when read: whether there is one, also for stages that do not read the truth
        ("has_boxes", pa.bool_()),
    ]
)
TRUTH = ("mask", "boxes", "mask_turn", "mask_sha256")  # columns of truth.parquet beside the id
_UNWRITTEN = ("quirks", *TRUTH)  # columns that the file of a split lacks; no later stage uses the quirks
_FILL: dict[str, Any] = {  # of columns that are not given; the others: null
    "width": 0,
    "height": 0,
    "labels": (),  # a scalar of Arrow would import pandas, with every import of this module
    "bytes": 0,
    "has_mask": False,
    "has_boxes": False,
}


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one image. `width` and `height` in stored pixels, 0 if not read yet."""

    id: str
    file: Path
    width: int
    height: int
    labels: tuple[int, ...]  # class indices, 0..K-1
    split: Split
    mask: Path | None
    boxes: tuple[Box, ...]
    bytes: int = 0
    mask_turn: MaskTurn | None = None
    has_mask: bool = False  # known also where the truth has not been read, and `mask` is None
    has_boxes: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W), as NumPy has it."""
        return self.height, self.width

    def turned(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The stored mask, turned if the manifest says that its width and height are swapped. Shape: (H, W)"""
        if self.mask_turn is None:
            return mask
        return mask.T if self.mask_turn == "transpose" else np.rot90(mask, 1 if self.mask_turn == "rotate_left" else -1)


def stored_size(record: Record) -> tuple[int, int]:
    """(width, height) of the stored pixels, from the header of the file where the manifest does not know it."""
    return (record.width, record.height) if record.width and record.height else read_size(record.file)


def stored_shape(record: Record) -> tuple[int, int]:
    """(H, W), as `stored_size`."""
    return stored_size(record)[::-1]


class Files(Sequence[Path]):
    """Paths of many images, held as one column of text: a million `Path` objects would take 0.6 GB in every process."""

    def __init__(self, root: Path, names: pa.Array) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return Files(self.root, self.names[position])
        return self.root / self.names[int(position)].as_py()

    def take(self, positions: NDArray[np.int64]) -> "Files":
        """The paths at some positions, in their order."""
        return Files(self.root, self.names.take(pa.array(positions)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """All images of one track, with their classes, held column by column: a million rows take some 200 MB.

    Attributes:
        table: rows as in `SCHEMA`
        classes: the K class names; class index k is the position here, class id k + 1 its value in a mask
        root: where `file` of each row starts
        mask_kind: `foreground` (any class, > 128), `labels` (class ids, 255 ignored) or `trimap` (any class: 1
            foreground, 2 background, 3 ignored)
        left_out: how many files the source found but did not list, by rule
        mask_root: where `mask` of each row starts; None: at `root`
    """

    table: pa.Table
    classes: tuple[str, ...]
    root: Path
    mask_kind: MaskKind
    left_out: Mapping[str, int] = field(default_factory=dict)
    mask_root: Path | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def select(self, split: Split) -> "Manifest":
        """The rows of one split, in order."""
        return self.keep(pc.equal(self.table["split"], split))

    def keep(self, wanted: Any) -> "Manifest":
        """The rows where the boolean column `wanted` is true."""
        return replace(self, table=self.table.filter(wanted))

    def part(self, start: int, end: int) -> "Manifest":
        """The rows from one position up to another, which is not among them; nothing is copied."""
        return replace(self, table=self.table.slice(start, max(end - start, 0)))

    def sorted(self) -> "Manifest":
        """The rows in the order of their ids, as Python sorts them."""
        return replace(self, table=self.table.sort_by("id"))

    def with_ids(self, ids: Sequence[str]) -> "Manifest":
        """The rows of the given ids, in this table's order."""
        return self.keep(pc.is_in(self.table["id"], value_set=pa.array(ids, pa.string())))

    def ids(self) -> list[str]:
        """All image ids, in order."""
        return list(self.table["id"].to_pylist())

    def files(self) -> "Files":
        """The image files of every row, in order."""
        return Files(self.root, self.table["file"].combine_chunks())

    def labels(self) -> list[tuple[int, ...]]:
        """The class indices of every row, in order."""
        return [tuple(labels or ()) for labels in self.table["labels"].to_pylist()]

    def __iter__(self) -> Iterator[Record]:
        for batch in self.table.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                yield self._record(row)

    def _record(self, row: dict[str, Any]) -> Record:
        flat = row["boxes"] or []
        boxes = tuple((flat[i], flat[i + 1], flat[i + 2], flat[i + 3]) for i in range(0, len(flat), 4))
        return Record(
            id=row["id"],
            file=self.root / row["file"],
            width=row["width"],
            height=row["height"],
            labels=tuple(row["labels"] or ()),
            split=row["split"],
            mask=None if row["mask"] is None else (self.mask_root or self.root) / row["mask"],
            boxes=boxes,
            bytes=row["bytes"],
            mask_turn=row["mask_turn"],
            has_mask=bool(row["has_mask"]) or row["mask"] is not None,
            has_boxes=bool(row["has_boxes"]) or bool(boxes),
        )


def from_rows(rows: Iterable[dict[str, Any]], classes: Sequence[str], root: Path, mask_kind: MaskKind) -> Manifest:
    """Make a manifest of rows that have the columns of `SCHEMA`; columns that are not given are filled."""
    filled = [{"has_mask": False, "has_boxes": False, **row} for row in rows]
    return Manifest(pa.Table.from_pylist(filled, schema=SCHEMA), tuple(classes), root, mask_kind)


def make_rows(count: int, **columns: Any) -> pa.Table:
    """Make `count` rows column by column: a million in a second, where `from_rows` takes a dictionary for each.

    Args:
        count: rows
        columns: a list or array of `count` values, or one value for all rows; columns that are not given are filled

    >>> make_rows(2, id=["a", "b"], split="val").select(["id", "width", "labels", "split", "mask"]).to_pylist()[1]
    {'id': 'b', 'width': 0, 'labels': [], 'split': 'val', 'mask': None}
    """
    unknown = sorted(columns.keys() - set(SCHEMA.names))
    if unknown:
        raise ValueError(f"expected columns of {SCHEMA.names}, got {unknown}")
    filled = {name: columns.get(name, _FILL.get(name)) for name in SCHEMA.names}
    return pa.table([_column(filled[column.name], column.type, count) for column in SCHEMA], schema=SCHEMA)


def _column(value: Any, kind: pa.DataType, count: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(value, pa.ChunkedArray):
        return value.cast(kind)
    if isinstance(value, (list, np.ndarray, pa.Array)):
        return pa.array(value, kind)
    return pa.repeat(pa.scalar(value, kind), count) if count else pa.array([], kind)  # no list is repeated 0 times


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `train.parquet`, `val.parquet`, `test.parquet` and `truth.parquet`; equal rows give equal bytes.

    Classes, roots and mask kind are in the schema of each file. An image without mask and boxes has no row in the
    truth.
    """
    table = manifest.table
    table = _replace(table, "has_mask", pc.is_valid(table["mask"]))
    table = _replace(table, "has_boxes", pc.greater(pc.fill_null(pc.list_value_length(table["boxes"]), 0), 0))
    for split in SPLITS:
        rows = table.filter(pc.equal(table["split"], split)).drop_columns(list(_UNWRITTEN))
        _write(folder / f"{split}.parquet", rows, _about(manifest))
    known = table.filter(pc.or_(table["has_mask"], table["has_boxes"]))
    about = {"mask_root": None if manifest.mask_root is None else manifest.mask_root.as_posix()}
    _write(folder / "truth.parquet", known.select(["id", *TRUTH]), about)


def _about(manifest: Manifest) -> dict[str, Any]:
    return {"classes": list(manifest.classes), "root": manifest.root.as_posix(), "mask_kind": manifest.mask_kind}


def _replace(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), values)


def _write(path: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks().replace_schema_metadata({"lid": json.dumps(about, sort_keys=True)}),
        sink,
        compression="zstd",
    )
    write_bytes(path, sink.getvalue().to_pybytes())


def read_manifest(folder: Path, splits: Sequence[Split] = SPLITS, truth: bool = True) -> Manifest:
    """Read what `write_manifest` wrote: the named splits, in the order train, val, test.

    Args:
        folder: of the manifest
        splits: a stage names those that it reads, and depends on no other
        truth: whether masks and boxes are wanted; without, `mask` and `boxes` of each row are empty

    Raises:
        StoreError: if a file is missing or is no part of a manifest
    """
    parts = [_read(folder / f"{split}.parquet") for split in SPLITS if split in splits]
    about = parts[0][1]
    rows = pa.concat_tables([rows for rows, _ in parts])
    known, where = _read(folder / "truth.parquet") if truth else (None, {})
    try:
        table = _join(rows, known)
        mask_root = where.get("mask_root")
        root = Path(about["root"])
        return Manifest(
            table, tuple(about["classes"]), root, about["mask_kind"], mask_root=Path(mask_root) if mask_root else None
        )
    except (KeyError, pa.ArrowInvalid) as error:
        raise StoreError(f"{folder}: expected a manifest, got other tables ({error!r})") from error


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    if not path.is_file():
        raise StoreError(
            f"{path}: expected a part of the manifest, found no file; likely the stage `preprocess` has not run"
        )
    try:
        table = pq.read_table(path, partitioning=None)  # a folder called `split=val` is no column
        return table, json.loads((table.schema.metadata or {})[b"lid"])
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise StoreError(f"{path}: expected a part of the manifest, got another file ({error!r})") from error


def _join(rows: pa.Table, truth: pa.Table | None) -> pa.Table:
    """The rows with the columns of the truth beside them, in the order of the rows."""
    columns: dict[str, Any] = {name: rows[name] for name in rows.schema.names}
    if truth is not None:
        place = pc.index_in(rows["id"], value_set=truth["id"].combine_chunks())
        columns |= {name: truth[name].combine_chunks().take(place) for name in TRUTH}
    return make_rows(rows.num_rows, **columns)
