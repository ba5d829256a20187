"""Roots, lists and tables: what the stage `preprocess` would say, and what it has no reason to say."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import Manifest
from pipeline.core.tracks import Track
from pipeline.preflight.context import NOMINAL, Context, Listing, NotCheckedError
from pipeline.preflight.findings import Level, Row, row_of_line
from pipeline.preprocess.challenge_lists import cls_classes
from pipeline.preprocess.folders import list_names, only_images, stem, walk
from pipeline.preprocess.layouts.ilsvrc_cls import ilsvrc_home
from pipeline.preprocess.settings import (
    DemoSource,
    FolderSource,
    IlsvrcClsSource,
    IlsvrcDetSource,
    PreprocessSettings,
    Source,
)

FEW = 20  # images of a class: below, it is named
COPY_AGAIN = "likely an unfinished copy: unpack the archive again"


# --- roots ------------------------------------------------------------------------------------------------------------


def check_roots(context: Context, track: Track) -> Iterator[Row]:
    """The folders that the source is given."""
    settings = context.get(track.name, PreprocessSettings)
    for key in ("root", "challenge_root"):
        if hasattr(settings.source, key):
            yield _check_root(context, track, settings.source, key)
    if not Path(settings.watch).is_file():  # for DVC a dep that is not there is an error
        where = context.key(track.name, "preprocess.watch")
        hint = "name one that is there, such as data/raw/README.md"
        yield Row("FAIL", "roots", where, f"expected a file, found none at {settings.watch}", hint)


def _check_root(context: Context, track: Track, source: Source, key: str) -> Row:
    root = Path(getattr(source, key))
    if root.is_dir():
        return Row("OK", "roots", root.as_posix(), f"{key} of {source.name}, at {root.resolve().as_posix()}")
    if isinstance(source, DemoSource):
        return Row("OK", "roots", root.as_posix(), "not there yet, the stage preprocess renders it")
    where = context.key(track.name, f"preprocess.source.{key}")
    if getattr(source, "download", False):
        return Row(
            "WARN", "roots", where, f"expected a folder, found none at {root}", "the stage preprocess will download it"
        )
    kind = "a link that leads nowhere" if root.is_symlink() else "a file" if root.exists() else "nothing"
    return Row(
        "FAIL", "roots", where, f"expected a folder, found {kind} at {root}", f"ln -s /path/to/it {root}, or set {key}"
    )


def missing_roots(source: Source) -> list[str]:
    """The roots of a source that are no folders."""
    roots = (getattr(source, key) for key in ("root", "challenge_root") if hasattr(source, key))
    return [root for root in roots if not Path(root).is_dir()]


# --- listing ----------------------------------------------------------------------------------------------------------


def check_listing(context: Context, track: Track) -> Iterator[Row]:
    """List the images as `preprocess` does, lists against files; what it refuses is said line by line."""
    settings = context.get(track.name, PreprocessSettings)
    if isinstance(settings.source, DemoSource):
        yield Row("OK", "listing", settings.source.root, "rendered by the stage preprocess: nothing to look at")
        return
    listing = context.listings[track.name] = list_source(settings, track)
    level: Level = "WARN" if getattr(settings.source, "download", False) else "FAIL"
    said = [f"{root}: expected" for root in missing_roots(settings.source)]  # in the rows `roots` already
    for line in listing.lines:
        if not line.startswith(tuple(said)):
            yield row_of_line(level, "listing", line, COPY_AGAIN)
    if listing.manifest is not None:
        counts = ", ".join(f"{split} {images:,}" for split, images in context.images(track.name).items())
        found = f"{counts} images of {len(listing.manifest.classes)} classes, listed in {listing.seconds:.1f} s"
        yield Row("OK", "listing", listing.manifest.root.as_posix(), found)


def list_source(settings: PreprocessSettings, track: Track) -> Listing:
    """Run the source of a track; nothing is downloaded or drawn."""
    from pipeline.preprocess.inspect import inspect
    from pipeline.preprocess.leakage import leaked_masks
    from pipeline.preprocess.sources import list_images

    start = time.perf_counter()
    source = _that_only_reads(settings.source)
    try:
        manifest = list_images(source, track, settings.jobs)
    except DataError as error:
        return Listing(None, single_lines(str(error)), time.perf_counter() - start)
    listing = Listing(manifest, [], time.perf_counter() - start)
    plain = replace(source, masks="labels") if isinstance(source, FolderSource) else source
    try:
        inspect(
            manifest, replace(settings, source=plain, check="list")
        )  # opens no file: ids, splits, classes, linked masks
        listing.lines = leaked_masks(manifest, compare_bytes=True)
    except DataError as error:
        listing.lines = single_lines(str(error))
    return listing


def _that_only_reads(source: Source) -> Source:
    changes: dict[str, Any] = {"download": False} if hasattr(source, "download") else {}
    changes |= {"truth": "boxes"} if source.name == "coco" else {}  # masks would be drawn
    return replace(source, **changes) if changes else source


def single_lines(message: str) -> list[str]:
    """The findings in a message of several lines, without its headings.

    >>> single_lines("data: 2 problems:\\n  a: expected b, got c\\n  data/x: 1 bad lines:\\n  d: expected e")
    ['a: expected b, got c', 'd: expected e']
    """
    lines = [line.strip() for line in message.splitlines()]
    return [
        line
        for line in lines
        if not (line.endswith(":") and line.split(" ")[-1] in ("problems:", "lines:", "files:", "rows:"))
    ]


# --- counts -----------------------------------------------------------------------------------------------------------


def check_counts(context: Context, track: Track) -> Iterator[Row]:
    """Images of each split against the challenge's, images of each class, and what was left out."""
    source = context.get(track.name, PreprocessSettings).source
    if isinstance(source, DemoSource):
        return
    if isinstance(source, IlsvrcClsSource) and context.listings[track.name].manifest is None:
        yield from _count_class_folders(source)
        return
    manifest = context.manifest(track.name)
    if isinstance(source, IlsvrcClsSource | IlsvrcDetSource):
        yield from _against_nominal(context, track, manifest)
    yield from _per_class(manifest, getattr(source, "empty_classes", "error") == "allow")
    yield from _left_out(manifest)


