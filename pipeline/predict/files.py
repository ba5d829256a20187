"""Predict image files into a folder: masks, score maps, overlays and one list of all; no truth and no index is needed.

Pixels are read as the stages read them, in stored order: the EXIF orientation is ignored, so outputs lie on the stored
pixels.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.archives import file_version
from pipeline.core.errors import DataError, PipelineError
from pipeline.core.files import read_json, sha256, write_bytes, write_json
from pipeline.core.images import MAX_PIXELS, encode_jpeg, encode_png, read_rgb, read_size
from pipeline.core.progress import progress
from pipeline.core.reuse import SCRATCH
from pipeline.core.scratch import Scratch, open_scratch
from pipeline.export import FORMAT_NAMES
from pipeline.extract.load import batches_of
from pipeline.extract.plan import Job, by_shape
from pipeline.predict.page import write_page
from pipeline.predict.paths import find_images, output_names, printable
from pipeline.predict.predictor import ImagePrediction, Predictor, image_name
from pipeline.predict.run_folder import Made
from pipeline.report.gallery import FOLDER, check_gallery_place
from pipeline.report.overlays import class_colors, paint, paint_heat

MASKS, SCORES, OVERLAYS, REPORT = "masks", "scores", "overlays", "predictions.json"
BOX_COLOR = (255, 255, 255)
SHOWN = 1000  # images on the page
MOST_SKIPPED = 0.1  # of all inputs; more are no odd files, but a damaged disk or an unfinished copy

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Summary:
    """What was predicted.

    Attributes:
        images: predicted images
        instances: of all of them
        left_out: components of their masks that were smaller than the least area of an instance
        stage: which one made the predictions: student or first
        skipped: why an input was not predicted, by its path
        report: the list of all, `predictions.json`
        page: `index.html`; None if none was wanted
    """

    images: int
    instances: int
    left_out: int
    stage: Made
    skipped: Mapping[str, str]
    report: Path
    page: Path | None = None

    @property
    def too_many_skipped(self) -> bool:
        """Whether more than `MOST_SKIPPED` of the inputs were skipped, and more than one, or all of them."""
        inputs = self.images + len(self.skipped)
        return not self.images or len(self.skipped) > max(1, int(MOST_SKIPPED * inputs))


def predict_files(
    predictor: Predictor, paths: Iterable[Path | str] | Path | str, out: Path | str, shown: int = SHOWN
) -> Summary:
    """Predict images and write what was found to a folder.

    - `masks/<name>.png`: 255 on the mask, else 0
    - `scores/<name>.png`: Track 3 the score map, 0..255; Track 1 the label map, class ids 0..K
    - `overlays/<name>.jpg`: Track 3 the score over the image and the boxes; Track 1 the classes over the image
    - `predictions.json`: which stage predicted; for each image its file, name, size, classes with probabilities,
      threshold, instances with boxes, and how many were too small to be one; then what was skipped, and totals
    - `index.html` and `gallery/`: all of it to look at, in a browser

    `<name>` is the stem of the file, numbered where two files have the same (`output_names`). Images are decoded batch
    by batch; a batch has at most `extract.batch_size` images, and no more pixels than one image may have. An image that
    cannot be read or predicted is listed and left out. Files of earlier calls in `out` are replaced where names are the
    same, and stay otherwise. A call that was stopped is gone on with by the next one of the same run, options and
    images: batches whose files are all there are not predicted again.

    Args:
        predictor: a finished run
        paths: files, folders (with their subfolders) and patterns; see `find_images`
        out: made where it is missing
        shown: images on the page, the first ones by name; 0: no page

    Raises:
        DataError: if the paths lead to no image at all
        StoreError: if what the page needs would replace a folder of others
    """
    given, out = [paths] if isinstance(paths, (str, Path)) else list(paths), Path(out)
    files, skipped = find_images(given, [out / name for name in (MASKS, SCORES, OVERLAYS, SCRATCH, *FORMAT_NAMES)])
    if not files:
        reasons = "; ".join(f"{printable(path)}: {reason}" for path, reason in skipped.items()) or "no path was given"
        raise DataError(f"expected images to predict, found none ({reasons})")
    if shown:
        check_gallery_place(out / FOLDER)
    names = dict(zip(map(str, files), output_names(files), strict=True))
    jobs = _plan(predictor, files, skipped)
    scratch = _open_scratch(predictor, jobs, names, out)
    entries: dict[str, dict[str, Any]] = {}
    with progress(total=len(jobs), title="predict") as bar:
        for number, batch in enumerate(_batches(jobs, predictor.run.extract.batch_size)):
            name = f"batch-{number:09d}"
            done = _find_batch(scratch, name, out)
            if done is None:
                done = _predict_and_write(predictor, batch, names, out)
                if not done.skipped:  # what fails now can succeed later
                    scratch.keep(name, json.dumps(asdict(done)).encode())
            entries |= done.entries
            skipped |= done.skipped
            bar.update(len(batch))
    summary = _finish(predictor, out, entries, skipped, shown)
    scratch.end()
    return summary


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of the images of a batch.

    Attributes:
        entries: of `predictions.json`, by path
        skipped: why an image was not predicted, by path
        written: sha256 of the files, by path below the folder of the call
    """

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)


