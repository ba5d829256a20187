"""Check the files behind a manifest in one pass: sizes, decodability, masks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline.core.archives import content_digest, file_size, file_version
from pipeline.core.errors import DataError, sample
from pipeline.core.images import has_one_color, largest_of_16_bits, loses_levels, read_mask, read_rgb
from pipeline.core.manifest import SCHEMA, SPLITS, Box, Manifest, MaskKind, Record, Split
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.core.reuse import digest
from pipeline.core.scratch import Scratch
from pipeline.preprocess.folders import ProblemsError
from pipeline.preprocess.image_header import read_header
from pipeline.preprocess.known_defects import has_foreground, header_quirks, kind_of_masks, wrong_values
from pipeline.preprocess.leakage import leaked_masks
from pipeline.preprocess.settings import PreprocessSettings

CHUNK = 512  # images in one piece of work
CHECKING = "check files"
MOST_SKIPPED = 0.1  # of the train images; more are no odd files, but a damaged disk or an unfinished copy

_DEEP = ("PNG", "TIFF", "PPM", "JPEG2000")  # formats that may have 16 bits a channel

_HINTS = {
    "labels": "likely a mask of other classes, or set preprocess.source.masks to 'foreground'",
    "foreground": "foreground is above 128: save objects as 255, or, if these are class ids, set "
    "preprocess.source.masks to 'labels'",
    "trimap": "likely not a trimap",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check of an image and its mask."""

    width: int = 0
    height: int = 0
    bytes: int = 0
    mask_values: frozenset[int] = frozenset()
    quirks: tuple[str, ...] = ()
    boxes: tuple[Box, ...] | None = None  # where they had to be cut
    mask_sha256: str | None = None
    largest_of_16_bits: int | None = None  # level; None of 8 bits a channel, or not decoded
    problem: str | None = None


@dataclass(slots=True)
class Inspection:
    """A manifest with its sizes filled in, and what had to be left out."""

    manifest: Manifest
    skipped: list[str] = field(default_factory=list)
    opened: bool = False  # whether the files have been opened


def inspect(
    manifest: Manifest, settings: PreprocessSettings, scratch: Scratch | None = None, packaged: Split = "test"
) -> Inspection:
    """Check a manifest and, unless `check` is `list`, every file behind it.

    `check: list` opens no file, `header` reads sizes and masks, `decode` also every pixel of every image.
    `on_bad_image: skip` leaves unreadable train images out and names them, up to `MOST_SKIPPED` of all; val and test
    images are never left out, because each needs a prediction. An image that is a mask is always an error, see
    `leaked_masks`; `list` finds it by its path, not by its bytes.

    Args:
        scratch: where what was found is kept, for a stage that was stopped; None: nowhere
        packaged: the split that the submission predicts: beside train and val it has to hold images

    Raises:
        DataError: with all problems, of which the message shows some
    """
    _check_ids(manifest)
    _stop_if_any(manifest, leaked_masks(manifest, compare_bytes=settings.check != "list"))
    if settings.check == "list":
        _check_splits(manifest, settings, packaged)
        return Inspection(manifest)
    findings = _inspect_all(manifest, settings, scratch)
    kind = _find_mask_kind(manifest, findings) if settings.finds_mask_kind else manifest.mask_kind
    problems = _problems(manifest, findings, kind)
    skip = settings.on_bad_image == "skip"
    splits = manifest.table["split"]
    bad = {n: line for n, line in problems.items() if skip and splits[n].as_py() == "train"}
    _stop_if_any(manifest, [line for n, line in problems.items() if n not in bad])
    _check_skipped(manifest, list(bad.values()))
    _check_foreground(manifest, findings, kind)
    _check_levels(manifest, findings)
    wanted = np.ones(len(manifest), np.bool_)
    wanted[list(bad)] = False
    kept = _with_findings(manifest, findings, kind, settings).keep(pa.array(wanted))
    _check_splits(kept, settings, packaged)
    return Inspection(kept, list(bad.values()), opened=True)


