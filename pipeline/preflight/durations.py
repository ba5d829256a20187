"""How long every stage will take: what the trial measured, times what there is to do."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.core.tracks import Track
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.extract.settings import ExtractSettings
from pipeline.package.settings import PackageSettings
from pipeline.preflight.context import Context, Trial, processes
from pipeline.preflight.findings import Row
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.refine.settings import RefineSettings
from pipeline.train.settings import TrainSettings

LONG = 3 * 86_400  # seconds: a run of more days is worth a warning


class Stage(NamedTuple):
    """One line of the table."""

    name: str
    seconds: float
    how: str


def check_durations(context: Context, track: Track) -> Iterator[Row]:
    """A row for every stage, and their sum."""
    trial = context.trials.get(track.name)
    if trial is None:
        yield Row("OK", "duration", "", "not estimated: there was no trial")
        return
    stages = [_preprocess(context, track, trial), _train(context, track, trial), _extract(context, track, trial)]
    stages += [_refine(context, track, trial), *_small(context, track, trial)]
    for stage in stages:
        yield Row("OK", "duration", stage.name, f"about {people(stage.seconds)}: {stage.how}")
    total = sum(stage.seconds for stage in stages)
    if total > LONG:
        hint = "a faster device, fewer epochs, or train.backbone.trained: false, which learns the head alone"
        yield Row("WARN", "duration", "all stages", f"expected at most {people(LONG)}, got about {people(total)}", hint)
    else:
        yield Row("OK", "duration", "all stages", f"about {people(total)}")


def reading(decode: float, device: float, workers: int) -> float:
    """Seconds an image where `workers` processes read beside the device; with none, one waits for the other."""
    return decode + device if workers == 0 else max(decode / processes(workers), device)


def _preprocess(context: Context, track: Track, trial: Trial) -> Stage:
    settings = context.get(track.name, PreprocessSettings)
    look = {"list": 0.0, "header": trial.header, "decode": trial.header + trial.decode}[settings.check]
    images = context.images(track.name)
    listing = context.listings.get(track.name)
    masks = images["val"] * trial.score if look else 0.0
    seconds = (listing.seconds if listing else 0.0) + (sum(images.values()) * look + masks) / processes(settings.jobs)
    return Stage("preprocess", seconds, f"{sum(images.values()):,} images, check: {settings.check}")


def _train(context: Context, track: Track, trial: Trial) -> Stage:
    settings = context.get(track.name, TrainSettings)
    images = context.images(track.name)
    learn = images["train"] * reading(trial.decode, trial.learn, settings.workers)
    validate = images["val"] * reading(trial.decode, trial.validate, settings.workers)
    if settings.backbone.trained:
        how = f"{settings.epochs} epochs of {images['train']:,} images"
        # the head's own epochs take seconds, but the backbone looks at every view once: forward only, and crops, not
        # whole images
        forward = trial.validate * (settings.crop / settings.resize) ** 2
        looks = settings.views * images["train"] * reading(trial.decode, forward, settings.workers)
        start = looks + validate if settings.head_epochs else 0.0
        return Stage("train", start + settings.epochs * (learn + validate), how + (", the head first" if start else ""))
    return Stage(
        "train",
        settings.views * learn + validate,
        f"{settings.views} views of {images['train']:,} images, backbone frozen",
    )


def _extract(context: Context, track: Track, trial: Trial) -> Stage:
    settings = context.get(track.name, ExtractSettings)
    images = sum(context.images(track.name)[split] for split in settings.splits)
    looks = len(settings.sizes) * (2 if settings.flip else 1)
    return Stage(
        "extract",
        images * reading(trial.decode, trial.extract, settings.workers),
        f"{images:,} images, {looks} looks at each",
    )


def _refine(context: Context, track: Track, trial: Trial) -> Stage:
    settings = context.get(track.name, RefineSettings)
    images = sum(context.images(track.name)[split] for split in context.get(track.name, ExtractSettings).splits)
    jobs = processes(settings.jobs)
    crf = "with CRF" if settings.crf.enabled else "without CRF"
    return Stage("refine", images * trial.refine / jobs, f"{images:,} images {crf}, {jobs} processes")


def _small(context: Context, track: Track, trial: Trial) -> list[Stage]:
    """Stages of which nobody waits long; what they cost an image is a multiple of reading one prediction."""
    images, jobs = context.images(track.name), processes(context.get(track.name, EvaluateSettings).jobs)
    split = context.get(track.name, PackageSettings).split
    return [
        Stage("evaluate", 6 * images["val"] * trial.score / jobs, f"{images['val']:,} images, {jobs} processes"),
        Stage("package", 3 * images[split] * trial.score, f"{images[split]:,} predictions"),
        Stage("report", 10.0, "one page"),
    ]


def people(seconds: float) -> str:
    """A duration for people.

    >>> people(4), people(90), people(7260), people(200000)
    ('4 s', '2 min', '2.0 h', '2.3 days')
    """
    for unit, size, digits in (("days", 86_400, 1), ("h", 3_600, 1), ("min", 60, 0)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
