"""A sample of images and masks, the same at every call, opened and decoded."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pyarrow as pa
from PIL import Image

from pipeline.core.errors import sample
from pipeline.core.manifest import SPLITS, Manifest, Record
from pipeline.core.tracks import Track
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, fail, ok, row_of_line, warn
from pipeline.preprocess.inspect import Finding, inspect_record
from pipeline.preprocess.known_defects import RULES, wrong_values
from pipeline.preprocess.layouts.ilsvrc_det import HELD_OUT, RAW
from pipeline.preprocess.settings import DemoSource, IlsvrcDetSource, PreprocessSettings

SECONDS = 20.0  # at most, for the images of one track
NOTABLE = ("other_format_than_name", "cmyk_images", "other_color_modes")  # defects that are named image by image
DOWNLOAD = "likely a truncated download: copy this file again"
Checked = Sequence[tuple[Record, Finding]]


def check_images(context: Context, track: Track) -> Iterator[Row]:
    """Decode a sample of every split: each broken file, each unusual one, and how many were decoded."""
    settings = context.get(track.name, PreprocessSettings)
    if isinstance(settings.source, DemoSource):
        return
    manifest = context.manifest(track.name)
    checked = _decode(choose(manifest, context), settings.cuts_boxes)
    context.good[track.name] = [record for record, finding in checked if finding.problem is None]
    yield from _broken(checked, manifest)
    yield from _empty(manifest, {record.file for record, _ in checked})
    if isinstance(settings.source, IlsvrcDetSource):
        yield from _palettes(checked)
    counts = Counter(record.split for record, _ in checked)
    shown = ", ".join(f"{split} {counts[split]:,} of {len(manifest.select(split)):,}" for split in SPLITS)
    met = Counter(rule for _, finding in checked for rule in finding.quirks)
    unusual = ", ".join(f"{rule.replace('_', ' ')}: {n}" for rule, n in sorted(met.items())) or "nothing unusual"
    yield ok(f"decoded {shown}; {unusual}")


def choose(manifest: Manifest, context: Context) -> list[Record]:
    """A sample of each split."""
    chance, chosen = random.Random(context.seed), list[Record]()
    for split in SPLITS:
        part = manifest.select(split)
        rows = chance.sample(range(len(part)), min(context.sample, len(part)))
        chosen += replace(part, table=part.table.take(pa.array(rows, pa.int64())))
    return chosen


def _decode(records: Sequence[Record], cuts_boxes: bool) -> Checked:
    deadline = time.monotonic() + SECONDS
    ordered = sorted(records, key=lambda record: record.id)  # all splits, should the time be up
    in_time = takewhile(lambda record: time.monotonic() <= deadline, ordered)
    return [(record, inspect_record(record, True, cuts_boxes)) for record in in_time]


def _broken(checked: Checked, manifest: Manifest) -> Iterator[Row]:
    for record, finding in checked:
        if finding.problem:
            yield row_of_line("FAIL", finding.problem, DOWNLOAD)
            continue
        wrong, right = wrong_values(finding.mask_values, manifest.mask_kind, len(manifest.classes))
        if wrong:
            hint = "likely a mask of another task, or one that was resized with interpolation"
            yield fail(record.mask, f"expected mask values {right}, got {sample(wrong)}", hint, "masks")
        for rule in sorted(set(finding.quirks) & set(NOTABLE)):
            yield warn(record.file, RULES[rule], "nothing to do; real copies hold a few")


def _empty(manifest: Manifest, decoded: set[Path]) -> Iterator[Row]:
    """Every file of val and test, sampled or not: each needs a prediction, and reading a size is cheap."""
    for split in HELD_OUT:
        for path in (record.file for record in manifest.select(split)):
            if path not in decoded and path.is_file() and not path.stat().st_size:
                yield fail(path, "expected an image, got an empty file", DOWNLOAD)


def _palettes(checked: Checked) -> Iterator[Row]:
    """Track 1's raw masks have mode L; files with a palette are the copies for viewing."""
    for record, finding in checked:
        if record.mask and not finding.problem:
            with Image.open(record.mask) as image:
                if image.mode == "P":
                    hint = f"likely the palette copy, for viewing; unpack {RAW} again"
                    yield fail(record.mask, "expected mode L, got P (with a palette)", hint, "masks")
