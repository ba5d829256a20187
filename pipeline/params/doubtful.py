"""What is odd in a folder of images: broken, tiny and equal files, classes with few images."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow as pa

from pipeline.core.errors import sample
from pipeline.core.files import sha256
from pipeline.core.manifest import Manifest, Record
from pipeline.core.processes import in_processes
from pipeline.preprocess.inspect import Finding, classes_without_image, inspect_record

MOST = 5000  # images that are decoded, evenly spaced
FEW = 5  # images of train and val: a class with fewer is named
TINY = 64  # pixels: an image whose shorter side is below is named
CHUNK = 256  # images in one piece of work
SHOWN = 5  # files that are named, of each kind


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found.

    Attributes:
        lines: for people: sizes first, then what is doubtful
        broken: why an image cannot be used, by split
    """

    lines: tuple[str, ...]
    broken: dict[str, list[str]]


def look(manifest: Manifest, cut_boxes: bool, jobs: int = -1) -> Looked:
    """Decode the images of a manifest, at most `MOST` of them, and compare the bytes of files of equal size."""
    records = list(_spaced(manifest))
    findings = _inspect(records, cut_boxes, jobs)
    pairs = list(zip(records, findings, strict=True))
    broken: dict[str, list[str]] = defaultdict(list)
    for record, finding in pairs:
        if finding.problem:
            broken[record.split].append(finding.problem)
    lines = [*_sizes(findings, len(manifest)), *_broken(broken), *_tiny(pairs), *_turned(findings)]
    return Looked((*lines, *_equal(records), *_few(manifest), *_untrained(manifest)), dict(broken))


def _spaced(manifest: Manifest) -> Manifest:
    step = -(-len(manifest) // MOST) or 1
    return replace(manifest, table=manifest.table.take(pa.array(range(0, len(manifest), step), pa.int64())))


def _inspect(records: Sequence[Record], cut_boxes: bool, jobs: int) -> list[Finding]:
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    work = partial(_inspect_chunk, cut_boxes=cut_boxes)
    return [found for chunk in in_processes(work, chunks, jobs if len(chunks) > 2 else 1) for found in chunk]


def _inspect_chunk(records: Sequence[Record], cut_boxes: bool) -> list[Finding]:
    return [inspect_record(record, True, cut_boxes) for record in records]


def _sizes(findings: Sequence[Finding], images: int) -> Iterator[str]:
    sides = [max(finding.width, finding.height) for finding in findings if not finding.problem]
    if sides:
        of = "" if len(findings) == images else f" (of {len(findings)} images, evenly spaced)"
        yield f"longer side {min(sides)} to {max(sides)} pixels, median {median(sides):g}{of}"


def _broken(broken: dict[str, list[str]]) -> Iterator[str]:
    every = [problem for problems in broken.values() for problem in problems]
    yield from (f"broken: {problem}" for problem in every[:SHOWN])
    if len(every) > SHOWN:
        yield f"broken: {len(every)} in all"


def _tiny(pairs: Sequence[tuple[Record, Finding]]) -> Iterator[str]:
    tiny = [record.file.as_posix() for record, one in pairs if not one.problem and min(one.width, one.height) < TINY]
    if tiny:
        yield f"tiny, shorter side below {TINY} pixels: {sample(tiny, SHOWN)}"


def _turned(findings: Sequence[Finding]) -> Iterator[str]:
    turned = sum("exif_orientation" in finding.quirks for finding in findings)
    if turned:
        yield f"{turned} images ask to be turned (EXIF); they are used as they are stored, perhaps on their side"


def _equal(records: Sequence[Record]) -> Iterator[str]:
    by_size: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record.file.is_file():
            by_size[record.file.stat().st_size].append(record)
    by_content: dict[str, list[Path]] = defaultdict(list)
    for same in by_size.values():
        for record in same if len(same) > 1 else ():
            by_content[sha256(record.file)].append(record.file)
    equal = [" = ".join(file.as_posix() for file in files) for files in by_content.values() if len(files) > 1]
    yield from (f"equal bytes: {files}" for files in equal[:SHOWN])
    if len(equal) > SHOWN:
        yield f"equal bytes: {len(equal)} groups in all"


def _few(manifest: Manifest) -> Iterator[str]:
    counts = Counter(k for labels in manifest.labels() for k in labels)
    few = [f"{name} ({counts[k]})" for k, name in enumerate(manifest.classes) if counts[k] < FEW]
    if few:
        yield f"classes with fewer than {FEW} labelled images: {sample(few, SHOWN)}"


def _untrained(manifest: Manifest) -> Iterator[str]:
    """What the chain refuses, and no file shows."""
    if untrained := classes_without_image(manifest):
        yield f"the run stops at classes without a train image, add some or take them out: {sample(untrained)}"
    if len(set(manifest.select("train").labels())) == 1:
        yield "the run stops, as all train images have the same labels: add images of something else"
