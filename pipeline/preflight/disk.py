"""Disk and memory: what the run will write, where, and whether there is room."""

import configparser
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
from tqdm import tqdm

from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.settings import ExtractSettings
from pipeline.package.settings import PackageSettings
from pipeline.preflight.context import Context, NotCheckedError, Trial
from pipeline.preflight.findings import Row, fail, ok, warn
from pipeline.preflight.model import build_classifier, count_classes
from pipeline.preflight.student import (
    build_student,
    count_predicted,
    count_targets,
    count_taught,
    keeps_features,
    view_bytes,
)
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings

ROW = 160  # bytes of an image in the manifest
CHANNELS = 2048  # of a feature map, at the most in the networks that are usual here
ENTRY = 700  # bytes of an image in two stores beside its arrays: names, index
REPORT = 20_000_000  # bytes of a track's page, tables and counts
PNG = {"segmentation": 4_000, "localization": 40_000}  # bytes of one prediction, where there was no trial
size = partial(tqdm.format_sizeof, suffix="B")  # bytes for people, such as 1.23GB


def check_outputs(context: Context) -> Iterator[Row]:
    """Every folder that the chain writes to takes a file."""
    names = [f"{folder}/{track}" for track in TRACKS for folder in ("data", "reports")] + ["submissions", ".dvc"]
    bad = [row for name in names if (row := _try_to_write(context.folder / name))]
    zips = [context.folder / "submissions" / f"{track}.zip" for track in TRACKS]
    bad += [fail(path, "expected a file or nothing, got a folder", f"rm -r {path}") for path in zips if path.is_dir()]
    yield from bad or [ok("data, submissions and reports can be written", context.folder.resolve())]


def _try_to_write(folder: Path) -> Row | None:
    """Make a file in the folder, or in the first one above it that is there."""
    place = folder
    while not (place.exists() or place.is_symlink()):
        place = place.parent
    if not place.is_dir():
        kind = "a link that leads nowhere" if place.is_symlink() else "a file"
        return fail(place, f"expected a folder to write to, got {kind}", f"mv {place} elsewhere")
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        hint = "chmod u+w, chown, or put the project on a disk that can be written"
        return fail(place, f"expected a folder to write to, got {error}", hint)


def needed(context: Context, track: Track) -> dict[str, int]:
    """Bytes that a track will write, an estimate from above, by kind."""
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    package = context.get(track.name, PackageSettings)
    context.get(track.name, PreprocessSettings)  # without it the images are not known
    images, classes = context.images(track.name), count_classes(context, track)
    targets = count_targets(context, track)
    predicted = sum(images[split] for split in extract.splits) + targets
    predicted += images["val"] if track.task == "localization" else 0  # at the most: the map of the true class beside
    stride = context.strides.get(track.name) or train.backbone.output_stride
    side, cells = max(extract.sizes) // stride, (extract.sizes[0] // stride) ** 2
    png = context.trials.get(track.name, Trial()).prediction or PNG[track.task]
    certain = png if track.task == "segmentation" else 0  # how certain the foreground is, beside both predictions
    return {
        "maps": predicted * (2 * min(extract.max_classes, classes) * side**2 + 2 * classes + ENTRY),
        "features": 2 * CHANNELS * cells * min(extract.diagnostic_images, images["val"]),
        "predictions": int(predicted * (2 * png + ENTRY) + targets * certain),
        **_of_student(context, track, 2 * png + certain + ENTRY),
        "zip": int(images[package.split] * png),
        "model": 4 * (context.parameters.get(track.name) or 30_000_000),
        "manifest": ROW * sum(images.values()),
        "report": REPORT,
    }


def _of_student(context: Context, track: Track, prediction: float) -> dict[str, int]:
    """Bytes of the network, of its predictions, and of those of split train between two rounds; none without one."""
    settings = context.get(track.name, StudentSettings)
    if not settings.enabled:
        return {}
    count = count_predicted(context, track) + (settings.rounds - 1) * count_taught(context, track)
    return {"student": int(4 * context.student_parameters.get(track.name, 10_000_000) + count * prediction)}