def _stop_if_any(manifest: Manifest, lines: Sequence[str]) -> None:
    if lines:
        raise ProblemsError(manifest.root, lines, what="bad files")


def _check_skipped(manifest: Manifest, lines: Sequence[str]) -> None:
    train = len(manifest.select("train"))
    if len(lines) > _most_skipped(train):
        what = f"bad files, more than a tenth of {train} train images, which on_bad_image: skip does not leave out"
        raise ProblemsError(manifest.root, lines, what=what)


def _most_skipped(train: int) -> int:
    return max(1, int(MOST_SKIPPED * train))


def leaves_out(checked: Sequence[tuple[Record, Finding]], settings: PreprocessSettings) -> bool:
    """Whether broken train images would be left out, if there were no images but these."""
    train = [finding.problem is not None for record, finding in checked if record.split == "train"]
    return settings.on_bad_image == "skip" and sum(train) <= _most_skipped(len(train))


# --- every file, opened once ------------------------------------------------------------------------------------------


def _inspect_all(manifest: Manifest, settings: PreprocessSettings, scratch: Scratch | None) -> list[Finding]:
    decode, cut_boxes = settings.check == "decode", settings.cuts_boxes
    if len(manifest) <= CHUNK:  # starting processes would take longer than the checks
        return _inspect_records(progress(list(manifest), title=CHECKING), decode, cut_boxes)
    work = partial(_kept_or_inspected, decode=decode, cut_boxes=cut_boxes, scratch=scratch)
    findings = list[Finding]()
    with progress(total=len(manifest), title=CHECKING) as bar:
        for found in in_processes(work, _chunks(manifest), settings.jobs):
            findings += found
            bar.update(len(found))
    return findings


def _chunks(manifest: Manifest) -> Iterator[list[Record]]:
    """All records, in chunks: a list of a million would take a gigabyte."""
    records = iter(manifest)
    while chunk := list(islice(records, CHUNK)):
        yield chunk


def _kept_or_inspected(
    records: Sequence[Record], decode: bool, cut_boxes: bool, scratch: Scratch | None
) -> list[Finding]:
    """What an earlier run found of these files, or finds now and keeps."""
    if scratch is None:
        return _inspect_records(records, decode, cut_boxes)
    adapter = TypeAdapter(list[Finding])
    versions = [
        [repr(record), file_version(record.file), record.mask and file_version(record.mask)] for record in records
    ]
    name = f"files-{digest(versions)}"
    part = scratch.find(name)
    if part is not None:
        return adapter.validate_json(part.read_bytes())
    findings = _inspect_records(records, decode, cut_boxes)
    if not any(finding.problem for finding in findings):  # what is wrong now can be put right without a trace
        scratch.keep(name, adapter.dump_json(findings))
    return findings


def _inspect_records(records: Iterable[Record], decode: bool, cut_boxes: bool) -> list[Finding]:
    return [inspect_record(record, decode, cut_boxes) for record in records]


def inspect_record(record: Record, decode: bool, cut_boxes: bool) -> Finding:
    """Check one image and its mask: the header, or every pixel; problems are part of the finding."""
    try:
        header = read_header(record.file)
        size = (header.width, header.height)
        one_color = decode and has_one_color(read_rgb(record.file))
        largest = largest_of_16_bits(record.file) if decode and header.format in _DEEP else None
        values = _inspect_mask(record, size)
        boxes = _check_boxes(record, size, cut_boxes)
    except DataError as error:
        return Finding(problem=str(error))
    return Finding(
        header.width,
        header.height,
        file_size(record.file),
        values,
        (
            *header_quirks(header, record.file),
            *["one_color_images"] * one_color,
            *["dark_16_bit_images"] * (largest is not None and loses_levels(largest)),
            *["boxes_cut"] * (boxes is not None),
        ),
        boxes,
        None if record.mask is None else content_digest(record.mask),
        largest,
    )


