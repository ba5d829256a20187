"""Stage `extract`: scaled class activation maps of every image, in a store for each split.

Shards that an earlier run made of the same images, weights and settings are used again.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pipeline.core.archives import content_digest
from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.errors import MapError
from pipeline.core.manifest import SPLITS, Manifest, Split
from pipeline.core.reuse import Finished, digest, finished_of
from pipeline.core.store import Arrays, Shard, Store, finish, write_shard
from pipeline.core.tracks import Track
from pipeline.extract.arrays import image_arrays
from pipeline.extract.load import load_batches
from pipeline.extract.network import View, compute_views
from pipeline.extract.plan import Job, count_test_labels, plan_shards
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier, classifier_digest

INDECISIVE = ("workers", "splits", "train_images", "diagnostic_images")  # settings that change no array


@dataclass(frozen=True, slots=True)
class Counts:
    """What the stage did, for `extract.json`."""

    images: int
    images_reused: int
    maps: int
    constant_maps: int
    test_labels_ignored: int
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """One way to make maps of the features: a head, its settings, and where the maps go."""

    classifier: Classifier
    settings: ExtractSettings
    out: Path


def extract(
    manifest: Manifest,
    classifier: Classifier,
    out: Path,
    settings: ExtractSettings,
    with_true: bool = False,
    with_targets: bool = False,
) -> Counts:
    """Write the maps of all images as a store for each split, those of unwanted splits empty.

    Images of the same shape go through the network together, and never with padding: an image has the same
    result in a batch as alone.

    Args:
        with_true: whether maps of the labels of val images are stored beside those of other classes, for scoring
        with_targets: whether split train is wanted as targets of the student: its labelled images, by their labels

    Raises:
        MapError: naming the image whose map is not finite
        DataError: naming an image that cannot be read
    """
    (counts,) = extract_together(manifest, [Extraction(classifier, settings, out)], with_true, with_targets)
    return counts


def extract_together(
    manifest: Manifest, extractions: Sequence[Extraction], with_true: bool, with_targets: bool = False
) -> list[Counts]:
    """Write several sets of maps, each as `extract` would; an image passes the backbone once for all that lack it.

    Raises:
        MapError, DataError: as `extract`; MapError, too, if the backbones differ, or the settings of the views
    """
    check_alike(extractions)
    classifier, settings = extractions[0].classifier, extractions[0].settings
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    for one in extractions:
        one.classifier.to(hardware.device).eval()
    stores = [MapStores(one.classifier, one.settings, hardware, one.out) for one in extractions]
    shards = plan_shards(manifest, settings, classifier.design.output_stride, with_true, with_targets)
    with progress_bar(shards) as bar:
        for split in SPLITS:
            for jobs in shards[split]:
                keys = [store.keys(jobs) for store in stores]
                arrays = [store.find(key) for store, key in zip(stores, keys, strict=True)]
                reused = [bool(found) for found in arrays]
                missing = [(one, made) for one, made in zip(extractions, arrays, strict=True) if not made]
                for batch, views in compute_batches(jobs, classifier, settings, hardware) if missing else []:
                    for one, made in missing:
                        made |= image_arrays(batch, views, one.classifier, one.settings)
                    bar.update(len(batch))
                bar.update(0 if missing else len(jobs))
                for store, key, items, is_reused in zip(stores, keys, arrays, reused, strict=True):
                    store.add(split, key, items, is_reused)
            for store in stores:
                store.finish(split, manifest.classes)
    ignored = warn_of_test_labels(manifest, settings)
    return [store.counts(ignored) for store in stores]


def check_alike(extractions: Sequence[Extraction]) -> None:
    """Refuse extractions that cannot share features.

    Raises:
        MapError: naming the first
    """
    first = extractions[0]
    free = {name: getattr(first.settings, name) for name in ("negative_weights", "scale", "percentile")}
    for other in extractions[1:]:
        if not _same_features(first.classifier, other.classifier) or replace(other.settings, **free) != first.settings:
            raise MapError(
                f"{other.out}: expected the backbone and settings of {first.out} but for negative_weights, scale and "
                "percentile, got others; extract them one by one"
            )


def _same_features(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers have the same features for every image."""
    designs = {(c.design.backbone, c.design.output_stride, c.design.normalization) for c in (one, other)}
    ours, theirs = one.backbone.state_dict(), other.backbone.state_dict()
    return len(designs) == 1 and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def progress_bar(shards: Mapping[Split, Sequence[Sequence[Job]]]) -> "tqdm[Any]":
    """A bar over all images."""
    return tqdm(total=sum(len(jobs) for split in shards.values() for jobs in split), desc="extract", unit="image")