def _against_nominal(context: Context, track: Track, manifest: Manifest) -> Iterator[Row]:
    for split, expected in NOMINAL[track.name].items():
        found = context.images(track.name)[split]
        if found != expected:
            text = f"expected {expected:,} images in split {split}, as in the challenge, found {found:,}"
            yield Row("WARN", "counts", manifest.root.as_posix(), text, f"{COPY_AGAIN}; or lists of your own")


def _per_class(manifest: Manifest, may_be_empty: bool) -> Iterator[Row]:
    labels = pc.list_flatten(manifest.select("train").table["labels"])
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(manifest.classes))
    where = manifest.root.as_posix()
    for low, high, words in ((0, 1, "no training image"), (1, FEW, f"fewer than {FEW} training images")):
        names = [manifest.classes[k] for k in np.flatnonzero((counts >= low) & (counts < high))]
        if names:
            text = f"expected images of every class, found {words} of {len(names)}: {sample(names)}"
            level: Level = "FAIL" if high == 1 and not may_be_empty else "WARN"
            yield Row(level, "counts", where, text, f"{COPY_AGAIN}; or labels missing in split train")
    found = f"images of a class: {counts.min():,} to {counts.max():,}, median {np.median(counts):,.0f}"
    yield Row("OK", "counts", where, found)


def _left_out(manifest: Manifest) -> Iterator[Row]:
    for rule, images in sorted(manifest.left_out.items()):
        if images:
            text = f"left out: {images:,} ({rule.replace('_', ' ')})"
            yield Row(
                "WARN",
                "counts",
                manifest.root.as_posix(),
                text,
                "preprocess.json counts them too; expected in a real copy",
            )


def _count_class_folders(source: IlsvrcClsSource) -> Iterator[Row]:
    """Folders of known classes without an image, where the source refused before it counted."""
    train = train_folder(source)
    if not train.is_dir():
        raise NotCheckedError(f"{train.as_posix()}: not looked at, for there is no such folder")
    there = [row.wnid for row in cls_classes() if (train / row.wnid).is_dir()]
    for wnid in there:
        if not only_images(list_names(train / wnid)):
            text = f"expected images, found {len(list_names(train / wnid))} files of which none is one"
            yield Row("FAIL", "counts", (train / wnid).as_posix(), text, COPY_AGAIN)
    yield Row("OK", "counts", train.as_posix(), f"{len(there)} class folders looked into")


