"""What the stage `preprocess` would find: folders, problems, id lists, counts; a sample of the images, decoded."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import sample
from pipeline.core.manifest import SPLITS, Manifest, Record
from pipeline.core.tracks import Track
from pipeline.package.settings import PackageSettings
from pipeline.preflight.context import Context, Listing
from pipeline.preflight.findings import Level, Row, fail, ok, row_of_line, warn
from pipeline.preprocess.challenge_lists import COUNTS, track1_ids
from pipeline.preprocess.id_lists import oddities
from pipeline.preprocess.image_header import read_header
from pipeline.preprocess.inspect import Finding, inspect_record, leaves_out
from pipeline.preprocess.known_defects import RULES, wrong_values
from pipeline.preprocess.layouts import ilsvrc_cls, ilsvrc_det
from pipeline.preprocess.layouts.ilsvrc_det import HELD_OUT, RAW
from pipeline.preprocess.settings import OWN, DemoSource, IlsvrcClsSource, IlsvrcDetSource, PreprocessSettings, Source
from pipeline.preprocess.sources import try_to_list

FEW = 20  # images of a class: below, it is named
COPY_AGAIN = "likely an unfinished copy: unpack the archive again"
SECONDS = 20.0  # at most, to decode images of one track
NOTABLE = ("other_format_than_name", "cmyk_images", "other_color_modes", "one_color_images")  # named one by one
DOWNLOAD, LEFT_OUT = "likely a truncated download: copy this file again", "left out, as preprocess.on_bad_image says"
Checked = Sequence[tuple[Record, Finding]]


def check_roots(context: Context, track: Track) -> Iterator[Row]:
    """The folders that the source is given, and the file that DVC watches."""
    settings = context.get(track.name, PreprocessSettings)
    for key, root in _roots(settings.source).items():
        yield _root(settings.source, key, root, context.key(track.name, f"preprocess.source.{key}"))
    if not Path(settings.watch).exists():  # for DVC a dep that is not there is an error
        where, found = context.key(track.name, "preprocess.watch"), f"found none at {settings.watch}"
        yield fail(where, f"expected a file or folder, {found}", "name one that is there, such as data/raw/README.md")


def _roots(source: Source) -> dict[str, Path]:
    return {key: Path(getattr(source, key)) for key in ("root", "challenge_root") if hasattr(source, key)}


def _root(source: Source, key: str, root: Path, where: str) -> Row:
    if root.is_dir():
        return ok(f"{key} of {source.name}, at {root.resolve().as_posix()}", root)
    if isinstance(source, DemoSource):
        return ok("not there yet, the stage preprocess renders it", root)
    if getattr(source, "download", False):
        return warn(where, f"expected a folder, found none at {root}", "the stage preprocess will download it")
    kind = "a link that leads nowhere" if root.is_symlink() else "a file" if root.exists() else "nothing"
    return fail(where, f"expected a folder, found {kind} at {root}", f"ln -s /path/to/it {root}, or set {key}")


def check_listing(context: Context, track: Track) -> Iterator[Row]:
    """List the images as `preprocess` does; every problem of the source is a row."""
    settings = context.get(track.name, PreprocessSettings)
    if isinstance(settings.source, DemoSource):
        yield ok("rendered by the stage preprocess: nothing to check", settings.source.root)
        return
    start = time.perf_counter()
    manifest, lines = try_to_list(settings, track, context.get(track.name, PackageSettings).split)
    told = tuple(f"{root}: expected" for root in _roots(settings.source).values() if not root.is_dir())  # by `roots`
    level: Level = "WARN" if getattr(settings.source, "download", False) else "FAIL"
    hint = "correct the folder, index.csv or classes.txt" if isinstance(settings.source, OWN) else COPY_AGAIN
    untold = [line for line in lines if not line.startswith(told)]
    seconds, reason = time.perf_counter() - start, "listing" if untold else "roots"
    context.listings[track.name] = Listing(manifest, seconds, reason)
    yield from (row_of_line(level, line, hint) for line in untold)
    if manifest is not None:
        counts = ", ".join(f"{split} {images:,}" for split, images in context.images(track.name).items())
        yield ok(f"{counts} images of {len(manifest.classes)} classes, listed in {seconds:.1f} s", manifest.root)


def check_lists(context: Context, track: Track) -> Iterator[Row]:
    """The text files with ids: what is unusual in them, and whether they are the challenge's."""
    source, shipped = context.get(track.name, PreprocessSettings).source, False
    files = ilsvrc_cls.list_files(source) if isinstance(source, IlsvrcClsSource) else {}
    if isinstance(source, IlsvrcDetSource):
        files, shipped = ilsvrc_det.list_files(source), source.lists == "shipped"
    for split, path in files.items():
        for line in oddities(path, track1_ids("val" if split == "val" else "test") if shipped else ()):
            found, _, hint = line.partition("; ")
            yield warn(path, found, f"read all the same; {hint}")


