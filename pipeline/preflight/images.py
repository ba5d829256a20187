"""A sample of images and masks, chosen by chance but the same every time, opened and decoded."""

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from pipeline.core.errors import sample
from pipeline.core.manifest import SPLITS, MaskKind, MaskTurn, Record, Split
from pipeline.core.tracks import Track
from pipeline.preflight.context import Context, NotCheckedError
from pipeline.preflight.findings import Row, row_of_line
from pipeline.preflight.listing import train_folder
from pipeline.preflight.lists import held_out
from pipeline.preprocess.challenge_lists import det_classes
from pipeline.preprocess.folders import only_images, walk
from pipeline.preprocess.inspect import Finding, look
from pipeline.preprocess.known_defects import RULES, wrong_values
from pipeline.preprocess.layouts.ilsvrc_cls import SWAPPED_MASKS, is_swapped
from pipeline.preprocess.layouts.ilsvrc_det import RAW
from pipeline.preprocess.settings import DemoSource, IlsvrcClsSource, IlsvrcDetSource, PreprocessSettings, Source

SECONDS = 20.0  # at most, for the images of one track
NOTABLE = ("other_format_than_name", "cmyk_images", "other_color_modes")  # quirks that are named image by image
DOWNLOAD = "likely a truncated download: copy this file again"


@dataclass(slots=True)
class Sample:
    """Which images are looked at, and how many there are of each split.

    Attributes:
        records: the chosen ones
        of: how many there are to choose from
        kind: of the masks
        classes: K
        note: where they come from, if not from the table
    """

    records: dict[Split, list[Record]]
    of: dict[Split, int]
    kind: MaskKind
    classes: int
    note: str = ""
    findings: list[tuple[Record, Finding]] = field(default_factory=list)


def check_images(context: Context, track: Track) -> Iterator[Row]:
    """Decode a sample of every split; each broken file, each odd one, and how many were looked at."""
    settings = context.get(track.name, PreprocessSettings)
    if isinstance(settings.source, DemoSource):
        return
    chosen = choose(context, track)
    if not any(chosen.of.values()):
        raise NotCheckedError("not looked at, for there are no images where the params file says")
    deadline = time.monotonic() + SECONDS
    looked: dict[str, int] = {}
    for split in SPLITS:
        for record in chosen.records[split]:
            if time.monotonic() > deadline:
                break
            chosen.findings.append((record, look(record, True, settings.cuts_boxes)))
            looked[split] = looked.get(split, 0) + 1
    context.good[track.name] = [record for record, finding in chosen.findings if finding.problem is None]
    yield from _broken(chosen)
    yield from _odd(chosen)
    yield from _palettes(chosen, isinstance(settings.source, IlsvrcDetSource))
    yield from _empty_files(context, track, {record.file for record, _ in chosen.findings})
    counts = ", ".join(f"{split} {looked.get(split, 0):,} of {chosen.of[split]:,}" for split in SPLITS)
    yield Row("OK", "images", "", f"looked at {counts}{chosen.note}; {_met(chosen)}")


# --- which ------------------------------------------------------------------------------------------------------------


def choose(context: Context, track: Track) -> Sample:
    """Choose from the table; if the images could not be listed, from what lies on the disk."""
    listing = context.listings.get(track.name)
    chance = random.Random(context.seed)
    if listing is None or listing.manifest is None:
        return _from_disk(context, track, chance)
    manifest = listing.manifest
    parts = {split: manifest.select(split) for split in SPLITS}
    rows = {split: chance.sample(range(len(part)), min(context.sample, len(part))) for split, part in parts.items()}
    records = {split: list(replace(part, table=part.table.take(rows[split]))) for split, part in parts.items()}
    return Sample(
        records, {split: len(part) for split, part in parts.items()}, manifest.mask_kind, len(manifest.classes)
    )