def train_folder(source: IlsvrcClsSource | IlsvrcDetSource) -> Path:
    """Where an ILSVRC disk has its training images."""
    return ilsvrc_home(Path(source.root)) / (
        "Data/CLS-LOC/train" if isinstance(source, IlsvrcClsSource) else "Data/DET/train"
    )


# --- annotations ------------------------------------------------------------------------------------------------------


def check_annotations(context: Context, track: Track) -> Iterator[Row]:
    """The XML files: in Track 1 how many name no object, and how many images have none; in Track 3 the boxes of val."""
    source = context.get(track.name, PreprocessSettings).source
    listing = context.listings.get(track.name, Listing())
    if isinstance(source, IlsvrcClsSource) and source.boxes == "annotations" and listing.manifest is None:
        yield from _sample_boxes(source, context, listing)
    if not isinstance(source, IlsvrcDetSource) or source.labels != "annotations":
        return
    if listing.manifest is None:
        yield from _sample_labels(source, context)
        return
    train = listing.manifest.select("train")
    without = int(pc.sum(pc.equal(pc.list_value_length(train.table["labels"]), 0)).as_py() or 0)
    yield _without_object(without, len(train), ilsvrc_home(Path(source.root)).as_posix())


def _sample_boxes(source: IlsvrcClsSource, context: Context, listing: Listing) -> Iterator[Row]:
    """Where the source refused before it came to the boxes."""
    from pipeline.preprocess.annotations import read_boxes

    home = ilsvrc_home(Path(source.root)) / "Annotations/CLS-LOC/val"
    if not home.is_dir():
        raise NotCheckedError(f"{home.as_posix()}: not looked at, for there is no such folder")
    files = sorted(home.glob("*.xml"))
    chosen = random.Random(context.seed).sample(files, min(context.sample, len(files)))
    for file in chosen:
        try:
            read_boxes(file)
        except DataError as error:
            if str(error) not in listing.lines:
                yield row_of_line("FAIL", "labels", str(error), COPY_AGAIN)
    yield Row("OK", "labels", home.as_posix(), f"looked at {len(chosen)} of {len(files)} annotations with boxes")


def _without_object(without: int, of: int, where: str) -> Row:
    text = f"{without:,} of {of:,} annotations name no object"
    if of and without / of > 0.1:  # 4.5 % of the challenge's
        return Row(
            "WARN", "labels", where, text, "expected in about 4.5 %; a single-label loss leaves these images out"
        )
    return Row("OK", "labels", where, f"{text}; a single-label loss leaves these images out")


def _sample_labels(source: IlsvrcDetSource, context: Context) -> Iterator[Row]:
    from pipeline.preprocess.annotations import object_names

    home = ilsvrc_home(Path(source.root)) / "Annotations/DET/train"
    if not home.is_dir():
        raise NotCheckedError(f"{home.as_posix()}: not looked at, for there is no such folder")
    images = [
        f"{folder}/{stem(name)}" for folder, names in walk(train_folder(source)).items() for name in only_images(names)
    ]
    chosen = random.Random(context.seed).sample(images, min(context.sample, len(images)))
    files = [home / f"{image}.xml" for image in chosen]
    absent = [file for file in files if not file.is_file()]
    counts: list[int] = []
    for file in set(files) - set(absent):
        with suppress(OSError, ValueError):  # the rows `listing` say so
            counts.append(len(object_names(file.read_bytes())))
    yield _without_object(counts.count(0), len(counts), home.as_posix())
    if absent:
        text = (
            f"left out: {len(absent)} of {len(files)} images without annotation: "
            f"{sample([file.as_posix() for file in absent])}"
        )
        yield Row(
            "WARN",
            "labels",
            home.as_posix(),
            text,
            "349,319 of 456,567 have one in the challenge; else unpack the annotations again",
        )