def check_counts(context: Context, track: Track) -> Iterator[Row]:
    """Images of each split against the challenge's, images of each class, and what was left out."""
    source = context.get(track.name, PreprocessSettings).source
    if isinstance(source, DemoSource):
        return
    manifest = context.manifest(track.name)
    if isinstance(source, IlsvrcClsSource | IlsvrcDetSource):
        for split, expected in COUNTS[track.name].items():
            if (found := context.images(track.name)[split]) != expected:
                text = f"expected {expected:,} images in split {split}, as in the challenge, found {found:,}"
                yield warn(manifest.root, text, f"{COPY_AGAIN}; or lists of your own")
    cause = "add some, or take the class out" if isinstance(source, OWN) else COPY_AGAIN
    yield from _per_class(manifest, getattr(source, "empty_classes", "error") == "allow", cause)
    if isinstance(source, IlsvrcDetSource) and source.labels == "annotations":
        train = manifest.select("train")
        without = int(pc.sum(pc.equal(pc.list_value_length(train.table["labels"]), 0)).as_py() or 0)
        if without > 0.1 * len(train):
            hint = "expected in about 4.5 %; a single-label loss leaves these images out"
            yield warn(manifest.root, f"{without:,} of {len(train):,} annotations name no object", hint, "labels")
    for rule, images in sorted((rule, images) for rule, images in manifest.left_out.items() if images):
        text = f"left out: {images:,} ({rule.replace('_', ' ')})"
        yield warn(manifest.root, text, "preprocess.json counts them too; expected in a real copy")


def _per_class(manifest: Manifest, may_be_empty: bool, cause: str) -> Iterator[Row]:
    train = manifest.select("train")
    labels = pc.list_flatten(train.table["labels"])
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(manifest.classes))
    for low, high, words in ((0, 1, "no training image"), (1, FEW, f"fewer than {FEW} training images")):
        if names := [manifest.classes[k] for k in np.flatnonzero((counts >= low) & (counts < high))]:
            text = f"expected images of every class, found {words} of {len(names)}: {sample(names)}"
            report = fail if high == 1 and not may_be_empty else warn
            yield report(manifest.root, text, f"{cause}; or labels missing in split train")
    if every := [name for name, count in zip(manifest.classes, counts, strict=True) if count == len(train) > 0]:
        text = f"expected images without each class, found {sample(every)} on every training image"
        yield warn(manifest.root, text, "a classifier cannot learn what is on every image: add images without it")
    if len(counts):
        spread = f"{counts.min():,} to {counts.max():,}, median {np.median(counts):,.0f}"
        yield ok(f"images of a class: {spread}", manifest.root)


def check_images(context: Context, track: Track) -> Iterator[Row]:
    """Decode a sample of every split: each broken file, each unusual one, and how many were decoded."""
    settings = context.get(track.name, PreprocessSettings)
    if isinstance(settings.source, DemoSource):
        return
    manifest = context.manifest(track.name)
    deadline = time.monotonic() + SECONDS
    chosen = sorted(choose(manifest, context), key=lambda record: record.id)  # all splits, should the time be up
    in_time = takewhile(lambda record: time.monotonic() <= deadline, chosen)
    checked = [(record, inspect_record(record, True, settings.cuts_boxes)) for record in in_time]
    context.good[track.name] = [record for record, finding in checked if finding.problem is None]
    yield from _broken(checked, manifest, settings.source, leaves_out(checked, settings))
    decoded = {record.file for record, _ in checked}
    held_out = (record.file for split in HELD_OUT for record in manifest.select(split))  # all: each needs a prediction
    empty = (path for path in held_out if path not in decoded and path.is_file() and not path.stat().st_size)
    yield from (fail(path, "expected an image, got an empty file", DOWNLOAD) for path in empty)
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


def _broken(checked: Checked, manifest: Manifest, source: Source, skips: bool) -> Iterator[Row]:
    for record, finding in checked:
        if finding.problem:
            is_skipped = skips and record.split == "train"
            yield row_of_line("WARN" if is_skipped else "FAIL", finding.problem, LEFT_OUT if is_skipped else DOWNLOAD)
            continue
        wrong, right = wrong_values(finding.mask_values, manifest.mask_kind, len(manifest.classes))
        if wrong:
            hint = "likely a mask of another task, or one that was resized with interpolation"
            yield fail(record.mask, f"expected mask values {right}, got {sample(wrong)}", hint, "masks")
        for rule in sorted(set(finding.quirks) & set(NOTABLE)):
            yield warn(record.file, RULES[rule], "nothing to do; real copies hold a few")
        if isinstance(source, IlsvrcDetSource) and record.mask and read_header(record.mask).mode == "P":
            hint = f"likely the palette copy, for viewing; unpack {RAW} again"
            yield fail(record.mask, "expected mode L, got P (with a palette)", hint, "masks")
