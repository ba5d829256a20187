"""Stage `extract`: scaled class activation maps of every image, in a store for each split.

Shards that an earlier run made of the same images, weights and settings are used again.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.core.archives import content_digest
from pipeline.core.device import Hardware, choose_hardware
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

INDECISIVE = ("workers", "splits", "diagnostic_images")  # settings that change no array


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
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    classifier.to(hardware.device).eval()
    maps = MapStores(classifier, settings, hardware, out)
    shards = plan_shards(manifest, settings, classifier.design.output_stride, with_true, with_targets)
    with progress_bar(shards) as bar:
        for split in SPLITS:
            for jobs in shards[split]:
                keys = maps.keys(jobs)
                found = maps.find(keys)
                made = dict[str, Arrays]()
                for batch, views in [] if found else compute_batches(jobs, classifier, settings, hardware):
                    made |= image_arrays(batch, views, classifier, settings)
                    bar.update(len(batch))
                bar.update(len(found))
                maps.add(split, keys, found or made, reused=bool(found))
            maps.finish(split, manifest.classes)
    return maps.counts(warn_of_test_labels(manifest, settings))


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
