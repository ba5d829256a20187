"""What the stage `preprocess` would list: folders, problems of the source, id lists, counts."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import Manifest
from pipeline.core.tracks import Track
from pipeline.preflight.context import Context, Listing
from pipeline.preflight.findings import Level, Row, fail, ok, row_of_line, warn
from pipeline.preprocess.challenge_lists import COUNTS, track1_ids
from pipeline.preprocess.folders import Problems, ProblemsError
from pipeline.preprocess.id_lists import oddities
from pipeline.preprocess.inspect import inspect
from pipeline.preprocess.layouts import ilsvrc_cls, ilsvrc_det
from pipeline.preprocess.leakage import leaked_masks
from pipeline.preprocess.settings import (
    CocoSource,
    DemoSource,
    FolderSource,
    IlsvrcClsSource,
    IlsvrcDetSource,
    OxfordPetSource,
    PascalVocSource,
    PreprocessSettings,
    Source,
)
from pipeline.preprocess.sources import list_images

FEW = 20  # images of a class: below, it is named
COPY_AGAIN = "likely an unfinished copy: unpack the archive again"


def check_roots(context: Context, track: Track) -> Iterator[Row]:
    """The folders that the source is given, and the file that DVC watches."""
    settings = context.get(track.name, PreprocessSettings)
    for key in ("root", "challenge_root"):
        if hasattr(settings.source, key):
            yield _root(settings.source, key, context.key(track.name, f"preprocess.source.{key}"))
    if not Path(settings.watch).is_file():  # for DVC a dep that is not there is an error
        hint = "name one that is there, such as data/raw/README.md"
        where = context.key(track.name, "preprocess.watch")
        yield fail(where, f"expected a file, found none at {settings.watch}", hint)


def _root(source: Source, key: str, where: str) -> Row:
    root = Path(getattr(source, key))
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
    listing = context.listings[track.name] = list_source(settings, track)
    level: Level = "WARN" if getattr(settings.source, "download", False) else "FAIL"
    roots = [getattr(settings.source, key, "") for key in ("root", "challenge_root")]
    told = tuple(f"{root}: expected" for root in roots if root and not Path(root).is_dir())  # in the rows `roots`
    for line in listing.lines:
        if not line.startswith(told):
            yield row_of_line(level, line, COPY_AGAIN)
    if listing.manifest is not None:
        counts = ", ".join(f"{split} {images:,}" for split, images in context.images(track.name).items())
        found = f"{counts} images of {len(listing.manifest.classes)} classes, listed in {listing.seconds:.1f} s"
        yield ok(found, listing.manifest.root)


def list_source(settings: PreprocessSettings, track: Track) -> Listing:
    """Run the source of a track; nothing is downloaded or rendered."""
    start = time.perf_counter()
    source: Source = settings.source
    if isinstance(source, OxfordPetSource | PascalVocSource):
        source = replace(source, download=False)
    if isinstance(source, CocoSource):
        source = replace(source, truth="boxes")  # masks would be rendered
    listing, problems = Listing(), Problems(Path(source.root))
    try:
        listing.manifest = list_images(source, track, settings.jobs)
    except ProblemsError as error:
        listing.manifest, problems.lines = error.manifest, list(error.lines)
    except DataError as error:
        problems.add(str(error))
    manifest = listing.manifest
    if manifest is not None and not problems.lines:
        plain = replace(source, masks="labels") if isinstance(source, FolderSource) else source
        problems.attempt(lambda: inspect(manifest, replace(settings, source=plain, check="list")))  # opens no file
        problems.lines = problems.lines or leaked_masks(manifest, compare_bytes=True)
    listing.lines, listing.seconds = problems.lines, time.perf_counter() - start
    return listing


def check_lists(context: Context, track: Track) -> Iterator[Row]:
    """The text files with ids: what is unusual in them, and whether they are the challenge's."""
    source = context.get(track.name, PreprocessSettings).source
    files: dict[str, Path] = {}
    if isinstance(source, IlsvrcClsSource):
        files = ilsvrc_cls.list_files(source)
    elif isinstance(source, IlsvrcDetSource):
        files = ilsvrc_det.list_files(source)
    for split, path in files.items():
        shipped = isinstance(source, IlsvrcDetSource) and source.lists == "shipped"
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
            found = context.images(track.name)[split]
            if found != expected:
                text = f"expected {expected:,} images in split {split}, as in the challenge, found {found:,}"
                yield warn(manifest.root, text, f"{COPY_AGAIN}; or lists of your own")
    yield from _per_class(manifest, getattr(source, "empty_classes", "error") == "allow")
    if isinstance(source, IlsvrcDetSource) and source.labels == "annotations":
        yield from _without_label(manifest)
    for rule, images in sorted(manifest.left_out.items()):
        if images:
            text = f"left out: {images:,} ({rule.replace('_', ' ')})"
            yield warn(manifest.root, text, "preprocess.json counts them too; expected in a real copy")


def _per_class(manifest: Manifest, may_be_empty: bool) -> Iterator[Row]:
    labels = pc.list_flatten(manifest.select("train").table["labels"])
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(manifest.classes))
    for low, high, words in ((0, 1, "no training image"), (1, FEW, f"fewer than {FEW} training images")):
        names = [manifest.classes[k] for k in np.flatnonzero((counts >= low) & (counts < high))]
        if names:
            text = f"expected images of every class, found {words} of {len(names)}: {sample(names)}"
            report = fail if high == 1 and not may_be_empty else warn
            yield report(manifest.root, text, f"{COPY_AGAIN}; or labels missing in split train")
    if len(counts):
        found = f"images of a class: {counts.min():,} to {counts.max():,}, median {np.median(counts):,.0f}"
        yield ok(found, manifest.root)


def _without_label(manifest: Manifest) -> Iterator[Row]:
    """Track 1: how many training images have an annotation that names no object; 4.5 % in the challenge."""
    train = manifest.select("train")
    without = int(pc.sum(pc.equal(pc.list_value_length(train.table["labels"]), 0)).as_py() or 0)
    if without > 0.1 * len(train):
        text = f"{without:,} of {len(train):,} annotations name no object"
        hint = "expected in about 4.5 %; a single-label loss leaves these images out"
        yield warn(manifest.root, text, hint, "labels")