def _inspect_mask(record: Record, size: tuple[int, int]) -> frozenset[int]:
    if record.mask is None:
        return frozenset()
    mask = record.turned(read_mask(record.mask))
    height, width = mask.shape
    if (width, height) != size:
        hint = "; likely width and height swapped" if (height, width) == size else ""
        raise DataError(
            f"{record.mask}: expected the size of its image, {size[0]}x{size[1]} (width x height), got "
            f"{width}x{height}{hint}"
        )
    return frozenset(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())


def _check_boxes(record: Record, size: tuple[int, int], cut: bool) -> tuple[Box, ...] | None:
    """The boxes cut at the border, or None if all are inside as they are."""
    width, height = size
    boxes = tuple((max(x0, 0), max(y0, 0), min(x1, width - 1), min(y1, height - 1)) for x0, y0, x1, y1 in record.boxes)
    for given, (x0, y0, x1, y1) in zip(record.boxes, boxes, strict=True):
        if x0 > x1 or y0 > y1 or (given != (x0, y0, x1, y1) and not cut):
            raise DataError(
                f"{record.file}: expected boxes inside {width}x{height} (width x height), got "
                f"{' '.join(map(str, given))}; corners are inclusive, counted from 0"
            )
    return None if boxes == record.boxes else boxes


# --- the findings of all files together -------------------------------------------------------------------------------


def _find_mask_kind(manifest: Manifest, findings: Sequence[Finding]) -> MaskKind:
    """`foreground` if every mask holds 0 and 255 only, else `labels`.

    Raises:
        DataError: if every mask holds 0 and 1 only though there are more classes: class 1, or a foreground saved as 1?
    """
    values = set().union(*(finding.mask_values for finding in findings)) if findings else set()
    if len(manifest.classes) > 1 and 1 in values and values <= {0, 1, 255}:
        raise DataError(
            f"{manifest.root}: expected masks of 0 and 255, or of class ids 1..{len(manifest.classes)}, got 0 and 1 "
            "only; likely foreground masks saved as 0 and 1: save 255, or set preprocess.source.masks to 'labels' if "
            "class 1 is meant"
        )
    return kind_of_masks(values)


def _check_foreground(manifest: Manifest, findings: Sequence[Finding], kind: MaskKind) -> None:
    """Refuse masks of which all hold something and none holds foreground: nothing could be scored, a day later."""
    values = set[int]().union(*(finding.mask_values for finding in findings))
    if kind == "foreground" and values - {0} and not has_foreground(values, kind):
        raise DataError(
            f"{manifest.root}: expected masks with foreground, which is above 128, got none; values above 0 are "
            f"{sample(sorted(values - {0}))}; likely class ids: set preprocess.source.masks to 'labels', or objects "
            "saved fainter: save 255"
        )


def _check_levels(manifest: Manifest, findings: Sequence[Finding]) -> None:
    """Refuse images of 16 bits that all hold fewer: one of them may be dark, all of them are black in 8 bits."""
    levels = [finding.largest_of_16_bits for finding in findings if finding.largest_of_16_bits]
    if levels and all(map(loses_levels, levels)):
        most = max(levels)
        raise DataError(
            f"{manifest.root}: expected levels up to 65535 in 16 bits, got at most {most} in all {len(levels)} images "
            f"of 16 bits; likely levels of {most.bit_length()} bits saved with 16, which are black in 8: scale them to "
            "0..255 and save them with 8 bits"
        )


def _problems(manifest: Manifest, findings: Sequence[Finding], kind: MaskKind) -> dict[int, str]:
    """What is wrong with an image or its mask, by row."""
    problems: dict[int, str] = {}
    for n, finding in enumerate(findings):
        if finding.problem:
            problems[n] = finding.problem
        if not finding.mask_values:
            continue
        wrong, right = wrong_values(finding.mask_values, kind, len(manifest.classes))
        if wrong:
            path = (manifest.mask_root or manifest.root) / manifest.table["mask"][n].as_py()
            problems[n] = f"{path}: expected mask values {right}, got {sample(wrong)}; {_HINTS[kind]}"
    return problems


