"""A short trial: a few images through every step at the recipe's sizes, timed. Nothing is kept but the times."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.errors import SettingsError
from pipeline.core.files import write_bytes
from pipeline.core.images import decode_png, encode_jpeg, encode_png, read_rgb
from pipeline.core.stopwatch import mean_seconds
from pipeline.core.tracks import Track
from pipeline.extract.network import predict
from pipeline.extract.plan import network_shapes
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier
from pipeline.models.fused import fuse_backbone
from pipeline.params.batches import SHAPE
from pipeline.preflight.context import Context, NotCheckedError, Trial
from pipeline.preflight.findings import Row, fail, ok
from pipeline.preflight.model import build_classifier, build_student
from pipeline.preprocess.image_header import read_header
from pipeline.refine.outputs import Prediction
from pipeline.refine.run import as_arrays, refine_image
from pipeline.refine.settings import RefineSettings
from pipeline.student import fit
from pipeline.student.network import STRIDE, StudentNetwork, fuse_student
from pipeline.student.predict import PREDICTION_BATCH, make_job, mean_probabilities
from pipeline.student.refine import Probabilities, refine_student
from pipeline.student.settings import StudentSettings
from pipeline.train.build import pools_once
from pipeline.train.settings import TrainSettings
from pipeline.train.step import set_mode, training_step
from pipeline.train.trainer import make_criterion, new_state

Settings = TrainSettings | ExtractSettings | StudentSettings


def check_trial(context: Context, track: Track) -> Iterator[Row]:
    """Time every step for a share of the minutes; a GPU whose memory is too small for the batch is a finding."""
    if not context.minutes:
        return
    classifier, trial = build_classifier(context, track), Trial()
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    seconds, turns = 60 * context.minutes / len(context.settings), _turns(context, track)
    trial.header = mean_seconds(lambda: read_header(next(turns)), 0.02 * seconds)
    trial.decode = mean_seconds(lambda: read_rgb(next(turns)), 0.08 * seconds)
    _time_refine(context, track, trial, 0.2 * seconds)
    where = context.key(track.name, "{}.batch_size")
    failed = _unless_full(where.format("train"), _time_training, train, classifier, trial, 0.36 * seconds)
    failed += _unless_full(where.format("extract"), _time_extraction, extract, classifier, trial, 0.24 * seconds)
    yield from failed
    if not failed:
        context.trials[track.name] = trial  # complete: durations must not be made of zeros
        yield ok(
            f"an image takes {1e3 * trial.decode:.0f} ms to decode, {1e3 * trial.learn:.0f} ms of training, "
            f"{1e3 * trial.extract:.0f} ms for its maps, {1e3 * trial.refine:.0f} ms to refine"
            + ("" if context.good.get(track.name) else " (a synthetic image: there are no others)")
        )


def check_student_trial(context: Context, track: Track) -> Iterator[Row]:
    """Time the student where there is one, for a share of the minutes; durations need both parts of the trial."""
    settings = context.get(track.name, StudentSettings)
    if not settings.enabled or track.name not in context.trials:
        return
    trial = context.trials.pop(track.name)  # an incomplete one must not pass for all it costs
    network, seconds = build_student(context, track), 0.3 * 60 * context.minutes / len(context.settings)
    where = context.key(track.name, "student.batch_size")
    for time_it, share in ((_time_lessons, 0.5), (_time_prediction, 0.25)):
        if failed := _unless_full(where, time_it, settings, network, trial, share * seconds):
            yield from failed
            return
    found = _probabilities(network.design.outputs, max(settings.sizes) // STRIDE)
    images = map(read_rgb, _turns(context, track))
    refine = partial(refine_student, image_id="preflight", found=found, settings=settings)
    trial.student_refine, _ = _refine_seconds(lambda: refine(next(images)), 0.25 * seconds)
    context.trials[track.name] = trial
    yield ok(
        f"the student takes {1e3 * trial.student_learn:.0f} ms of training for a view, "
        f"{1e3 * trial.student_predict:.0f} ms to predict an image, {1e3 * trial.student_refine:.0f} ms to refine it"
    )


def _unless_full(where: str, time_it: Callable[..., None], settings: Settings, *given: Any) -> list[Row]:
    """Time passes of a network; if the batch does not fit into the device's memory, a row names the one to try next."""
    try:
        time_it(settings, *given)
    except torch.cuda.OutOfMemoryError as error:
        size, steps = settings.batch_size, 2 * getattr(settings, "accumulation_steps", 0)
        text = f"expected a batch that fits into the device's memory, got {size} ({str(error).splitlines()[0]})"
        more = f" and accumulation_steps to {steps}: the effective batch stays what it is" if steps else ""
        return [fail(where, text, f"set it to {max(1, size // 2)}{more}")]
    return []


def _turns(context: Context, track: Track) -> Iterator[Path]:
    """The images that could be decoded, over and over; a synthetic one of the usual size where there is none."""
    if files := [record.file for record in context.good.get(track.name, [])]:
        return itertools.cycle(files)
    coarse = np.random.default_rng(context.seed).integers(0, 256, (24, 32, 3), np.uint8)
    path = Path(tempfile.gettempdir()) / "lid-preflight.JPEG"
    write_bytes(path, encode_jpeg(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)))
    return itertools.repeat(path)