def _open_scratch(predictor: Predictor, jobs: Sequence[Job], names: Mapping[str, str], out: Path) -> Scratch:
    """What a stopped call of this run, these options and these images has kept."""
    run, hardware = predictor.run, predictor.hardware
    where = [hardware.device.type, hardware.precision]
    options = {
        "stage": predictor.stage,
        "threshold": predictor.threshold,
        "classes": predictor.chosen,
        "min_area": predictor.min_area,
        "hardware": where,
    }
    images = [[printable(job.id), names[job.id], file_version(job.file)] for job in jobs]
    parts = ("model", "student/model", "extract.json", "refine.json", "student.json")
    return open_scratch(out / REPORT, "predict", [options, {"images": images}], [run.folder / part for part in parts])


def _find_batch(scratch: Scratch, name: str, out: Path) -> Batch | None:
    """A batch that a stopped call has finished, if all its files are as it left them."""
    part = scratch.find(name)
    if part is None:
        return None
    batch = Batch(**read_json(part))
    whole = all((out / path).is_file() and sha256(out / path) == digest for path, digest in batch.written.items())
    return batch if whole else None


def _predict_and_write(predictor: Predictor, jobs: Sequence[Job], names: Mapping[str, str], out: Path) -> Batch:
    batch = Batch()
    for file, image, prediction in _predict(predictor, jobs, batch.skipped):
        try:
            batch.written.update(_write(out, names[file], image, prediction))
        except OSError as error:  # such as a name that is too long
            batch.skipped[file] = f"expected a folder that takes its prediction, got {error}"
            continue
        batch.entries[file] = _describe(file, names[file], prediction)
    return batch


def _plan(predictor: Predictor, files: Sequence[Path], skipped: dict[str, str]) -> list[Job]:
    """The images that have a readable header, those of one shape side by side; the others go to `skipped`."""
    jobs = []
    for file in files:
        try:
            width, height = read_size(file)
            jobs.append(predictor.job(str(file), (height, width)))
        except DataError as error:
            skipped[str(file)] = _reason(error, file)
    return by_shape(jobs)


def _batches(jobs: Sequence[Job], batch_size: int, most: int = MAX_PIXELS) -> Iterator[list[Job]]:
    """The batches of the stage `extract`, divided further so that none has more than `most` pixels, or one image."""
    for same in batches_of(jobs, batch_size):
        batch: list[Job] = []
        for job in same:
            if batch and sum(math.prod(other.shape) for other in [*batch, job]) > most:
                yield batch
                batch = []
            batch.append(job)
        yield batch