def _with_findings(
    manifest: Manifest, findings: Sequence[Finding], kind: MaskKind, settings: PreprocessSettings
) -> Manifest:
    columns: dict[str, Any] = {name: manifest.table[name] for name in SCHEMA.names}
    for name in ("width", "height", "bytes", "mask_sha256"):
        columns[name] = pa.array([getattr(finding, name) for finding in findings], SCHEMA.field(name).type)
    quirks = [list(finding.quirks) for finding in findings]
    for n in np.flatnonzero(columns["mask"].is_valid()).tolist():
        if not has_foreground(findings[n].mask_values, kind):
            quirks[n].append("masks_without_foreground")
    if any(finding.boxes is not None for finding in findings):
        pairs = zip(columns["boxes"].to_pylist(), findings, strict=True)
        columns["boxes"] = [
            old if finding.boxes is None else [x for box in finding.boxes for x in box] for old, finding in pairs
        ]
    if settings.labels_val_by_masks and kind == "labels":
        columns["labels"] = _labels_from_masks(columns, findings, quirks)
    columns["quirks"] = [names or None for names in quirks]
    return replace(manifest, table=pa.table(columns, schema=SCHEMA), mask_kind=kind)


def _labels_from_masks(
    columns: dict[str, Any], findings: Sequence[Finding], quirks: list[list[str]]
) -> list[list[int]]:
    """Labels of all rows; val images that have none get the classes in their mask."""
    labels: list[list[int]] = columns["labels"].to_pylist()
    for n in np.flatnonzero(pc.equal(columns["split"], "val")).tolist():
        found = sorted(value - 1 for value in findings[n].mask_values if 1 <= value <= 254)
        if found and not labels[n]:
            labels[n] = found
            quirks[n].append("labels_from_masks")
    return labels


# --- the table as a whole ---------------------------------------------------------------------------------------------


def _check_ids(manifest: Manifest) -> None:
    ids = manifest.table["id"]
    if pc.count_distinct(ids).as_py() == len(manifest):
        return
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    raise DataError(
        f"{manifest.root}: expected every image id once in all splits, got some twice: {sample(sorted(twice))}; "
        "likely one image in two lists, or two files of one name in different folders"
    )


def _check_splits(manifest: Manifest, settings: PreprocessSettings, packaged: Split) -> None:
    counts = {split: len(manifest.select(split)) for split in SPLITS}
    needed = [split for split in SPLITS if split in ("train", "val", packaged)]
    if empty := [split for split in needed if not counts[split]]:
        hint = "; without test images set package.split: val" if empty == ["test"] else ""
        raise DataError(
            f"{manifest.root}: expected images in splits {needed}, found none in {empty}; got {counts}{hint}"
        )
    without = classes_without_image(manifest)
    if without and not settings.allows_empty_classes:
        raise DataError(
            f"{manifest.root}: expected a training image of every class, found none of {sample(without)}; "
            "likely a class list of another set, or labels missing in split train"
        )
    if shared := labels_of_all(manifest):
        raise DataError(
            f"{manifest.root}: expected train images that differ in their labels, got {sample(shared)} on every one; a "
            "classifier has nothing to tell apart: add images of another class, or without the object (no label)"
        )


def labels_of_all(manifest: Manifest) -> list[str]:
    """The class names on every train image, if no train image has others; else none."""
    first: list[int] | None = None
    for batch in manifest.select("train").table["labels"].chunks:
        for start in range(0, len(batch), CHUNK):
            for labels in batch.slice(start, CHUNK).to_pylist():
                first = labels if first is None else first
                if labels != first:
                    return []
    return [manifest.classes[k] for k in first or ()]


def classes_without_image(manifest: Manifest) -> list[str]:
    """The names of the classes that no train image has."""
    present = set(pc.unique(pc.list_flatten(manifest.select("train").table["labels"])).to_pylist())
    return [name for k, name in enumerate(manifest.classes) if k not in present]
