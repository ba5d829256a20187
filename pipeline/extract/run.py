"""Classifier to maps: every image once through the network, maps of its classes on a common scale, into a store.

What is stored for an image: `maps` (P, h, w) float16 at feature resolution, scaled so that 1 is the standard, not
clipped; `classes` (P,) int32, most probable first; `standard` (P, 2) float32, the low and the unit that give the raw
map back; `probabilities` (K,) float16 of all classes; `predicted` (1,) int32, the class of the largest logit; `known`
(1,) bool, whether the classes are the image's labels. For val images of Track 3 whose first map is of another class
than their label, for scoring only: `label_maps` (1, h, w) and `label_standard` (1, 2), of the label.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from pipeline.core.archives import content_digest
from pipeline.core.device import Hardware, choose_hardware, single_thread
from pipeline.core.errors import MapError
from pipeline.core.images import read_rgb, read_size, resize, resize_image
from pipeline.core.manifest import SPLITS, Manifest, Record, Split
from pipeline.core.reuse import Finished, digest, finished_of
from pipeline.core.store import Arrays, Shard, Store, divide, finish, write_shard
from pipeline.extract.cam import clamp_negative_weights, class_activation_maps, mean_over_views
from pipeline.extract.scale import Standard, apply_standard, find_standard
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier, classifier_digest
from pipeline.models.placement import Offset

IMAGES_PER_SHARD = 256  # images in one file, at least
Shape = tuple[int, int]
View = tuple[Tensor, bool]  # features (N, C, h, w), and whether they are of the mirrored images


@dataclass(frozen=True, slots=True)
class Job:
    """One image to extract: where it is, its stored shape, the shapes it is looked at in, its labels if they count."""

    id: str
    file: Path
    shape: Shape
    view_shapes: tuple[Shape, ...]
    labels: tuple[int, ...]
    true: tuple[int, ...] = ()  # its labels where one of them is to be scored, whatever is predicted


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to make maps of what the backbone sees: a head, what becomes of its weights, the scale, and where maps
    go."""

    classifier: Classifier
    settings: ExtractSettings
    out: Path
    with_true: bool = False  # whether maps of the labels of val images are kept beside the others, for scoring


def extract(
    manifest: Manifest, classifier: Classifier, out: Path, settings: ExtractSettings, with_true: bool = False
) -> dict[str, Any]:
    """Write the maps of all images as a store for each split, those of unwanted splits empty; return the counts.

    Images of the same shape go through the network together, and never with padding: a batch gives what each image
    alone would give.

    Raises:
        MapError: naming the image whose map is not finite
        DataError: naming an image that cannot be read
    """
    (counts,) = extract_readings(manifest, [Reading(classifier, settings, out, with_true)])
    return counts


