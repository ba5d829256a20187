"""What a run costs: room on disk and in memory, and how long every stage takes, the trial's times by the images."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
from tqdm import tqdm

from pipeline.core.files import why_unwritable
from pipeline.core.tracks import TRACKS, Track
from pipeline.dvc_runs import copies_by_disk
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.extract.settings import ExtractSettings
from pipeline.loads import Load, seconds_of, this_machine
from pipeline.package.settings import PackageSettings
from pipeline.preflight.context import Context, NotCheckedError, Trial
from pipeline.preflight.findings import Row, fail, ok, warn
from pipeline.preflight.model import build_classifier, build_student
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.refine.settings import RefineSettings
from pipeline.student.fit import view_bytes
from pipeline.student.settings import StudentSettings
from pipeline.student.walked_targets import walk_settings
from pipeline.train.build import pools_once
from pipeline.train.settings import TrainSettings

ROW = 160  # bytes of an image in the manifest
CHANNELS = 2048  # of a feature map, at the most in the networks that are usual here
ENTRY = 700  # bytes of an image in two stores beside its arrays: names, index
REPORT = 20_000_000  # bytes of a track's page, tables and counts
PNG = {"segmentation": 4_000, "localization": 40_000}  # bytes of one prediction, where there was no trial
LONG = 3 * 86_400  # seconds: a run of more days is worth a warning
size = partial(tqdm.format_sizeof, suffix="B")  # bytes for people, such as 1.23GB


def check_outputs(context: Context) -> Iterator[Row]:
    """Every folder that the chain writes to takes a file."""
    own = [f"{folder}/{track}" for track in context.settings for folder in ("data", "reports")]
    folders = [context.folder / name for name in (*own, "submissions", ".dvc")]
    bad = [fail(*problem) for folder in folders if (problem := why_unwritable(folder))]
    zips = [context.folder / "submissions" / f"{track}.zip" for track in context.settings]
    bad += [fail(path, "expected a file or nothing, got a folder", f"rm -r {path}") for path in zips if path.is_dir()]
    yield from bad or [ok("data, submissions and reports can be written", context.folder.resolve())]


def needed(context: Context, track: Track) -> dict[str, int]:
    """Bytes that a track will write, an estimate from above, by kind."""
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    package, student = context.get(track.name, PackageSettings), context.get(track.name, StudentSettings)
    images, classes = context.images(track.name), context.count_classes(track)
    predicted, targets = context.count_extracted(track), context.count_targets(track)
    predicted += images["val"] if track.task == "localization" else 0  # at the most: the map of the true class beside
    stride = context.strides.get(track.name) or train.backbone.output_stride
    side, cells = max(extract.sizes) // stride, (extract.sizes[0] // stride) ** 2
    png = context.trials.get(track.name, Trial()).prediction or PNG[track.task]
    pngs = 3 if track.task == "segmentation" else 2  # of both predictions, and how certain the foreground is
    model = 4 * context.student_parameters.get(track.name, 10_000_000)
    return {
        "maps": predicted * (2 * min(extract.max_classes, classes) * side**2 + 2 * classes + ENTRY),
        "features": 2 * CHANNELS * cells * min(extract.diagnostic_images, images["val"]),
        "predictions": int(predicted * (2 * png + ENTRY) + targets * (pngs - 2) * png),
        **({"student": int(model + context.count_predicted(track) * (pngs * png + ENTRY))} if student.enabled else {}),
        "zip": int(images[package.split] * png),
        "model": 4 * context.parameters.get(track.name, 30_000_000),
        "manifest": ROW * sum(images.values()),
        "report": REPORT,
    }


def check_disk(context: Context) -> Iterator[Row]:
    """Both tracks together against what is free, where the outs lie and where DVC keeps its copies."""
    total = 0
    for track in [TRACKS[name] for name in context.settings]:
        try:
            need = needed(context, track)
        except NotCheckedError as error:
            yield warn("", f"not counted: {error}", "solve the problems above and run this again")
            continue
        total += sum(need.values())
        parts = ", ".join(f"{name} {size(count)}" for name, count in need.items())
        yield ok(f"{track.name}: about {size(sum(need.values()))}: {parts}")
    copies = copies_by_disk(context.folder)
    for place, count in copies.items():
        yield _against_free(place, count * total, sum(copies.values()) > 1)


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


def check_memory(context: Context, track: Track) -> Iterator[Row]:
    """A head that is trained alone keeps the pooled features of all views in memory."""
    settings = context.get(track.name, TrainSettings)
    if not (settings.head_epochs or pools_once(settings)):
        return
    channels = build_classifier(context, track).head.in_features
    images, have = context.images(track.name)["train"], psutil.virtual_memory().total
    need = 2 * images * (settings.views + 1) * channels  # float16, and one view more while it is computed
    text = f"features of {settings.views} views need {size(need)} of memory, the machine has {size(have)}"
    hint = "fewer views, or backbone.trained: true with head_epochs: 0, which keeps none"
    where = context.key(track.name, "train.views")
    yield ok(text) if need <= 0.8 * have else fail(where, f"expected less: {text}", hint)


def check_student_memory(context: Context, track: Track) -> Iterator[Row]:
    """A student whose backbone is frozen keeps the features of all its views in memory; a walk of at least one."""
    settings = context.get(track.name, StudentSettings)
    settings = walk_settings(settings) if settings.random_walk.enabled else settings
    if not settings.enabled or not settings.keeps_features:
        return
    one, images = view_bytes(build_student(context, track), settings), context.count_taught(track)
    need, have = settings.views.count * images * one, psutil.virtual_memory().available
    kept = f"{settings.views.count} views of {images} images at {settings.views.size} px, {size(one)} each"
    text = f"the student's features of {kept}, need {size(need)} of memory, {size(have)} are free"
    hint = "a lower count or a smaller student.views.size; 0 keeps none, but a random walk one of each image"
    where = context.key(track.name, "student.views.count")
    yield ok(text) if need <= have else warn(where, f"expected less: {text}", hint)


def check_durations(context: Context, track: Track) -> Iterator[Row]:
    """A row for every stage, and their sum: on one device, and with `--gpus` on several like it."""
    if (trial := context.trials.get(track.name)) is None or not any(context.images(track.name).values()):
        yield ok("not estimated: there was no complete trial, or there are no images")
        return
    hint = "a faster device, fewer epochs, or train.backbone.trained: false, which trains the head alone"
    work = loads(context, track, trial)
    for gpus in dict.fromkeys((1, context.gpus)):
        machine, on = replace(this_machine(), devices=gpus), f" on {gpus} GPUs" if gpus > 1 else ""
        seconds = {stage: sum(seconds_of(load, machine) for load in parts) for stage, parts in work.items()}
        yield from (ok(f"about {tqdm.format_interval(duration)}{on}", stage) for stage, duration in seconds.items())
        text = f"about {tqdm.format_interval(total := sum(seconds.values()))}{on}"
        long = warn("all stages", f"expected at most {tqdm.format_interval(LONG)}, got {text}", hint)
        yield long if total > LONG else ok(text, "all stages")


def _preprocess(context: Context, track: Track, trial: Trial) -> list[Load]:
    settings, images = context.get(track.name, PreprocessSettings), context.images(track.name)
    file = {"list": 0.0, "header": trial.header, "decode": trial.header + trial.decode}[settings.check]
    read = sum(images.values()) * (settings.check == "decode")
    seconds = sum(images.values()) * file + (images["val"] * trial.score if file else 0.0)  # and the masks
    return [Load(context.listings[track.name].seconds), Load(seconds, jobs=settings.jobs, images=read)]


def _train(context: Context, track: Track, trial: Trial) -> list[Load]:
    settings, images = context.get(track.name, TrainSettings), context.images(track.name)

    def read(count: float, device: float) -> Load:
        return Load(count * trial.decode, count * device, settings.workers, count)

    parts: list[Load] = []
    if settings.head_epochs or pools_once(settings):
        forward = trial.validate * (settings.crop / settings.resize) ** 2  # of crops; the head's own epochs are short
        parts += [read(settings.views * images["train"], forward), read(images["val"], trial.validate)]
    if not pools_once(settings):
        learn, validate = settings.epochs * images["train"], settings.epochs * images["val"]
        parts += [read(learn, trial.learn), read(validate, trial.validate)]
    return parts


def _student(context: Context, track: Track, trial: Trial) -> list[Load]:
    """Features of the views, if they are kept; the steps of all epochs; predictions; for a walk features once more."""
    settings, taught = context.get(track.name, StudentSettings), context.count_taught(track)

    def read(count: float, core: float, device: float) -> Load:
        return Load(count * core, count * device, settings.workers, count if core else 0.0)

    pair = trial.decode + trial.score  # an image and its target
    views, learn = 0, read(settings.rounds * settings.epochs * taught, pair, trial.student_learn)
    if settings.keeps_features:
        views, learn = settings.rounds * settings.views.count, replace(learn, core=0.0, images=0.0)
    views += walk_settings(settings).views.count if settings.random_walk.enabled else 0
    features, predicted = read(views * taught, pair, trial.student_features), context.count_predicted(track)
    predict = read(predicted, trial.decode, trial.student_predict)
    return [features, learn, predict, Load(predicted * trial.student_refine, jobs=settings.jobs, images=predicted)]


def loads(context: Context, track: Track, trial: Trial) -> dict[str, list[Load]]:
    """What every stage has to do; the short ones cost a multiple of reading one prediction."""
    enabled = context.get(track.name, StudentSettings).enabled
    extract, refine = context.get(track.name, ExtractSettings), context.get(track.name, RefineSettings)
    images, extracted = context.images(track.name), context.count_extracted(track)
    compared = (12 if enabled else 6) * images["val"]  # of both stages
    return {
        "preprocess": _preprocess(context, track, trial),
        "train": _train(context, track, trial),
        "extract": [Load(extracted * trial.decode, extracted * trial.extract, extract.workers, extracted)],
        "refine": [Load(extracted * trial.refine, jobs=refine.jobs, images=extracted)],
        **({"student": _student(context, track, trial)} if enabled else {}),
        "evaluate": [Load(compared * trial.score, jobs=context.get(track.name, EvaluateSettings).jobs)],
        "package": [Load(3 * images[context.get(track.name, PackageSettings).split] * trial.score)],
        "report": [Load(10.0)],
    }
