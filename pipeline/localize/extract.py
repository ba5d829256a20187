"""Classifier to maps: every picture once through the network, maps of its classes on a common scale, into a store.

What is stored for an image: `maps` (P, h, w) float16 at feature resolution, scaled so that 1 is the standard, not clipped;
`classes` (P,) int32, most probable first; `standard` (P, 2) float32, the low and the unit that give the raw map back;
`probabilities` (K,) float16 of all classes; `known` (1,) bool, whether the classes are the image's labels.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from pipeline.errors import MapError
from pipeline.images import read_rgb, read_size, resize, resize_image
from pipeline.learn.classifier import Classifier
from pipeline.learn.device import Hardware, choose_hardware, single_thread
from pipeline.learn.placement import Offset
from pipeline.localize.cam import clamp_negative_weights, class_activation_maps, mean_over_views
from pipeline.localize.scale import Standard, apply_standard, find_standard
from pipeline.manifest import Manifest, Record
from pipeline.settings.extract import ExtractSettings
from pipeline.store import Arrays, Part, finish, images_per_part, write_part

PART = 256  # images in one file, at least
Shape = tuple[int, int]
View = tuple[Tensor, bool]  # features (N, C, h, w), and whether they are of the mirrored pictures


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to extract: where it is, its stored shape, the shapes it is looked at in, its labels if they count."""

    id: str
    file: Path
    shape: Shape
    looks: tuple[Shape, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to make maps of what the body sees: a head, what becomes of its weights, the scale, and where maps go."""

    classifier: Classifier
    settings: ExtractSettings
    out: Path


def extract(manifest: Manifest, classifier: Classifier, out: Path, settings: ExtractSettings) -> dict[str, Any]:
    """Write the maps of all images of the wanted splits as a store; return the counts.

    Pictures of the same shape go through the network together, and never with padding: a batch gives what each picture
    alone would give.

    Raises:
        MapError: naming the image whose map is not finite
        DataError: naming a picture that cannot be read
    """
    (counts,) = extract_readings(manifest, [Reading(classifier, settings, out)])
    return counts


def extract_readings(manifest: Manifest, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Write the maps of several readings, each as `extract` would, bit for bit; the body looks at every picture once.

    Raises:
        MapError, DataError: as `extract`; MapError, too, if the bodies differ, or the settings in what is looked at
    """
    first = readings[0]
    _check_alike(readings)
    hardware = choose_hardware(first.settings.device, first.settings.precision, learning=False)
    for reading in readings:
        reading.classifier.to(hardware.device).eval()
    jobs = plan(manifest, first.settings, first.classifier.design.output_stride)
    counts = [{"images": len(jobs), "maps": 0, "constant_maps": 0} for _ in readings]
    parts: list[list[Part]] = [[] for _ in readings]
    size = images_per_part(len(jobs), PART)
    with tqdm(total=len(jobs), desc="extract", unit="image") as bar:
        for number, start in enumerate(range(0, len(jobs), size)):
            found = _extract_part(jobs[start : start + size], readings, hardware, bar)
            for reading, items, done, count in zip(readings, found, parts, counts, strict=True):
                done.append(_write(reading.out, number, items, count))
    for reading, done, count in zip(readings, parts, counts, strict=True):
        _finish(manifest, reading, done, count)
    return [{**count, "device": str(hardware.device), "precision": hardware.precision} for count in counts]


def _check_alike(readings: Sequence[Reading]) -> None:
    """Refuse readings that cannot share a look."""
    first = readings[0]
    for other in readings[1:]:
        free = {name: getattr(first.settings, name) for name in ("negative_weights", "scale", "percentile")}
        if not _see_alike(first.classifier, other.classifier) or replace(other.settings, **free) != first.settings:
            raise MapError(
                f"{other.out}: expected the body and settings of {first.out} but for negative_weights, scale and percentile, "
                "got others; extract them one by one"
            )


def _see_alike(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers have the same features for every picture."""
    looks = {(c.design.backbone, c.design.output_stride, c.design.normalization) for c in (one, other)}
    body, theirs = one.body.state_dict(), other.body.state_dict()
    return len(looks) == 1 and all(torch.equal(value, theirs[name]) for name, value in body.items())


def _finish(manifest: Manifest, reading: Reading, parts: Sequence[Part], counts: Mapping[str, int]) -> None:
    if counts["maps"] and counts["constant_maps"] == counts["maps"]:
        print(f"warning: all {counts['maps']} maps are constant; likely the classifier has learnt nothing", file=sys.stderr)
    about = {
        "classes": list(manifest.classes),
        "scale": reading.settings.scale,
        "percentile": reading.settings.percentile,
        "loss": reading.classifier.design.loss,
    }
    finish(reading.out, parts, about)


def _write(out: Path, number: int, items: dict[str, Arrays], counts: dict[str, int]) -> Part:
    counts["maps"] += sum(len(arrays["classes"]) for arrays in items.values())
    counts["constant_maps"] += sum(int((arrays["standard"][:, 1] == 0).sum()) for arrays in items.values())
    return write_part(out, number, items)


def plan(manifest: Manifest, settings: ExtractSettings, output_stride: int) -> list[Job]:
    """All pictures of the wanted splits, those of one shape side by side."""
    jobs = []
    for split in settings.splits:
        for record in manifest.select(split):
            shape = record.shape if record.width else _stored_shape(record)
            looks = tuple(look(shape, size, settings.resize, output_stride) for size in settings.sizes)
            jobs.append(Job(record.id, record.file, shape, looks, record.labels if settings.classes == "label" else ()))
    return sorted(jobs, key=lambda job: (job.looks, job.id))


def _stored_shape(record: Record) -> Shape:
    width, height = read_size(record.file)
    return height, width


def look(shape: Shape, size: int, kind: str, multiple: int) -> Shape:
    """The shape (H, W) in which a picture is looked at: both sides whole multiples of the output stride.

    `square` makes both sides `size`; `long_side` the longer one, the other in proportion; `area` keeps the proportion, too, and
    gives every picture the area of such a square: a panorama is not shrunk to a strip of a few positions. Rounding to
    multiples bends the aspect ratio by a few percent at the most and makes every feature stand for the same share of the
    picture.

    >>> look((375, 500), 320, "long_side", 16), look((200, 800), 320, "long_side", 16)
    ((240, 320), (80, 320))
    >>> look((375, 500), 320, "area", 16), look((200, 800), 320, "area", 16)
    ((272, 368), (160, 640))
    """
    sides: tuple[float, float] = (size, size)
    if kind != "square":
        scale = size / (max(shape) if kind == "long_side" else math.sqrt(math.prod(shape)))
        sides = (shape[0] * scale, shape[1] * scale)
    height, width = (max(1, round(side / multiple)) * multiple for side in sides)
    return height, width


# --- pictures ------------------------------------------------------------------------------------------------------


class _Looks(Dataset[tuple[list[NDArray[np.uint8]], int]]):
    """Each picture decoded once and resized to every shape it is looked at in."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, position: int) -> tuple[list[NDArray[np.uint8]], int]:
        job = self.jobs[position]
        picture = read_rgb(job.file)
        return [resize_image(picture, shape) for shape in job.looks], position


def _collate(items: Sequence[tuple[list[NDArray[np.uint8]], int]]) -> tuple[list[Tensor], list[int]]:
    scales = zip(*(pictures for pictures, _ in items), strict=True)
    stacked = [torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) for pictures in scales]
    return stacked, [position for _, position in items]


def _batches(jobs: Sequence[Job], settings: ExtractSettings) -> DataLoader[Any]:
    """Batches of pictures of one shape."""
    positions: list[list[int]] = []
    for _, group in groupby(range(len(jobs)), key=lambda position: jobs[position].looks):
        same = list(group)
        positions += [same[start : start + settings.batch_size] for start in range(0, len(same), settings.batch_size)]
    return DataLoader(
        _Looks(jobs),
        batch_sampler=positions,
        num_workers=settings.workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=single_thread,
    )


# --- maps ----------------------------------------------------------------------------------------------------------


def _extract_part(
    jobs: Sequence[Job], readings: Sequence[Reading], hardware: Hardware, bar: "tqdm[Any]"
) -> list[dict[str, Arrays]]:
    """What is stored of each image, by reading."""
    found: list[dict[str, Arrays]] = [{} for _ in readings]
    first = readings[0]
    for scales, positions in _batches(jobs, first.settings):
        batch = [jobs[position] for position in positions]
        views = look_at(first.classifier, scales, first.settings, hardware)
        for reading, items in zip(readings, found, strict=True):
            maps, wanted, probabilities = read_views(reading.classifier, views, [job.labels for job in batch], reading.settings)
            for job, cams, classes, row in zip(batch, maps, wanted, probabilities, strict=True):
                items[job.id] = _stored(job, cams, classes, row, reading.settings)
        bar.update(len(batch))
    return found


def predict(
    classifier: Classifier,
    scales: Sequence[Tensor],
    labels: Sequence[tuple[int, ...]],
    settings: ExtractSettings,
    hardware: Hardware,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Raw maps of the wanted classes of a batch, averaged over scales and mirror images.

    Args:
        scales: the same N pictures at every size. Shape: (N, 3, H, W) each, uint8
        labels: known class indices of each picture; they come before predicted ones

    Returns:
        maps (N, P, h, w), as many cells as the finest scale has, dividing the image evenly; class indices (N, P), most wanted
        first; probabilities (N, K)
    """
    return read_views(classifier, look_at(classifier, scales, settings, hardware), labels, settings)


@torch.inference_mode()
def look_at(classifier: Classifier, scales: Sequence[Tensor], settings: ExtractSettings, hardware: Hardware) -> list[View]:
    """Features of a batch at every size, mirrored ones too where the settings want them."""
    return [
        _features(classifier, images, mirrored, hardware)
        for images in scales
        for mirrored in ((False, True) if settings.flip else (False,))
    ]


@torch.inference_mode()
def read_views(
    classifier: Classifier, views: Sequence[View], labels: Sequence[tuple[int, ...]], settings: ExtractSettings
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """The second half of `predict`: what a head makes of features."""
    logits = torch.stack([classifier.logits(features) for features, _ in views]).mean(dim=0)
    probabilities = classifier.probabilities(logits)
    wanted = wanted_classes(logits, labels, settings.max_classes)
    weights = classifier.head.weight
    weights = clamp_negative_weights(weights) if settings.negative_weights == "clamp" else weights
    y, x = cell_offset(classifier, settings)
    maps, offsets = [], []
    for features, mirrored in views:
        cams = class_activation_maps(features, weights, wanted)
        maps.append(cams.flip(3) if mirrored else cams)
        offsets.append((y, -x if mirrored else x))
    return mean_over_views(maps, offsets).cpu().numpy(), wanted.cpu().numpy(), probabilities.cpu().numpy()


def cell_offset(classifier: Classifier, settings: ExtractSettings) -> Offset:
    """Offset (y, x) of the cells of a view from their even share of the image, in cells; none for the published placement."""
    return classifier.design.offset if settings.placement == "receptive_field" else (0.0, 0.0)


def _features(classifier: Classifier, images: Tensor, mirrored: bool, hardware: Hardware) -> View:
    images = images.to(hardware.device, non_blocking=True)
    with hardware.autocast():
        return classifier.features(images.flip(3) if mirrored else images), mirrored


def wanted_classes(logits: Tensor, labels: Sequence[tuple[int, ...]], most: int) -> Tensor:
    """Class indices of each picture, known labels first, then by falling logit. Shapes: (N, K), (N, P)

    P = min(most, K). Among known labels, too, the more probable stand first; ties go to the lower class index. Logits
    decide, not probabilities, which are equal where a sigmoid has saturated.
    """
    order = logits.cpu().double()  # on the CPU, for not every device has doubles
    for row, known in zip(order, labels, strict=True):
        row[list(known)] += 1.0e6  # above every logit
    ranked = order.argsort(dim=1, descending=True, stable=True)
    return ranked[:, : min(most, logits.shape[1])].to(logits.device)


def _stored(
    job: Job, cams: NDArray[np.float32], classes: NDArray[np.int64], probabilities: NDArray[np.float32], settings: ExtractSettings
) -> Arrays:
    """Keep the classes that count, scale their maps, and round to half precision."""
    kept = _kept(job, classes, probabilities, settings)
    try:
        standards = [find_standard(resize(cams[p], job.shape), settings.scale, settings.percentile) for p in kept]
    except MapError as error:
        raise MapError(f"{job.id}: {error}") from None
    scaled = [apply_standard(cams[p], standard) for p, standard in zip(kept, standards, strict=True)]
    return {
        "maps": np.stack(scaled).astype(np.float16),
        "classes": classes[kept].astype(np.int32),
        "standard": _as_rows(standards),
        "probabilities": probabilities.astype(np.float16),
        "known": np.array([bool(job.labels)]),
    }


def _kept(
    job: Job, classes: NDArray[np.int64], probabilities: NDArray[np.float32], settings: ExtractSettings
) -> NDArray[np.int64]:
    """Positions in `classes`: exactly the known labels; or the most probable and all that reach `min_probability`."""
    if job.labels:
        return np.arange(min(len(job.labels), len(classes)))
    kept = probabilities[classes] >= settings.min_probability
    kept[0] = True
    return np.flatnonzero(kept)


def _as_rows(standards: Sequence[Standard]) -> NDArray[np.float32]:
    return np.array([(standard.low, standard.unit) for standard in standards], np.float32)
