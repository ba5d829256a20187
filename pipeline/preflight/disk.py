"""Disk and memory: what the run will write, where, and whether there is room."""

import configparser
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.settings import ExtractSettings
from pipeline.package.settings import PackageSettings
from pipeline.preflight.context import Context, NotCheckedError
from pipeline.preflight.findings import Row
from pipeline.preflight.model import count_classes
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.train.settings import TrainSettings

ROW = 160  # bytes of an image in the manifest
CHANNELS = 2048  # of a feature map, at the most in the networks that are usual here
ENTRY = 700  # bytes of an image in two stores beside its arrays: names, index
REPORT = 20_000_000  # bytes of a track's page, tables and counts
ANSWER = {"segmentation": 4_000, "localization": 40_000}  # bytes of one PNG, where there was no trial
FICLONE = 0x40049409  # Linux: share the blocks of another file


def check_outputs(context: Context) -> Iterator[Row]:
    """Every folder that the chain writes to takes a file."""
    names = [f"{folder}/{track}" for track in TRACKS for folder in ("data", "reports")] + ["submissions", ".dvc"]
    bad = [row for name in names if (row := _try_to_write(context.folder / name))]
    zips = [context.folder / "submissions" / f"{track}.zip" for track in TRACKS]
    bad += [
        Row("FAIL", "outputs", path.as_posix(), "expected a file or nothing, got a folder", f"rm -r {path}")
        for path in zips
        if path.is_dir()
    ]
    yield from bad
    if not bad:
        yield Row("OK", "outputs", context.folder.resolve().as_posix(), "data, submissions and reports can be written")


def _try_to_write(folder: Path) -> Row | None:
    """Make a file in the folder, or in the first one above it that is there."""
    place = folder
    while not (place.exists() or place.is_symlink()):
        place = place.parent
    if not place.is_dir():
        kind = "a link that leads nowhere" if place.is_symlink() else "a file"
        return Row(
            "FAIL", "outputs", place.as_posix(), f"expected a folder to write to, got {kind}", f"mv {place} elsewhere"
        )
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        hint = "chmod u+w, chown, or put the project on a disk that can be written"
        return Row("FAIL", "outputs", place.as_posix(), f"expected a folder to write to, got {error}", hint)


# --- disk -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that one track leaves."""

    manifest: int
    model: int
    maps: int
    features: int
    predictions: int
    zip: int

    @property
    def total(self) -> int:
        return self.manifest + self.model + self.maps + self.features + self.predictions + self.zip + REPORT

    def __str__(self) -> str:
        parts = (
            ("maps", self.maps),
            ("features", self.features),
            ("predictions", self.predictions),
            ("zip", self.zip),
            ("model", self.model),
            ("table", self.manifest),
        )
        return ", ".join(f"{name} {gigabytes(size)}" for name, size in parts)


