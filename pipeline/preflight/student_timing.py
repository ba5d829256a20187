"""The part of the trial that times the student: lessons and predictions at the recipe's sizes, with random weights."""

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipeline.core.images import encode_png, read_rgb
from pipeline.core.tracks import TRACKS, Track
from pipeline.preflight.context import Context, Trial
from pipeline.preflight.findings import Row, fail, ok
from pipeline.preflight.student import build_student, keeps_features
from pipeline.preflight.timing import SHAPE, device_of, mean_seconds, synthetic_image
from pipeline.student.fit import label_loss, score_loss, set_mode
from pipeline.student.network import STRIDE, StudentNetwork
from pipeline.student.predict import NO_CLASSES, PREDICTION_BATCH, make_job, mean_probabilities
from pipeline.student.refine import Probabilities, refine_student
from pipeline.student.settings import StudentSettings
from pipeline.train.step import training_step
from pipeline.train.trainer import new_state


def check_student_trial(context: Context, track: Track) -> Iterator[Row]:
    """Time the student where there is one, for a share of the minutes; durations need both parts of the trial."""
    settings = context.get(track.name, StudentSettings)
    if not settings.enabled or track.name not in context.trials:
        return
    trial = context.trials.pop(track.name)  # an incomplete one must not pass for all it costs
    network, seconds = build_student(context, track), 0.3 * 60 * context.minutes / len(TRACKS)
    try:
        _time_lessons(settings, network, trial, 0.5 * seconds)
        _time_prediction(settings, network, trial, 0.25 * seconds)
    except torch.cuda.OutOfMemoryError as error:
        size, steps = settings.batch_size, 2 * settings.accumulation_steps
        text = f"expected a batch that fits into the device's memory, got {size} ({str(error).splitlines()[0]})"
        hint = f"set it to {max(1, size // 2)} and accumulation_steps to {steps}: the effective batch stays what it is"
        yield fail(context.key(track.name, "student.batch_size"), text, hint)
        return
    files = [record.file for record in context.good.get(track.name, [])]
    turns = itertools.cycle(files or [synthetic_image(context.seed)])
    _time_refine(settings, network, trial, 0.25 * seconds, turns)
    context.trials[track.name] = trial
    yield ok(
        f"the student takes {1e3 * trial.student_learn:.0f} ms of training for a view, "
        f"{1e3 * trial.student_predict:.0f} ms to predict an image, {1e3 * trial.student_refine:.0f} ms to refine it"
    )


def _time_lessons(settings: StudentSettings, network: StudentNetwork, trial: Trial, seconds: float) -> None:
    """The backbone on one batch of views, and a training step: on features that are kept, or from the views on."""
    hardware, batch, wait = device_of(settings, settings.backbone.trained)
    network.to(hardware.device).to(memory_format=torch.channels_last)
    side, is_label = settings.views.size, network.design.outputs > 1
    views = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    network.backbone.requires_grad_(settings.backbone.trained)

    def features() -> list[torch.Tensor]:
        with torch.no_grad(), hardware.autocast():
            return network.eval().features(views.to(hardware.device))

    trial.student_features = mean_seconds(features, 0.4 * seconds, wait) / batch
    kept = features() if keeps_features(settings) else None
    loss = label_loss if is_label else score_loss

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return loss(network(inputs) if kept is None else network.decode(kept), targets)

    cells = torch.zeros((batch, side // STRIDE, side // STRIDE), dtype=torch.uint8 if is_label else torch.float32)
    state = new_state(network, batch, settings, hardware)
    set_mode(network, settings)
    step = partial(training_step, state, [(views, cells)], batch, loss_of, settings, hardware)
    trial.student_learn = mean_seconds(step, 0.6 * seconds, wait) / batch


def _time_prediction(settings: StudentSettings, network: StudentNetwork, trial: Trial, seconds: float) -> None:
    hardware, batch, wait = device_of(settings, settings.backbone.trained)
    together = min(batch, PREDICTION_BATCH)
    shapes = make_job("preflight", Path(), SHAPE, settings).view_shapes
    scales = [torch.randint(0, 256, (together, 3, *shape), dtype=torch.uint8) for shape in shapes]
    call = partial(mean_probabilities, network.eval(), scales, settings.flip, hardware)
    trial.student_predict = mean_seconds(call, seconds, wait) / together


def _time_refine(
    settings: StudentSettings, network: StudentNetwork, trial: Trial, seconds: float, turns: Iterator[Path]
) -> None:
    found = _one_answer(1 if network.design.outputs == 1 else 3, max(settings.sizes) // STRIDE)

    def refine() -> None:
        prediction = refine_student(read_rgb(next(turns)), "preflight", found, settings)
        for pixels in (prediction.before, prediction.after):
            encode_png(pixels)

    trial.student_refine = mean_seconds(refine, seconds)


def _one_answer(maps: int, side: int) -> Probabilities:
    """What the student would say of an image with one object in the middle; in Track 1 of two classes."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    blob = 0.9 * np.exp(-3 * (x**2 + y**2))
    if maps == 1:
        return Probabilities(blob[None].astype(np.float16), NO_CLASSES)
    parts = np.stack([1 - blob, *[blob / (maps - 1)] * (maps - 1)])
    return Probabilities(parts.astype(np.float16), np.arange(maps - 1, dtype=np.int32))
