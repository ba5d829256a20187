"""A short trial: a few images through every step at the recipe's sizes, timed. Nothing is kept but the times."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.errors import SettingsError
from pipeline.core.files import write_bytes
from pipeline.core.images import decode_png, encode_jpeg, encode_png, read_rgb
from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.network import predict
from pipeline.extract.plan import view_shape
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier
from pipeline.preflight.context import Context, NotCheckedError, Trial
from pipeline.preflight.findings import Row, fail, ok
from pipeline.preflight.model import build_classifier
from pipeline.preprocess.image_header import read_header
from pipeline.refine.run import refine_image
from pipeline.refine.settings import RefineSettings
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings
from pipeline.train.step import set_mode, training_step
from pipeline.train.trainer import make_criterion, new_state

SHAPE = (375, 500)  # (H, W) of most images of ILSVRC


def check_trial(context: Context, track: Track) -> Iterator[Row]:
    """Time every step for a share of the minutes; a GPU whose memory is too small for the batch is a finding."""
    if not context.minutes:
        return
    context.need_network(track.name)
    seconds = 60 * context.minutes / len(TRACKS)
    trial = Trial()
    files = [record.file for record in context.good.get(track.name, [])]
    synthetic, turns = not files, itertools.cycle(files or [synthetic_image(context.seed)])
    trial.header = mean_seconds(lambda: read_header(next(turns)), 0.02 * seconds)
    trial.decode = mean_seconds(lambda: read_rgb(next(turns)), 0.08 * seconds)
    _time_refine(context, track, trial, 0.2 * seconds, turns, synthetic)
    if failed := list(_time_network(context, track, trial, 0.6 * seconds)):
        yield from failed
        return
    context.trials[track.name] = trial  # complete: durations must not be made of zeros
    yield ok(
        f"an image takes {1e3 * trial.decode:.0f} ms to decode, {1e3 * trial.learn:.0f} ms of training, "
        f"{1e3 * trial.extract:.0f} ms for its maps, {1e3 * trial.refine:.0f} ms to refine"
        + (" (a synthetic image: there are no others)" if synthetic else "")
    )


def mean_seconds(call: Callable[[], Any], budget: float, wait: Callable[[], Any] = lambda: None) -> float:
    """Seconds of one call: the mean of as many as fit into the budget after a first one, which only warms up.

    If the first one takes longer than the budget, it is what counts. `wait` returns when the device has done its work.
    """
    seconds = _seconds(call, wait)
    if seconds > budget:
        return seconds
    times = [_seconds(call, wait)]
    while sum(times) < budget - seconds:
        times.append(_seconds(call, wait))
    return sum(times) / len(times)


def _seconds(call: Callable[[], Any], wait: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def synthetic_image(seed: int) -> Path:
    """An image of the usual size where there is none."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    path = Path(tempfile.gettempdir()) / "lid-preflight.JPEG"
    write_bytes(path, encode_jpeg(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)))
    return path


def _time_refine(
    context: Context, track: Track, trial: Trial, seconds: float, turns: Iterator[Path], synthetic: bool
) -> None:
    settings, extract = context.get(track.name, RefineSettings), context.get(track.name, ExtractSettings)
    arrays = _one_object(2 if settings.output == "label_map" else 1, max(extract.sizes) // 16)
    sizes: list[int] = []

    def refine() -> None:
        prediction = refine_image(arrays, next(turns), "preflight", settings)
        sizes.append(sum(len(encode_png(pixels)) for pixels in (prediction.before, prediction.after)) // 2)

    trial.refine = mean_seconds(refine, 0.8 * seconds)
    trial.prediction = 0.0 if synthetic else float(np.mean(sizes))
    data = encode_png(np.ascontiguousarray(read_rgb(next(turns))[:, :, 0]))
    trial.score = mean_seconds(lambda: np.bincount(decode_png(data, "preflight").ravel(), minlength=256), 0.2 * seconds)


def _one_object(maps: int, side: int) -> dict[str, Any]:
    """What `extract` would store of an image with one object in the middle."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    blob = np.exp(-3 * (x**2 + y**2)).astype(np.float16)
    return {
        "maps": np.stack([blob] * maps),
        "classes": np.arange(maps, dtype=np.int32),
        "probabilities": np.full(max(maps, 2), 0.9, np.float16),
    }


def _time_network(context: Context, track: Track, trial: Trial, seconds: float) -> Iterator[Row]:
    classifier = build_classifier(context, track)
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    steps = f" and accumulation_steps to {2 * train.accumulation_steps}: the effective batch stays what it is"
    for name, size, share, run, more in (
        ("train", train.batch_size, 0.6, partial(_time_training, train), steps),
        ("extract", extract.batch_size, 0.4, partial(_time_extraction, extract), ""),
    ):
        try:
            run(classifier, trial, share * seconds)
        except torch.cuda.OutOfMemoryError as error:
            text = f"expected a batch that fits into the device's memory, got {size} ({str(error).splitlines()[0]})"
            yield fail(context.key(track.name, f"{name}.batch_size"), text, f"set it to {max(1, size // 2)}{more}")


def _time_training(settings: TrainSettings, classifier: Classifier, trial: Trial, seconds: float) -> None:
    trained = settings.backbone.trained
    hardware, batch, wait = device_of(settings, trained)
    classifier.to(hardware.device).eval()
    images = torch.randint(0, 256, (batch, 3, settings.crop, settings.crop), dtype=torch.uint8)
    crops_to_images = (settings.resize / settings.crop) ** 2  # validation uses whole images

    @torch.inference_mode()
    def validate() -> None:
        with hardware.autocast():
            classifier(images.to(hardware.device))

    forward = mean_seconds(validate, 0.3 * seconds, wait) / batch
    trial.validate, trial.learn = forward * crops_to_images, forward
    if trained:  # a frozen backbone only runs forward, and the head's steps are short
        state = new_state(classifier, batch, settings, hardware)
        one_label = settings.loss == "single_label"
        shape = (batch,) if one_label else (batch, classifier.design.classes)
        targets = torch.zeros(shape, dtype=torch.int64 if one_label else torch.float32)
        loss = partial(classifier.loss, criterion=make_criterion(settings))
        set_mode(classifier, settings)
        step = partial(training_step, state, [(images, targets)], batch, loss, settings, hardware)
        trial.learn = mean_seconds(step, 0.7 * seconds, wait) / batch


def _time_extraction(settings: ExtractSettings, classifier: Classifier, trial: Trial, seconds: float) -> None:
    hardware, batch, wait = device_of(settings, False)
    shapes = [view_shape(SHAPE, size, settings.resize, classifier.design.output_stride) for size in settings.sizes]
    scales = [torch.randint(0, 256, (batch, 3, *shape), dtype=torch.uint8) for shape in shapes]
    classifier.eval().to(hardware.device)
    call = partial(predict, classifier, scales, [()] * batch, settings, hardware)
    trial.extract = mean_seconds(call, seconds, wait) / batch


def device_of(
    settings: TrainSettings | ExtractSettings | StudentSettings, learning: bool
) -> tuple[Hardware, int, Callable[[], Any]]:
    """The hardware, how many images a batch has in the trial, and what returns when the device has done its work."""
    try:
        hardware = choose_hardware(settings.device, settings.precision, learning)
    except SettingsError as error:
        raise NotCheckedError(f"not timed, there is no such device or precision here: {error}") from None
    if hardware.device.type == "cuda":
        return hardware, settings.batch_size, torch.cuda.synchronize
    return hardware, min(settings.batch_size, 2), lambda: None  # 2 images are enough to know what one costs
