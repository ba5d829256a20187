"""Look at the files behind a manifest: sizes, decodability, masks; find everything that is wrong in one pass."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import joblib
import numpy as np
import pyarrow as pa

from pipeline.errors import DataError, sample
from pipeline.images import read_mask, read_rgb, read_size
from pipeline.manifest import SCHEMA, SPLITS, Manifest, MaskKind, Record

Level = Literal["list", "header", "decode"]
IGNORE_INDEX = 255
CHUNK = 512  # images in one piece of work


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at an image and its mask gave."""

    width: int = 0
    height: int = 0
    bytes: int = 0
    mask_values: frozenset[int] = frozenset()
    problem: str | None = None


@dataclass(slots=True)
class Inspection:
    """A manifest with its sizes filled in, and what had to be left out."""

    manifest: Manifest
    skipped: list[str] = field(default_factory=list)


def inspect(
    manifest: Manifest, level: Level, on_bad_image: Literal["error", "skip"], mask_kind: MaskKind | None, jobs: int
) -> Inspection:
    """Check a manifest and, unless `level` is `list`, every file behind it.

    Args:
        level: `list` opens no file, `header` reads sizes and masks, `decode` also every pixel of every image
        on_bad_image: `skip` leaves unreadable train images out and names them; val and test images are never left out,
            for an answer is owed for each
        mask_kind: None finds it out: `foreground` if no mask holds another value than 0 and 255
        jobs: processes

    Raises:
        DataError: naming up to 20 of all problems
    """
    if level == "list":
        _check_splits(manifest)
        return Inspection(manifest)
    findings = _look_at_all(manifest, level, jobs)
    kind = mask_kind or _find_mask_kind(findings)
    problems = _problems(manifest, findings, kind)
    bad = {image_id for image_id, split, _ in problems if split == "train"} if on_bad_image == "skip" else set()
    fatal = [line for image_id, _, line in problems if image_id not in bad]
    if fatal:
        more = "" if len(fatal) <= 20 else f"\n  … {len(fatal)} in all"
        raise DataError(f"{manifest.root}: {len(fatal)} bad files:\n" + "\n".join(f"  {line}" for line in fatal[:20]) + more)
    kept = _with_sizes(manifest, findings, kind).keep(pa.array([image_id not in bad for image_id in manifest.ids()]))
    _check_splits(kept)
    return Inspection(kept, [line for image_id, _, line in problems if image_id in bad])


def _look_at_all(manifest: Manifest, level: Level, jobs: int) -> list[Finding]:
    records = list(manifest)
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    if len(chunks) == 1:  # starting processes would take longer than looking
        return _look_at(records, level)
    looked = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_look_at)(chunk, level) for chunk in chunks)
    return [finding for chunk in looked for finding in chunk]


def _look_at(records: Sequence[Record], level: Level) -> list[Finding]:
    return [_look(record, level) for record in records]


def _look(record: Record, level: Level) -> Finding:
    try:
        width, height = read_size(record.file)
        if level == "decode":
            read_rgb(record.file)
        values = _look_at_mask(record, (width, height))
        _check_boxes(record, (width, height))
    except DataError as error:
        return Finding(problem=str(error))
    return Finding(width, height, record.file.stat().st_size, values)


def _look_at_mask(record: Record, size: tuple[int, int]) -> frozenset[int]:
    if record.mask is None:
        return frozenset()
    mask = read_mask(record.mask)
    height, width = mask.shape
    if (width, height) != size:
        hint = "; likely width and height swapped" if (height, width) == size else ""
        raise DataError(
            f"{record.mask}: expected the size of its image, {size[0]}x{size[1]} (width x height), got {width}x{height}{hint}"
        )
    return frozenset(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())


def _check_boxes(record: Record, size: tuple[int, int]) -> None:
    for x0, y0, x1, y1 in record.boxes:
        if x1 >= size[0] or y1 >= size[1]:
            raise DataError(
                f"{record.file}: expected boxes inside {size[0]}x{size[1]} (width x height), got {x0} {y0} {x1} {y1}; "
                "corners are inclusive, counted from 0"
            )


def _find_mask_kind(findings: Sequence[Finding]) -> MaskKind:
    values = set().union(*(finding.mask_values for finding in findings)) if findings else set()
    return "foreground" if 255 in values and values <= {0, 255} else "labels"


def _problems(manifest: Manifest, findings: Sequence[Finding], kind: MaskKind) -> list[tuple[str, str, str]]:
    """(image id, split, message) of everything that is wrong."""
    allowed = {*range(len(manifest.classes) + 1), IGNORE_INDEX}
    problems = []
    for record, finding in zip(manifest, findings, strict=True):
        outside = sorted(finding.mask_values - allowed) if kind == "labels" else []
        if finding.problem:
            problems.append((record.id, record.split, finding.problem))
        elif outside:
            line = (
                f"{record.mask}: expected mask values 0..{len(manifest.classes)} or {IGNORE_INDEX}, got {sample(outside)}; "
                "likely a mask of other classes, or set preprocess.source.masks to 'foreground'"
            )
            problems.append((record.id, record.split, line))
    return problems


def _with_sizes(manifest: Manifest, findings: Sequence[Finding], kind: MaskKind) -> Manifest:
    columns: dict[str, Any] = {name: manifest.table[name] for name in SCHEMA.names}
    for name in ("width", "height", "bytes"):
        columns[name] = pa.array([getattr(finding, name) for finding in findings], SCHEMA.field(name).type)
    return Manifest(pa.table(columns, schema=SCHEMA), manifest.classes, manifest.root, kind)


def _check_splits(manifest: Manifest) -> None:
    counts = Counter(manifest.table["split"].to_pylist())
    empty = [split for split in SPLITS if not counts[split]]
    if empty:
        raise DataError(f"{manifest.root}: expected images in every split, found none in {empty}; got {dict(counts)}")
    labels = manifest.select("train").labels()
    without = [manifest.classes[k] for k in sorted(set(range(len(manifest.classes))) - {k for row in labels for k in row})]
    if without:
        raise DataError(
            f"{manifest.root}: expected a training image of every class, found none of {sample(without)}; "
            "likely a class list of another set, or labels missing in split train"
        )