def _from_disk(context: Context, track: Track, chance: random.Random) -> Sample:
    source = context.get(track.name, PreprocessSettings).source
    found: dict[Split, list[str]] = {split: [] for split in SPLITS}
    masks: dict[str, Path] = {}
    if isinstance(source, IlsvrcClsSource | IlsvrcDetSource):
        train = train_folder(source).as_posix()
        found["train"] = [
            f"{train}/{folder}/{name}" for folder, names in walk(Path(train)).items() for name in only_images(names)
        ]
        images, masks = held_out(source)
        found["val"] = sorted(path.as_posix() for path in images.values())
    chosen = {split: chance.sample(files, min(context.sample, len(files))) for split, files in found.items()}
    records = {split: [_record(Path(file), split, masks, source) for file in files] for split, files in chosen.items()}
    kind: MaskKind = "foreground" if isinstance(source, IlsvrcClsSource) else "labels"
    note = " (val: with test), taken from the disk, for the images could not be listed"
    return Sample(records, {split: len(files) for split, files in found.items()}, kind, len(det_classes()), note)


def _record(file: Path, split: Split, masks: Mapping[str, Path], source: Source) -> Record:
    mask = masks.get(file.stem)
    swapped = mask is not None and file.stem in SWAPPED_MASKS and is_swapped(file, mask)
    return Record(file.stem, file, 0, 0, (), split, mask, (), mask_turn=_turn(source) if swapped else None)


def _turn(source: Source) -> MaskTurn | None:
    """How the known swapped masks are turned."""
    if not isinstance(source, IlsvrcClsSource) or source.swapped_masks == "skip" or source.swapped_masks == "error":
        return None
    return source.swapped_masks


# --- what was found ---------------------------------------------------------------------------------------------------


def _broken(chosen: Sample) -> Iterator[Row]:
    for record, finding in chosen.findings:
        if finding.problem:
            yield row_of_line("FAIL", "images", finding.problem, DOWNLOAD)
            continue
        wrong, right = wrong_values(finding.mask_values, chosen.kind, chosen.classes)
        if wrong:
            text = f"expected mask values {right}, got {sample(wrong)}"
            yield Row(
                "FAIL",
                "masks",
                str(record.mask),
                text,
                "likely a mask of another task, or one that was resized with interpolation",
            )


def _odd(chosen: Sample) -> Iterator[Row]:
    for record, finding in chosen.findings:
        for rule in set(finding.quirks) & set(NOTABLE):
            yield Row("WARN", "images", record.file.as_posix(), RULES[rule], "nothing to do; real copies hold a few")


def _palettes(chosen: Sample, raw_is_plain: bool) -> Iterator[Row]:
    """Track 1's raw masks are plain; files with a palette are the copies for viewing."""
    masks = [record.mask for record, finding in chosen.findings if record.mask and not finding.problem]
    for mask in masks if raw_is_plain else []:
        with Image.open(mask) as image:
            if image.mode == "P":
                text = "expected mode L, got P (with a palette)"
                yield Row(
                    "FAIL", "masks", mask.as_posix(), text, f"likely the palette copy, for viewing; unpack {RAW} again"
                )


def _empty_files(context: Context, track: Track, seen: set[Path]) -> Iterator[Row]:
    """Every val and test image, for a prediction is owed for each: is there anything in the file?"""
    listing = context.listings.get(track.name)
    if listing is None or listing.manifest is None:
        return
    for split in ("val", "test"):
        part = listing.manifest.select("val" if split == "val" else "test")
        for name in part.table["file"].to_pylist():
            path = part.root / name
            if path not in seen and path.is_file() and not path.stat().st_size:
                yield Row("FAIL", "images", path.as_posix(), "expected an image, got an empty file", DOWNLOAD)


def _met(chosen: Sample) -> str:
    counts: dict[str, int] = {}
    for _, finding in chosen.findings:
        for rule in finding.quirks:
            counts[rule] = counts.get(rule, 0) + 1
    return ", ".join(f"{rule.replace('_', ' ')}: {n}" for rule, n in sorted(counts.items())) or "nothing odd among them"