def needed(context: Context, track: Track) -> Need:
    """What a track will write, an estimate from above."""
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    package = context.get(track.name, PackageSettings)
    context.get(track.name, PreprocessSettings)  # without it the images are not known
    images = context.images(track.name)
    predicted = sum(images[split] for split in extract.splits)
    predicted += images["val"] if track.task == "localization" else 0  # at the most: the map of the true class beside
    side = max(extract.sizes) // train.backbone.output_stride
    classes = count_classes(context, track)
    trial = context.trials.get(track.name)
    prediction = (trial.prediction if trial else 0) or ANSWER[track.task]
    kept = min(extract.max_classes, classes)
    cells = (extract.sizes[0] // train.backbone.output_stride) ** 2
    return Need(
        manifest=ROW * sum(images.values()),
        model=4 * (context.parameters.get(track.name) or 30_000_000),
        maps=predicted * (2 * kept * side * side + 2 * classes + ENTRY),
        features=2 * CHANNELS * cells * min(extract.diagnostic_images, images["val"]),
        predictions=int(predicted * (2 * prediction + ENTRY)),
        zip=int(images[package.split] * prediction),
    )


def check_disk(context: Context) -> Iterator[Row]:
    """Both tracks together against what is free, where the outs lie and where DVC keeps its copies."""
    total = 0
    for track in TRACKS.values():
        try:
            need = needed(context, track)
        except NotCheckedError as error:
            yield Row(
                "WARN", "disk", "", f"not counted: {error}", "mend what stands above and run this again", track.name
            )
            continue
        total += need.total
        yield Row("OK", "disk", "", f"about {gigabytes(need.total)}: {need}", track=track.name)
    here, cache = nearest(context.folder), cache_folder(context.folder)
    copies = keeps_copies(context.folder)
    places = {here: total}
    if copies:
        same = cache.stat().st_dev == here.stat().st_dev
        places[here if same else cache] = total * (2 if same else 1)
    for place, bytes_needed in places.items():
        yield _against_free(place, bytes_needed, copies)


def _against_free(place: Path, bytes_needed: int, copies: bool) -> Row:
    free = free_bytes(place)
    why = "outs, and DVC's cache a second time" if copies else "outs, which DVC's cache shares"
    text = f"expected {gigabytes(bytes_needed)} free ({why}), found {gigabytes(free)}"
    hint = "free some; or `dvc cache dir /another/disk`; or share the files, `dvc config cache.type hardlink,symlink`"
    where = place.resolve().as_posix()
    if free < bytes_needed:
        return Row("FAIL", "disk", where, text, hint)
    if free < 1.5 * bytes_needed:
        return Row("WARN", "disk", where, f"{text}: enough for one run, not for a second with other params", hint)
    return Row("OK", "disk", where, f"{gigabytes(bytes_needed)} needed ({why}), {gigabytes(free)} free")


def free_bytes(place: Path) -> int:
    """What is free for us on the disk of a folder."""
    return shutil.disk_usage(place).free


def nearest(folder: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def cache_folder(folder: Path) -> Path:
    """Where DVC keeps its copies."""
    given = _dvc_option(folder, "dir")
    return nearest(folder / ".dvc" / (given or "cache"))


def keeps_copies(folder: Path) -> bool:
    """Whether DVC's cache holds every out a second time; not if it links, or the file system shares blocks."""
    kinds = [kind.strip() for kind in (_dvc_option(folder, "type") or "reflink,copy").split(",")]
    first = next((kind for kind in kinds if kind != "reflink" or shares_blocks(nearest(folder))), "copy")
    return first == "copy"


def _dvc_option(folder: Path, name: str) -> str | None:
    config = configparser.ConfigParser(interpolation=None)
    config.read([folder / ".dvc" / "config", folder / ".dvc" / "config.local"], encoding="utf-8")
    return config.get("cache", name, fallback=None)


def shares_blocks(folder: Path) -> bool:
    """Whether one file can share its blocks with another here (Btrfs, XFS); asked, not guessed."""
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        with tempfile.TemporaryFile(dir=folder) as source, tempfile.TemporaryFile(dir=folder) as copy:
            source.write(b"0" * 4096)
            source.flush()
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    return True


# --- memory -----------------------------------------------------------------------------------------------------------


def check_memory(context: Context, track: Track) -> Iterator[Row]:
    """A head that learns alone keeps the pooled features of all views in memory."""
    settings = context.get(track.name, TrainSettings)
    if settings.backbone.trained and not settings.head_epochs:
        return
    from pipeline.models.backbones import build_backbone, count_channels

    channels = count_channels(build_backbone(settings.backbone.name, settings.backbone.output_stride))
    # float16, and one view more while it is being looked at
    bytes_needed = 2 * context.images(track.name)["train"] * (settings.views + 1) * channels
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    text = (
        f"features of {settings.views} views need {gigabytes(bytes_needed)} of memory, the machine has "
        f"{gigabytes(have)}"
    )
    if have and bytes_needed > 0.8 * have:
        hint = "fewer views, or backbone.trained: true with head_epochs: 0, which keeps none"
        yield Row("FAIL", "memory", context.key(track.name, "train.views"), f"expected less: {text}", hint)
    else:
        yield Row("OK", "memory", "", text)


def gigabytes(size: float) -> str:
    """Bytes for people.

    >>> gigabytes(1_234_000_000), gigabytes(400_000)
    ('1.2 GB', '0.4 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