def extract_readings(manifest: Manifest, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Write the maps of several readings, each as `extract` would, bit for bit; the backbone looks at every image once.

    Raises:
        MapError, DataError: as `extract`; MapError, too, if the backbones differ, or the settings in what is looked at
    """
    first = readings[0]
    _check_alike(readings)
    hardware = choose_hardware(first.settings.device, first.settings.precision, learning=False)
    for reading in readings:
        reading.classifier.to(hardware.device).eval()
    stores = [_Output(reading, _finished(reading, hardware)) for reading in readings]
    stride = first.classifier.design.output_stride
    jobs = {split: plan(manifest.select(split), first.settings, stride, first.with_true) for split in SPLITS}
    ignored = count_test_labels(manifest, first.settings)
    if ignored:
        print(
            f"note: the labels of {ignored} test images are ignored, they must not choose the classes", file=sys.stderr
        )
    with tqdm(total=sum(map(len, jobs.values())), desc="extract", unit="image") as bar:
        for split in SPLITS:
            for output in stores:
                output.begin(split)
            by_id = {job.id: job for job in sorted(jobs[split], key=lambda job: job.id)}
            for ids in divide(list(by_id), IMAGES_PER_SHARD):
                chosen = sorted((by_id[image_id] for image_id in ids), key=lambda job: (job.view_shapes, job.id))
                _extract_shard(chosen, stores, hardware, bar)
            for output in stores:
                output.finish(manifest)
    return [{**_counts(output, hardware), "test_labels_ignored": ignored} for output in stores]


class _Output:
    """Where the maps of one reading go: a store for each split, the splits that are not wanted empty."""

    def __init__(self, reading: Reading, finished: Finished) -> None:
        self.reading, self.finished = reading, finished
        self.folder, self.shards = reading.out, list[Shard]()
        self.kept: list[str] = []
        self.reused = 0

    def begin(self, split: Split) -> None:
        """The next shards are of this split."""
        self.folder, self.shards = self.reading.out / split, []

    def add(self, keys: Mapping[str, str], items: Mapping[str, Arrays], found: bool) -> None:
        """Write the next shard; `found` says whether it was made before."""
        self.shards.append(write_shard(self.folder, len(self.shards), items))
        self.kept.append(self.finished.keep(keys, self.shards[-1], self.folder))
        self.reused += len(items) if found else 0

    def finish(self, manifest: Manifest) -> None:
        """Bind the shards of the split together."""
        settings = self.reading.settings
        about = {
            "classes": list(manifest.classes),
            "scale": settings.scale,
            "percentile": settings.percentile,
            "loss": self.reading.classifier.design.loss,
        }
        finish(self.folder, self.shards, about)


def _finished(reading: Reading, hardware: Hardware) -> Finished:
    settings = asdict(reading.settings)
    decisive = {
        name: value for name, value in settings.items() if name not in ("workers", "splits", "diagnostic_images")
    }
    where = [hardware.device.type, hardware.precision]
    return finished_of(reading.out, settings=decisive, model=classifier_digest(reading.classifier), hardware=where)


def _counts(output: _Output, hardware: Hardware) -> dict[str, Any]:
    output.finished.end(output.kept)
    store, maps, constant = Store(output.reading.out), 0, 0
    for _, arrays in store.items():
        maps += len(arrays["classes"])
        constant += int((arrays["standard"][:, 1] == 0).sum())
    if maps and constant == maps:
        print(f"warning: all {maps} maps are constant; likely the classifier has learnt nothing", file=sys.stderr)
    return {
        "images": len(store),
        "images_reused": output.reused,
        "maps": maps,
        "constant_maps": constant,
        "device": str(hardware.device),
        "precision": hardware.precision,
    }


def _check_alike(readings: Sequence[Reading]) -> None:
    """Refuse readings that cannot share a look."""
    first = readings[0]
    for other in readings[1:]:
        free = {name: getattr(first.settings, name) for name in ("negative_weights", "scale", "percentile")}
        alike = _see_alike(first.classifier, other.classifier) and first.with_true == other.with_true
        if not alike or replace(other.settings, **free) != first.settings:
            raise MapError(
                f"{other.out}: expected the backbone and settings of {first.out} but for negative_weights, scale and "
                "percentile, "
                "got others; extract them one by one"
            )


def _see_alike(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers have the same features for every image."""
    looks = {(c.design.backbone, c.design.output_stride, c.design.normalization) for c in (one, other)}
    backbone, theirs = one.backbone.state_dict(), other.backbone.state_dict()
    return len(looks) == 1 and all(torch.equal(value, theirs[name]) for name, value in backbone.items())


def plan(manifest: Manifest, settings: ExtractSettings, output_stride: int, with_true: bool = False) -> list[Job]:
    """All images of the wanted splits, those of one shape side by side.

    Labels of test images choose no classes: a submission would know what it has to find.
    """
    jobs = []
    for split in settings.splits:
        by_label = settings.classes == "label" and split != "test"
        for record in manifest.select(split):
            shape = record.shape if record.width else _stored_shape(record)
            view_shapes = tuple(view_shape(shape, size, settings.resize, output_stride) for size in settings.sizes)
            true = record.labels if with_true and split == "val" else ()
            jobs.append(Job(record.id, record.file, shape, view_shapes, record.labels if by_label else (), true))
    return sorted(jobs, key=lambda job: (job.view_shapes, job.id))


def count_test_labels(manifest: Manifest, settings: ExtractSettings) -> int:
    """How many test images have labels that `extract.classes: label` would use if it could."""
    if settings.classes != "label" or "test" not in settings.splits:
        return 0
    return sum(bool(labels) for labels in manifest.select("test").labels())


def _stored_shape(record: Record) -> Shape:
    width, height = read_size(record.file)
    return height, width


def view_shape(shape: Shape, size: int, kind: str, multiple: int) -> Shape:
    """The shape (H, W) in which an image is looked at: both sides whole multiples of the output stride.

    `square` makes both sides `size`; `long_side` the longer one, the other in proportion; `area` keeps the proportion,
    too, and gives every image the area of such a square: a panorama is not shrunk to a strip of a few positions.
    Rounding to multiples bends the aspect ratio by a few percent at the most and makes every feature stand for the same
    share of the image.

    >>> view_shape((375, 500), 320, "long_side", 16), view_shape((200, 800), 320, "long_side", 16)
    ((240, 320), (80, 320))
    >>> view_shape((375, 500), 320, "area", 16), view_shape((200, 800), 320, "area", 16)
    ((272, 368), (160, 640))
    """
    sides: tuple[float, float] = (size, size)
    if kind != "square":
        scale = size / (max(shape) if kind == "long_side" else math.sqrt(math.prod(shape)))
        sides = (shape[0] * scale, shape[1] * scale)
    height, width = (max(1, round(side / multiple)) * multiple for side in sides)
    return height, width


# --- images ------------------------------------------------------------------------------------------------------


class _ViewDataset(Dataset[tuple[list[NDArray[np.uint8]], int]]):
    """Each image decoded once and resized to every shape it is looked at in."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, position: int) -> tuple[list[NDArray[np.uint8]], int]:
        job = self.jobs[position]
        image = read_rgb(job.file)
        return [resize_image(image, shape) for shape in job.view_shapes], position


def _collate(items: Sequence[tuple[list[NDArray[np.uint8]], int]]) -> tuple[list[Tensor], list[int]]:
    scales = zip(*(images for images, _ in items), strict=True)
    stacked = [torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) for images in scales]
    return stacked, [position for _, position in items]


def _batches(jobs: Sequence[Job], settings: ExtractSettings, hardware: Hardware) -> DataLoader[Any]:
    """Batches of images of one shape."""
    positions: list[list[int]] = []
    for _, group in groupby(range(len(jobs)), key=lambda position: jobs[position].view_shapes):
        same = list(group)
        positions += [same[start : start + settings.batch_size] for start in range(0, len(same), settings.batch_size)]
    return DataLoader(
        _ViewDataset(jobs),
        batch_sampler=positions,
        num_workers=settings.workers,
        collate_fn=_collate,
        pin_memory=hardware.pins_memory,
        worker_init_fn=single_thread,
    )


# --- maps ----------------------------------------------------------------------------------------------------------


def _extract_shard(jobs: Sequence[Job], outputs: Sequence[_Output], hardware: Hardware, bar: "tqdm[Any]") -> None:
    """The next shard of every reading's store: used again where it was made before, else made, with one look for all.

    A shard is used again as a whole: which images share a batch can change the last bits of a map.
    """
    shard = digest(
        [[job.id, content_digest(job.file), job.shape, job.view_shapes, job.labels, job.true] for job in jobs]
    )
    keys = [output.finished.keys({job.id: shard for job in jobs}) for output in outputs]
    found = [output.finished.find(of_output) for output, of_output in zip(outputs, keys, strict=True)]
    missing = [output for output, items in zip(outputs, found, strict=True) if len(items) < len(jobs)]
    made = iter(_read_images(jobs, [output.reading for output in missing], hardware, bar) if missing else [])
    for output, of_output, items in zip(outputs, keys, found, strict=True):
        whole = len(items) == len(jobs)
        output.add(of_output, items if whole else next(made), whole)
    if not missing:
        bar.update(len(jobs))


def _read_images(
    jobs: Sequence[Job], readings: Sequence[Reading], hardware: Hardware, bar: "tqdm[Any]"
) -> list[dict[str, Arrays]]:
    """What is stored of each image, by reading."""
    found: list[dict[str, Arrays]] = [{} for _ in readings]
    first = readings[0]
    for scales, positions in _batches(jobs, first.settings, hardware):
        batch = [jobs[position] for position in positions]
        views = compute_views(first.classifier, scales, first.settings, hardware)
        for reading, items in zip(readings, found, strict=True):
            items |= _read_batch(batch, reading, views)
        bar.update(len(batch))
    return found


@torch.inference_mode()
def _read_batch(batch: Sequence[Job], reading: Reading, views: Sequence[View]) -> dict[str, Arrays]:
    """What is stored of each image of a batch."""
    logits = mean_logits(reading.classifier, views)
    wanted = wanted_classes(logits, [job.labels for job in batch], reading.settings.max_classes)
    maps = read_maps(reading.classifier, views, wanted, reading.settings)
    true = wanted_classes(logits, [job.true for job in batch], 1)  # (N, 1), the prediction where no label is known
    apart = [n for n, job in enumerate(batch) if job.true and true[n, 0] != wanted[n, 0]]
    true_maps = read_maps(reading.classifier, views, true, reading.settings) if apart else None
    predicted = wanted_classes(logits, [()] * len(batch), 1)[:, 0]
    columns = (wanted.cpu().numpy(), reading.classifier.probabilities(logits).cpu().numpy(), predicted.cpu().numpy())
    items: dict[str, Arrays] = {}
    for n, (job, classes, probabilities, top) in enumerate(zip(batch, *columns, strict=True)):
        beside = _scaled(job, true_maps[n], reading.settings, "label_") if true_maps is not None and n in apart else {}
        items[job.id] = {**_stored(job, maps[n], classes, probabilities, int(top), reading.settings), **beside}
    return items


def predict(
    classifier: Classifier,
    scales: Sequence[Tensor],
    labels: Sequence[tuple[int, ...]],
    settings: ExtractSettings,
    hardware: Hardware,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Raw maps of the wanted classes of a batch, averaged over scales and mirror images.

    Args:
        scales: the same N images at every size. Shape: (N, 3, H, W) each, uint8
        labels: known class indices of each image; they come before predicted ones

    Returns:
        maps (N, P, h, w), as many cells as the finest scale has, dividing the image evenly; class indices (N, P), most
        wanted first; probabilities (N, K)
    """
    return read_views(classifier, compute_views(classifier, scales, settings, hardware), labels, settings)


@torch.inference_mode()
def compute_views(
    classifier: Classifier, scales: Sequence[Tensor], settings: ExtractSettings, hardware: Hardware
) -> list[View]:
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
    logits = mean_logits(classifier, views)
    wanted = wanted_classes(logits, labels, settings.max_classes)
    maps = read_maps(classifier, views, wanted, settings)
    return maps, wanted.cpu().numpy(), classifier.probabilities(logits).cpu().numpy()


@torch.inference_mode()
def mean_logits(classifier: Classifier, views: Sequence[View]) -> Tensor:
    """Logits of a batch, the mean over its views. Shape: (N, K), float32"""
    return torch.stack([classifier.logits(features) for features, _ in views]).mean(dim=0)


@torch.inference_mode()
def read_maps(
    classifier: Classifier, views: Sequence[View], wanted: Tensor, settings: ExtractSettings
) -> NDArray[np.float32]:
    """Raw maps of the wanted classes, the mean over views on the grid of the finest. Shapes: (N, P) to (N, P, h, w)"""
    weights = classifier.head.weight
    weights = clamp_negative_weights(weights) if settings.negative_weights == "clamp" else weights
    y, x = cell_offset(classifier, settings)
    maps, offsets = [], []
    for features, mirrored in views:
        cams = class_activation_maps(features, weights, wanted)
        maps.append(cams.flip(3) if mirrored else cams)
        offsets.append((y, -x if mirrored else x))
    means: NDArray[np.float32] = mean_over_views(maps, offsets).cpu().numpy()
    return means


def cell_offset(classifier: Classifier, settings: ExtractSettings) -> Offset:
    """Offset (y, x) of the cells of a view from their even share of the image, in cells.

    None for the published placement.
    """
    return classifier.design.offset if settings.placement == "receptive_field" else (0.0, 0.0)


def _features(classifier: Classifier, images: Tensor, mirrored: bool, hardware: Hardware) -> View:
    images = images.to(hardware.device, non_blocking=True)
    with hardware.autocast():
        return classifier.features(images.flip(3) if mirrored else images), mirrored


def wanted_classes(logits: Tensor, labels: Sequence[tuple[int, ...]], most: int) -> Tensor:
    """Class indices of each image, known labels first, then by falling logit. Shapes: (N, K), (N, P)

    P = min(most, K). Among known labels, too, the more probable stand first; ties go to the lower class index. Logits
    decide, not probabilities, which are equal where a sigmoid has saturated.
    """
    order = logits.cpu().double()  # on the CPU, for not every device has doubles
    for row, known in zip(order, labels, strict=True):
        row[list(known)] += 1.0e6  # above every logit
    ranked = order.argsort(dim=1, descending=True, stable=True)
    return ranked[:, : min(most, logits.shape[1])].to(logits.device)


def _stored(
    job: Job,
    cams: NDArray[np.float32],
    classes: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    predicted: int,
    settings: ExtractSettings,
) -> dict[str, NDArray[Any]]:
    """Keep the classes that count, scale their maps, and round to half precision."""
    kept = _kept(job, classes, probabilities, settings)
    return {
        **_scaled(job, cams[kept], settings),
        "classes": classes[kept].astype(np.int32),
        "probabilities": probabilities.astype(np.float16),
        "predicted": np.array([predicted], np.int32),
        "known": np.array([bool(job.labels)]),
    }


def _scaled(
    job: Job, cams: NDArray[np.float32], settings: ExtractSettings, prefix: str = ""
) -> dict[str, NDArray[Any]]:
    """Maps of one image on the common scale, and what they were scaled by."""
    try:
        standards = [find_standard(resize(cam, job.shape), settings.scale, settings.percentile) for cam in cams]
    except MapError as error:
        raise MapError(f"{job.id}: {error}") from None
    scaled = [apply_standard(cam, standard) for cam, standard in zip(cams, standards, strict=True)]
    return {f"{prefix}maps": np.stack(scaled).astype(np.float16), f"{prefix}standard": _as_rows(standards)}


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