def check_disk(context: Context) -> Iterator[Row]:
    """Both tracks together against what is free, where the outs lie and where DVC keeps its copies."""
    total = 0
    for track in TRACKS.values():
        try:
            need = needed(context, track)
        except NotCheckedError as error:
            yield warn("", f"not counted: {error}", "solve the problems above and run this again")
            continue
        total += sum(need.values())
        parts = ", ".join(f"{name} {size(count)}" for name, count in need.items())
        yield ok(f"{track.name}: about {size(sum(need.values()))}: {parts}")
    here, cache = nearest(context.folder), cache_folder(context.folder)
    copies = keeps_copies(context.folder)
    places = {here: total}
    if copies:
        same = cache.stat().st_dev == here.stat().st_dev
        places[here if same else cache] = total * (2 if same else 1)
    for place, wanted in places.items():
        yield _against_free(place, wanted, copies)


def _against_free(place: Path, wanted: int, copies: bool) -> Row:
    free, where = shutil.disk_usage(place).free, place.resolve()
    why = "outs, and DVC's cache a second time" if copies else "outs, which DVC's cache shares"
    text = f"expected {size(wanted)} free ({why}), found {size(free)}"
    hint = "free some; or `dvc cache dir /another/disk`; or share the files, `dvc config cache.type hardlink,symlink`"
    if free < wanted:
        return fail(where, text, hint)
    if free < 1.5 * wanted:
        return warn(where, f"{text}: enough for one run, not for a second with other params", hint)
    return ok(f"{size(wanted)} needed ({why}), {size(free)} free", where)


def nearest(folder: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def cache_folder(folder: Path) -> Path:
    """Where DVC keeps its copies."""
    return nearest(folder / ".dvc" / (_dvc_option(folder, "dir") or "cache"))


def keeps_copies(folder: Path) -> bool:
    """Whether DVC's cache holds every out a second time; reflinks, where there are any, count as copies."""
    kinds = [kind.strip() for kind in (_dvc_option(folder, "type") or "copy").split(",")]
    return next((kind for kind in kinds if kind != "reflink"), "copy") == "copy"


def _dvc_option(folder: Path, name: str) -> str | None:
    config = configparser.ConfigParser(interpolation=None)
    config.read([folder / ".dvc" / "config", folder / ".dvc" / "config.local"], encoding="utf-8")
    return config.get("cache", name, fallback=None)


def check_memory(context: Context, track: Track) -> Iterator[Row]:
    """A head that is trained alone keeps the pooled features of all views in memory."""
    settings = context.get(track.name, TrainSettings)
    if settings.backbone.trained and not settings.head_epochs:
        return
    context.need_network(track.name)
    channels = build_classifier(context, track).head.in_features
    images, have = context.images(track.name)["train"], psutil.virtual_memory().total
    need = 2 * images * (settings.views + 1) * channels  # float16, and one view more while it is computed
    text = f"features of {settings.views} views need {size(need)} of memory, the machine has {size(have)}"
    if need > 0.8 * have:
        hint = "fewer views, or backbone.trained: true with head_epochs: 0, which keeps none"
        yield fail(context.key(track.name, "train.views"), f"expected less: {text}", hint)
    else:
        yield ok(text)


def check_student_memory(context: Context, track: Track) -> Iterator[Row]:
    """A student whose backbone is frozen keeps the features of all its views in memory."""
    settings = context.get(track.name, StudentSettings)
    if not keeps_features(settings):
        return
    network, images = build_student(context, track), count_taught(context, track)
    one, have = view_bytes(network, settings), psutil.virtual_memory().available
    need = settings.views.count * images * one
    text = (
        f"the student's features of {settings.views.count} views of {images} images at {settings.views.size} px, "
        f"{size(one)} each, need {size(need)} of memory, {size(have)} are free"
    )
    if need > have:
        hint = "a lower count or a smaller student.views.size; 0 makes new views in every epoch and keeps none"
        yield warn(context.key(track.name, "student.views.count"), f"expected less: {text}", hint)
    else:
        yield ok(text)