def _predict(
    predictor: Predictor, batch: Sequence[Job], skipped: dict[str, str]
) -> Iterator[tuple[str, Pixels, ImagePrediction]]:
    """Path, pixels and prediction of each image of a batch; those that fail go to `skipped`."""
    images: dict[str, Pixels] = {}
    for job in batch:
        try:
            images[job.id] = read_rgb(job.file)
        except DataError as error:
            skipped[job.id] = _reason(error, job.file)
    try:
        predictions = predictor.predict_batch(list(images.values()))
    except PipelineError as error:
        if len(images) == 1:
            skipped.update(dict.fromkeys(images, str(error).removeprefix(f"{image_name(0)}: ")))
            return
        for job in batch:  # one of them failed: alone, the others do not
            if job.id in images:
                yield from _predict(predictor, [job], skipped)
        return
    for (file, image), prediction in zip(images.items(), predictions, strict=True):
        yield file, image, prediction


def _reason(error: Exception, file: Path) -> str:
    """A message without the path at its start, which is listed beside it."""
    return str(error).removeprefix(f"{file}: ")


def _write(out: Path, name: str, image: Pixels, prediction: ImagePrediction) -> dict[str, str]:
    """Write the files of an image; return the sha256 of each."""
    files = {
        f"{MASKS}/{name}.png": encode_png(np.where(prediction.mask, 255, 0).astype(np.uint8)),
        f"{SCORES}/{name}.png": encode_png(prediction.prediction),
        f"{OVERLAYS}/{name}.jpg": encode_jpeg(draw(image, prediction)),
    }
    return {path: write_bytes(out / path, data) for path, data in files.items()}


def draw(image: Pixels, prediction: ImagePrediction) -> Pixels:
    """The prediction over its image: Track 3 score and boxes, Track 1 classes. Shape: (H, W, 3), RGB"""
    if prediction.threshold is None:
        return paint(image, prediction.prediction, class_colors())
    drawn = paint_heat(image, prediction.prediction.astype(np.float32) / np.float32(255))
    for one in prediction.instances:
        cv2.rectangle(drawn, one.box[:2], one.box[2:], BOX_COLOR, 1)
    return drawn


def _describe(file: str, name: str, prediction: ImagePrediction) -> dict[str, Any]:
    """The entry of one image in `predictions.json`."""
    height, width = prediction.prediction.shape
    return {
        "file": printable(file),
        "name": printable(name),
        "size": [width, height],
        "classes": [
            {
                "class_id": index + 1,
                "class_name": prediction.class_names[index],
                "probability": float(prediction.probabilities[index]),
            }
            for index in _classes(prediction)
        ],
        "threshold": prediction.threshold,
        "instances": [
            {
                "class_id": one.class_id,
                "class_name": one.class_name,
                "score": one.score,
                "box": list(one.box),
                "area": one.area,
            }
            for one in prediction.instances
        ],
        "left_out": prediction.left_out,
    }


def _classes(prediction: ImagePrediction) -> list[int]:
    """The classes that have maps and those that the student found beside them, the most probable first."""
    found = dict.fromkeys([*prediction.classes.tolist(), *(one.class_id - 1 for one in prediction.instances)])
    return sorted(found, key=lambda index: -prediction.probabilities[index])


def _finish(
    predictor: Predictor, out: Path, entries: Mapping[str, dict[str, Any]], skipped: Mapping[str, str], shown: int
) -> Summary:
    """Write the list of all images, and the page."""
    skipped = {printable(file): reason for file, reason in skipped.items()}
    images = [entries[file] for file in sorted(entries)]
    instances = sum(len(entry["instances"]) for entry in images)
    left_out = sum(entry["left_out"] for entry in images)
    report = {
        "track": predictor.track,
        "class_names": list(predictor.class_names),
        "stage": predictor.stage,
        "threshold": predictor.threshold,
        "threshold_rule": predictor.threshold_rule,
        "min_area": predictor.min_area,
        "images": images,
        "skipped": [{"file": file, "reason": skipped[file]} for file in sorted(skipped)],
        "totals": {"images": len(images), "skipped": len(skipped), "instances": instances, "left_out": left_out},
    }
    write_json(out / REPORT, report)
    page = write_page(out, report, out / SCORES, shown) if shown else None
    return Summary(len(images), instances, left_out, predictor.stage, dict(skipped), out / REPORT, page)