def compute_batches(
    jobs: Sequence[Job], classifier: Classifier, settings: ExtractSettings, hardware: Hardware
) -> Iterator[tuple[list[Job], list[View]]]:
    """The images of a shard batch by batch, with the features of all their views."""
    for scales, positions in load_batches(jobs, settings.batch_size, settings.workers, hardware):
        yield [jobs[position] for position in positions], compute_views(classifier, scales, settings, hardware)


def describe_extraction(
    counts: Counts, diagnostic_images: int, classes: Sequence[str], track: Track, settings: ExtractSettings
) -> dict[str, Any]:
    """Contents of `extract.json`: the counts, and what it takes to extract another image as these were."""
    return {
        **asdict(counts),
        "diagnostic_images": diagnostic_images,
        "track": track.name,
        "class_names": list(classes),
        "settings": asdict(settings),
    }


def warn_of_test_labels(manifest: Manifest, settings: ExtractSettings) -> int:
    """Count the labels of test images that are ignored, and print a note."""
    ignored = count_test_labels(manifest, settings)
    if ignored:
        print(
            f"note: the labels of {ignored} test images are ignored, they must not choose the classes", file=sys.stderr
        )
    return ignored


@dataclass(slots=True)
class MapStores:
    """The maps of one classifier under one set of settings: a store for each split.

    Attributes:
        shards: of each split, as far as they are written
        kept: names under which shards are kept for a later run
        reused: images whose arrays were made by an earlier run
    """

    classifier: Classifier
    settings: ExtractSettings
    hardware: Hardware
    out: Path
    shards: dict[Split, list[Shard]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    kept: list[str] = field(default_factory=list)
    reused: int = 0
    finished: Finished = field(init=False)

    def __post_init__(self) -> None:
        decisive = {name: value for name, value in asdict(self.settings).items() if name not in INDECISIVE}
        where = [self.hardware.device.type, self.hardware.precision]
        model = classifier_digest(self.classifier)
        self.finished = finished_of(self.out, settings=decisive, model=model, hardware=where)

    def keys(self, jobs: Sequence[Job]) -> dict[str, str]:
        """What each image of a shard is kept under: a digest of the whole shard.

        Which images share a batch can change the last bits of a map.
        """
        shard = digest(
            [[job.id, content_digest(job.file), job.shape, job.view_shapes, job.labels, job.true] for job in jobs]
        )
        return self.finished.keys({job.id: shard for job in jobs})

    def find(self, keys: Mapping[str, str]) -> dict[str, Arrays]:
        """The arrays of a shard from an earlier run; empty if one is missing."""
        found = self.finished.find(keys)
        return found if len(found) == len(keys) else {}

    def add(self, split: Split, keys: Mapping[str, str], items: Mapping[str, Arrays], reused: bool) -> None:
        """Write the next shard of a split."""
        folder, shards = self.out / split, self.shards[split]
        shards.append(write_shard(folder, len(shards), items))
        self.kept.append(self.finished.keep(keys, shards[-1], folder))
        self.reused += len(items) if reused else 0

    def finish(self, split: Split, classes: Sequence[str]) -> None:
        """Write the index of the shards of a split."""
        about = {
            "classes": list(classes),
            "scale": self.settings.scale,
            "percentile": self.settings.percentile,
            "loss": self.classifier.design.loss,
        }
        finish(self.out / split, self.shards[split], about)

    def counts(self, test_labels_ignored: int) -> Counts:
        """Count the shards that were written; remove those of earlier runs that none of the last runs used."""
        self.finished.end(self.kept)
        store, maps, constant = Store(self.out), 0, 0
        for _, arrays in store.items():
            maps += len(arrays["classes"])
            constant += int((arrays["standard"][:, 1] == 0).sum())
        if maps and constant == maps:
            print(f"warning: all {maps} maps are constant; likely the classifier has learned nothing", file=sys.stderr)
        return Counts(
            images=len(store),
            images_reused=self.reused,
            maps=maps,
            constant_maps=constant,
            test_labels_ignored=test_labels_ignored,
            device=str(self.hardware.device),
            precision=self.hardware.precision,
        )