def _time_refine(context: Context, track: Track, trial: Trial, seconds: float) -> None:
    settings, extract = context.get(track.name, RefineSettings), context.get(track.name, ExtractSettings)
    count, turns = 2 if settings.output == "label_map" else 1, _turns(context, track)
    taught = bool(settings.target_backgrounds) and context.get(track.name, StudentSettings).enabled
    arrays: dict[str, Any] = {  # what `extract` would store
        "maps": np.stack([_blob(max(extract.sizes) // 16)] * count).astype(np.float16),
        "classes": np.arange(count, dtype=np.int32),
        "probabilities": np.full(max(count, 2), 0.9, np.float16),
        "known": np.array([taught]),  # then an upper bound: images of val and test have one CRF, those of train three
    }
    trial.refine, size = _refine_seconds(lambda: refine_image(arrays, next(turns), "trial", settings), 0.8 * seconds)
    trial.prediction = size if context.good.get(track.name) else 0.0
    data = encode_png(np.ascontiguousarray(read_rgb(next(turns))[:, :, 0]))
    trial.score = mean_seconds(lambda: np.bincount(decode_png(data, "preflight").ravel(), minlength=256), 0.2 * seconds)


def _refine_seconds(refine: Callable[[], Prediction], budget: float) -> tuple[float, float]:
    """Seconds to make and encode a prediction, and bytes of one of its two PNGs."""
    sizes: list[int] = []
    refine()  # the first one compiles, and must not count where one image takes longer than the budget
    seconds = mean_seconds(lambda: sizes.append(sum(map(len, as_arrays(refine()).values())) // 2), budget)
    return seconds, float(np.mean(sizes))


def _blob(side: int) -> NDArray[np.float64]:
    """A map of one object in the middle. Shape: (side, side)"""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return np.asarray(np.exp(-3 * (x**2 + y**2)))


def _probabilities(outputs: int, side: int) -> Probabilities:
    """What the student would say of an image with one object in the middle; in Track 1 of two classes."""
    blob = 0.9 * _blob(side)
    maps = [blob] if outputs == 1 else [1 - blob, blob / 2, blob / 2]
    return Probabilities(np.stack(maps).astype(np.float16), np.arange(len(maps) - 1, dtype=np.int32))


def _place(settings: Settings, network: nn.Module, learning: bool) -> tuple[Hardware, int]:
    """Bring the network to the device that the settings ask for; how many images are enough for a batch there."""
    try:
        hardware = choose_hardware(settings.device, settings.precision, learning)
    except SettingsError as error:
        raise NotCheckedError(f"not timed, there is no such device or precision here: {error}") from None
    network.to(hardware.device).eval()
    if not learning and isinstance(network, Classifier):
        network.backbone = fuse_backbone(network)  # as the stages have it
    return hardware, settings.batch_size if hardware.device.type == "cuda" else min(settings.batch_size, 2)


def _images(batch: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)


def _forward(call: Callable[[Tensor], Any], images: Tensor, hardware: Hardware) -> Any:
    with torch.no_grad(), hardware.autocast():
        return call(images.to(hardware.device))


def _time_training(settings: TrainSettings, classifier: Classifier, trial: Trial, seconds: float) -> None:
    hardware, batch = _place(settings, classifier, settings.backbone.trained)
    images = _images(batch, settings.crop, settings.crop)
    trial.learn = mean_seconds(partial(_forward, classifier, images, hardware), 0.3 * seconds) / batch
    trial.validate = trial.learn * (settings.resize / settings.crop) ** 2  # of whole images
    if not pools_once(settings):  # else the backbone only runs forward, and the head's steps are short
        classifier.backbone.requires_grad_(settings.backbone.trained)
        set_mode(classifier, settings)
        batches = [(images, torch.ones(batch, classifier.design.classes))]
        loss = partial(classifier.loss, criterion=make_criterion(settings))
        state = new_state(classifier, batch, settings, hardware)
        step = partial(training_step, state, batches, batch, loss, settings, hardware)
        trial.learn = mean_seconds(step, 0.7 * seconds) / batch


def _time_extraction(settings: ExtractSettings, network: Classifier, trial: Trial, seconds: float) -> None:
    hardware, batch = _place(settings, network, False)
    scales = [_images(batch, *shape) for shape in network_shapes(SHAPE, settings, network.design.output_stride)]
    trial.extract = mean_seconds(partial(predict, network, scales, [()] * batch, settings, hardware), seconds) / batch


def _time_lessons(settings: StudentSettings, network: StudentNetwork, trial: Trial, seconds: float) -> None:
    """The backbone on one batch of views, and a training step: on features that are kept, or from the views on."""
    hardware, batch = _place(settings, network.to(memory_format=torch.channels_last), settings.backbone.trained)
    network.backbone.requires_grad_(settings.backbone.trained)
    side, loss = settings.views.size, fit.score_loss if network.design.outputs == 1 else fit.label_loss
    views, cells = _images(batch, side, side), torch.zeros(batch, side // STRIDE, side // STRIDE)
    features = partial(_forward, fuse_student(network).features, views, hardware)
    trial.student_features = mean_seconds(features, 0.4 * seconds) / batch
    kept = features() if settings.keeps_features else None

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(network(inputs) if kept is None else network.decode(kept), targets)

    fit.set_mode(network, settings)
    state = new_state(network, batch, settings, hardware)
    step = partial(training_step, state, [(views, cells)], batch, loss_of, settings, hardware)
    trial.student_learn = mean_seconds(step, 0.6 * seconds) / batch


def _time_prediction(settings: StudentSettings, network: StudentNetwork, trial: Trial, seconds: float) -> None:
    hardware, most = _place(settings, network, settings.backbone.trained)
    batch = min(most, PREDICTION_BATCH)
    scales = [_images(batch, *shape) for shape in make_job("preflight", Path(), SHAPE, settings).view_shapes]
    call = partial(mean_probabilities, fuse_student(network), scales, settings.flip, hardware)
    trial.student_predict = mean_seconds(call, seconds) / batch
