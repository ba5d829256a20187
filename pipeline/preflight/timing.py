"""A short trial: a few images through every stage at the recipe's sizes, timed. Nothing is kept but the clock."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.settings import ExtractSettings
from pipeline.preflight.context import Context, NotCheckedError, Trial
from pipeline.preflight.findings import Row
from pipeline.preflight.model import build_classifier
from pipeline.refine.settings import RefineSettings
from pipeline.train.settings import TrainSettings

SHAPE = (375, 500)  # (H, W) of most images of ILSVRC
PATIENCE = 6.0  # seconds
ON_CPU = 2  # images of a batch there: enough to know what one costs


def check_trial(context: Context, track: Track) -> Iterator[Row]:
    """Time every step for a share of the minutes; a GPU whose memory is too small for the batch is a finding."""
    if not context.minutes:
        return
    seconds = 60 * context.minutes / len(TRACKS)
    trial = context.trials[track.name] = Trial()
    _time_images(context, track, trial, 0.1 * seconds)
    yield from _try_refine(context, track, trial, 0.2 * seconds)
    yield from _try_network(context, track, trial, 0.6 * seconds)
    text = (
        f"an image takes {1e3 * trial.decode:.0f} ms to decode, {1e3 * trial.learn:.0f} ms to learn from, "
        f"{1e3 * trial.extract:.0f} ms for its maps, {1e3 * trial.refine:.0f} ms to refine"
    )
    yield Row("OK", "trial", "", text)


def mean_seconds(call: Callable[[], Any], budget: float, wait: Callable[[], Any] = lambda: None) -> float:
    """Seconds of one call: the mean of as many as fit into the budget after a first one, which only warms up.

    Args:
        call: what is timed
        budget: seconds, the first call among them; a second one is made in any case, unless the first took longer than
            `PATIENCE` and the budget: then it is what counts
        wait: returns when the device has done its work
    """
    begin = time.perf_counter()
    call()
    wait()
    start = time.perf_counter()
    if start - begin >= max(budget, PATIENCE):
        return start - begin
    for calls in itertools.count(1):
        call()
        wait()
        now = time.perf_counter()
        if now - begin >= budget:
            return (now - start) / calls
    raise AssertionError("the loop above has no end")


# --- images and CRF
# ---------------------------------------------------------------------------------------------------------


def _time_images(context: Context, track: Track, trial: Trial, seconds: float) -> None:
    from pipeline.core.images import read_rgb
    from pipeline.preprocess.header import read_header

    files = [record.file for record in context.good.get(track.name, [])] or [_synthetic_image(context)]
    turns = itertools.cycle(files)
    trial.header = mean_seconds(lambda: read_header(next(turns)), 0.2 * seconds)
    trial.decode = mean_seconds(lambda: read_rgb(next(turns)), 0.8 * seconds)


def _synthetic_image(context: Context) -> Path:
    """An image of the usual size where there is none to be had."""
    import tempfile

    import cv2
    import numpy as np

    from pipeline.core.files import write_bytes
    from pipeline.core.images import encode_jpeg

    coarse = np.random.default_rng(context.seed).integers(0, 256, (24, 32, 3), np.uint8)
    path = Path(tempfile.gettempdir()) / "lid-preflight.JPEG"
    write_bytes(path, encode_jpeg(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)))
    return path


def _try_refine(context: Context, track: Track, trial: Trial, seconds: float) -> Iterator[Row]:
    import numpy as np

    from pipeline.core.images import decode_png, encode_png, read_rgb
    from pipeline.refine.run import refine_image

    settings, extract = context.get(track.name, RefineSettings), context.get(track.name, ExtractSettings)
    records = [record for record in context.good.get(track.name, []) if record.split != "train"]
    turns = itertools.cycle([record.file for record in records] or [_synthetic_image(context)])
    several = settings.output == "label_map"
    arrays = _one_blob(2 if several else 1, max(extract.sizes) // 16)
    sizes: list[int] = []

    def refine() -> None:
        prediction = refine_image(arrays, next(turns), "preflight", settings)
        sizes.append(sum(len(encode_png(pixels)) for pixels in (prediction.before, prediction.after)) // 2)

    trial.refine = mean_seconds(refine, 0.8 * seconds)
    trial.prediction = float(np.mean(sizes)) if records else 0.0  # a made-up image says nothing of real ones
    image = read_rgb(next(turns))
    data = encode_png(np.ascontiguousarray(image[:, :, 0]))
    trial.score = mean_seconds(lambda: np.bincount(decode_png(data, "preflight").ravel(), minlength=256), 0.2 * seconds)
    whose = (
        f"of {image.shape[1]}x{image.shape[0]}: {trial.prediction / 1e3:.0f} kB"
        if records
        else "that is made up, for there are none"
    )
    yield Row("OK", "trial", "", f"CRF and output of an image {whose}")


def _one_blob(maps: int, side: int) -> dict[str, Any]:
    """What `extract` would store of an image with one object in the middle."""
    import numpy as np

    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    blob = np.exp(-3 * (x**2 + y**2)).astype(np.float16)
    return {
        "maps": np.stack([blob] * maps),
        "classes": np.arange(maps, dtype=np.int32),
        "probabilities": np.full(max(maps, 2), 0.9, np.float16),
    }


# --- network
# ------------------------------------------------------------------------------------------------------------------


def _try_network(context: Context, track: Track, trial: Trial, seconds: float) -> Iterator[Row]:
    import torch

    classifier = build_classifier(context, track)
    for name, share, call in (("train", 0.6, _try_learning), ("extract", 0.4, _try_extraction)):
        try:
            call(context, track, classifier, trial, share * seconds)
        except torch.cuda.OutOfMemoryError as error:
            yield _too_large(context, track, name, str(error))
        with suppress(RuntimeError, AssertionError):
            torch.cuda.empty_cache()


def _too_large(context: Context, track: Track, name: str, error: str) -> Row:
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    size = train.batch_size if name == "train" else extract.batch_size
    half = max(1, size // 2)
    hint = f"set it to {half}"
    if name == "train":
        steps = -(-train.batch_size * train.accumulation_steps // half)
        hint += f" and accumulation_steps to {steps}: the effective batch stays what it is"
    text = f"expected a batch that fits into the device's memory, got {size} ({error.splitlines()[0]})"
    return Row("FAIL", "trial", context.key(track.name, f"{name}.batch_size"), text, hint)


def _try_learning(context: Context, track: Track, classifier: Any, trial: Trial, seconds: float) -> None:
    import torch

    from pipeline.core.device import choose_hardware
    from pipeline.train.optimizer import make_optimizer
    from pipeline.train.step import set_mode
    from pipeline.train.targets import classification_loss

    settings = context.get(track.name, TrainSettings)
    trained = settings.backbone.trained
    hardware = _hardware(choose_hardware, settings.device, settings.precision, trained)
    batch = _batch(settings.batch_size, hardware)
    images = torch.randint(0, 256, (batch, 3, settings.crop, settings.crop), dtype=torch.uint8)
    classes = classifier.design.classes
    targets = torch.zeros(batch, dtype=torch.int64) if settings.loss == "single_label" else torch.zeros(batch, classes)
    classifier.to(hardware.device)
    optimizer = make_optimizer(classifier, settings)

    def learn() -> None:
        with hardware.autocast():
            logits = classifier(images.to(hardware.device))
        loss = classification_loss(logits.float(), targets.to(hardware.device), settings.loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def validate() -> None:
        with hardware.autocast():
            classifier(images.to(hardware.device))

    classifier.eval()
    trial.validate = (
        mean_seconds(validate, 0.3 * seconds, _waiting(hardware)) / batch * (settings.resize / settings.crop) ** 2
    )
    if trained:
        set_mode(classifier, settings)
        trial.learn = mean_seconds(learn, 0.7 * seconds, _waiting(hardware)) / batch
    else:  # features are pooled once for each view; the head's steps are nothing beside them
        trial.learn = trial.validate * (settings.crop / settings.resize) ** 2


def _try_extraction(context: Context, track: Track, classifier: Any, trial: Trial, seconds: float) -> None:
    import torch

    from pipeline.core.device import choose_hardware
    from pipeline.extract.network import predict
    from pipeline.extract.plan import view_shape

    settings = context.get(track.name, ExtractSettings)
    hardware = _hardware(choose_hardware, settings.device, settings.precision, False)
    batch = _batch(settings.batch_size, hardware)
    shapes = [view_shape(SHAPE, size, settings.resize, classifier.design.output_stride) for size in settings.sizes]
    scales = [torch.randint(0, 256, (batch, 3, *shape), dtype=torch.uint8) for shape in shapes]
    classifier.eval().to(hardware.device)
    call = lambda: predict(classifier, scales, [()] * batch, settings, hardware)  # noqa: E731
    trial.extract = mean_seconds(call, seconds, _waiting(hardware)) / batch


def _hardware(choose: Callable[..., Any], device: str, precision: str, learning: bool) -> Any:
    from pipeline.core.errors import SettingsError

    try:
        return choose(device, precision, learning)
    except SettingsError as error:
        raise NotCheckedError(f"not tried, for there is no such device or precision here: {error}") from None


def _batch(size: int, hardware: Any) -> int:
    return size if hardware.device.type == "cuda" else min(size, ON_CPU)


def _waiting(hardware: Any) -> Callable[[], Any]:
    import torch

    return torch.cuda.synchronize if hardware.device.type == "cuda" else lambda: None
