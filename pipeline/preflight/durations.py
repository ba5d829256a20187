"""How long every stage will take: what the trial measured, times the number of images."""

from collections.abc import Iterator

import joblib
from tqdm import tqdm

from pipeline.core.tracks import Track
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.extract.settings import ExtractSettings
from pipeline.package.settings import PackageSettings
from pipeline.preflight.context import Context, Trial
from pipeline.preflight.findings import Row, ok, warn
from pipeline.preflight.student import count_predicted, count_targets, count_taught, keeps_features
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.refine.settings import RefineSettings
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings

LONG = 3 * 86_400  # seconds: a run of more days is worth a warning


def check_durations(context: Context, track: Track) -> Iterator[Row]:
    """A row for every stage, and their sum."""
    trial = context.trials.get(track.name)
    if trial is None:
        yield ok("not estimated: there was no complete trial")
        return
    seconds = _by_stage(context, track, trial)
    for stage, duration in seconds.items():
        yield ok(f"about {tqdm.format_interval(duration)}", stage)
    total = sum(seconds.values())
    text = tqdm.format_interval(total)
    if total > LONG:
        hint = "a faster device, fewer epochs, or train.backbone.trained: false, which trains the head alone"
        yield warn("all stages", f"expected at most {tqdm.format_interval(LONG)}, got about {text}", hint)
    else:
        yield ok(f"about {text}", "all stages")


def processes(jobs: int) -> int:
    """How many processes a setting `jobs` starts here; at most one a core."""
    return min(joblib.effective_n_jobs(jobs), joblib.cpu_count())


def seconds_an_image(decode: float, device: float, workers: int) -> float:
    """Seconds an image where `workers` processes read beside the device; with none, one waits for the other."""
    return decode + device if workers == 0 else max(decode / processes(workers), device)


def _preprocess(context: Context, track: Track, trial: Trial) -> float:
    settings, images = context.get(track.name, PreprocessSettings), context.images(track.name)
    file = {"list": 0.0, "header": trial.header, "decode": trial.header + trial.decode}[settings.check]
    masks = images["val"] * trial.score if file else 0.0
    opened = (sum(images.values()) * file + masks) / processes(settings.jobs)
    return context.listings[track.name].seconds + opened


def _train(context: Context, track: Track, trial: Trial) -> float:
    settings, images = context.get(track.name, TrainSettings), context.images(track.name)
    learn = images["train"] * seconds_an_image(trial.decode, trial.learn, settings.workers)
    validate = images["val"] * seconds_an_image(trial.decode, trial.validate, settings.workers)
    if not settings.backbone.trained:
        return settings.views * learn + validate
    if not settings.head_epochs:
        return settings.epochs * (learn + validate)
    # the head's own epochs take seconds, but every view passes the backbone once: forward only, and crops
    forward = trial.validate * (settings.crop / settings.resize) ** 2
    start = settings.views * images["train"] * seconds_an_image(trial.decode, forward, settings.workers) + validate
    return start + settings.epochs * (learn + validate)


def _student(context: Context, track: Track, trial: Trial) -> float:
    """Features of the views, if they are kept; the steps of all epochs; predictions, also of split train between two
    rounds."""
    settings, images = context.get(track.name, StudentSettings), count_taught(context, track)
    pair = trial.decode + trial.score  # an image and its target
    if keeps_features(settings):
        views = settings.views.count * images * seconds_an_image(pair, trial.student_features, settings.workers)
        learn = views + settings.epochs * images * trial.student_learn
    else:
        learn = settings.epochs * images * seconds_an_image(pair, trial.student_learn, settings.workers)
    one = seconds_an_image(trial.decode, trial.student_predict, settings.workers)
    one += trial.student_refine / processes(settings.jobs)
    return settings.rounds * learn + (count_predicted(context, track) + (settings.rounds - 1) * images) * one


def _by_stage(context: Context, track: Track, trial: Trial) -> dict[str, float]:
    """Seconds of every stage; the short ones cost a multiple of reading one prediction."""
    enabled = context.get(track.name, StudentSettings).enabled
    extract, refine = context.get(track.name, ExtractSettings), context.get(track.name, RefineSettings)
    images, jobs = context.images(track.name), processes(context.get(track.name, EvaluateSettings).jobs)
    extracted = sum(images[split] for split in extract.splits) + count_targets(context, track)
    return {
        "preprocess": _preprocess(context, track, trial),
        "train": _train(context, track, trial),
        "extract": extracted * seconds_an_image(trial.decode, trial.extract, extract.workers),
        "refine": extracted * trial.refine / processes(refine.jobs),
        **({"student": _student(context, track, trial)} if enabled else {}),
        "evaluate": (12 if enabled else 6) * images["val"] * trial.score / jobs,  # of both stages
        "package": 3 * images[context.get(track.name, PackageSettings).split] * trial.score,
        "report": 10.0,
    }
