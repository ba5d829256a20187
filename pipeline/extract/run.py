"""Stage `extract`: scaled class activation maps of every image, in a store for each split.

Images are computed in parts of a shard. A part is kept in the scratch folder of `core.reuse` as soon as it is computed,
so that a stage that was stopped loses few; in the end parts are joined into the few files of the stores. Parts that an
earlier run made of the same images, weights and settings are used again.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pipeline.core.archives import content_digest
from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.distributed import deal, gather, in_order, is_first, rank, world_size
from pipeline.core.errors import MapError
from pipeline.core.manifest import SPLITS, Manifest, Split
from pipeline.core.progress import progress
from pipeline.core.reuse import Finished, digest, finished_of
from pipeline.core.settings import decisive
from pipeline.core.store import Arrays, Shard, Store, finish, write_shard
from pipeline.core.tracks import Track
from pipeline.extract.ahead import map_ahead
from pipeline.extract.arrays import compute_raw, stored_arrays, to_memory
from pipeline.extract.ignored import tell_ignored
from pipeline.extract.load import batches_of, load_batches
from pipeline.extract.network import View, compute_views
from pipeline.extract.plan import Job, count_test_labels, plan_shards
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.thresholds import Thresholds
from pipeline.models.classifier import Classifier, classifier_digest
from pipeline.models.fused import fused_backbone

OTHER_IMAGES = ("splits", "train_images", "diagnostic_images")  # they decide which images have arrays, and change none
PART = 256  # images at least: what is computed since the last part is lost when the stage is stopped
UNDER_WAY = 8  # batches whose maps are computed, copied or scaled at a time
Waiting = tuple[int, Callable[[], dict[str, Arrays]]]  # position of an extraction, and the arrays of a batch for it


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
    """One way to make maps of the features: a head, its settings, and where the maps go.

    Raises:
        MapError: if `thresholds` lacks what `class_thresholds` asks for
    """

    classifier: Classifier
    settings: ExtractSettings
    out: Path
    thresholds: Thresholds | None = None  # with `class_thresholds`

    def __post_init__(self) -> None:
        source = self.thresholds.source if self.thresholds else "fixed"
        if source != self.settings.class_thresholds:
            raise MapError(
                f"extract.class_thresholds is {self.settings.class_thresholds!r}: expected thresholds of this source, "
                f"got {source!r}"
            )


def extract(
    manifest: Manifest,
    classifier: Classifier,
    out: Path,
    settings: ExtractSettings,
    with_true: bool = False,
    with_targets: bool = False,
    thresholds: Thresholds | None = None,
) -> Counts:
    """Write the maps of all images as a store for each split, those of unwanted splits empty.

    Images of the same shape go through the network together, and never with padding: an image has the same
    result in a batch as alone.

    Args:
        with_true: whether maps of the labels of val images are stored beside those of other classes, for scoring
        with_targets: whether split train is wanted as targets of the student: its labelled images, by their labels
        thresholds: what `thresholds_of` gives for the settings

    Raises:
        MapError: naming the image whose map is not finite; or if `thresholds` are not those of the settings
        DataError: naming an image that cannot be read
    """
    one = Extraction(classifier, settings, out, thresholds)
    (counts,) = extract_together(manifest, [one], with_true, with_targets)
    return counts


def extract_together(
    manifest: Manifest, extractions: Sequence[Extraction], with_true: bool, with_targets: bool = False
) -> list[Counts]:
    """Write several sets of maps, each as `extract` would; an image passes the backbone once for all that lack it.

    Raises:
        MapError, DataError: as `extract`; MapError, too, if the backbones differ, or the settings of the views

    Several ranks call this together and share the parts of the shards, which they keep in one folder. Rank 0 joins
    them, and alone gets the counts.
    """
    check_alike(extractions)
    tell_ignored(extractions)
    classifier, settings = extractions[0].classifier, extractions[0].settings
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    for one in extractions:
        one.classifier.to(hardware.device).eval()
    stores = [MapStores(one.classifier, one.settings, hardware, one.out, one.thresholds) for one in extractions]
    stride, few_shapes = classifier.design.output_stride, hardware.wants_few_shapes
    shards = plan_shards(manifest, settings, stride, with_true, with_targets, few_shapes)
    with fused_backbones(extractions), ThreadPoolExecutor() as pool, ThreadPoolExecutor(1) as writer:
        planned = [
            (split, shard, batches)
            for split in SPLITS
            for shard, jobs in enumerate(shards[split])
            for batches in divide_batches(batches_of(jobs, settings.batch_size))
        ]
        own = [planned[number] for number in deal(len(planned))]
        parts = [
            make_part(split, shard, batches, stores, pool)
            for split, shard, batches in progress(own, title="read images", unit="part")
        ]
        arrays = map_ahead(pool, store_batch, compute_batches(parts, extractions, hardware), UNDER_WAY)
        with progress_bar(parts) as bar:
            filled = ((part, part_arrays(part, arrays, bar)) for part in parts)
            for _ in map_ahead(writer, partial(keep_part, stores), filled, most=1):
                pass
    made_of = in_order(gather([(part.digest, part.missing) for part in parts]))  # after which all parts are kept
    if not is_first():
        return []
    parts = [Part(*one, digest, missing) for one, (digest, missing) in zip(planned, made_of, strict=True)]
    for store in stores:
        for split in SPLITS:
            store.join(split, [part for part in parts if part.split == split], manifest.classes)
    ignored = warn_of_test_labels(manifest, settings)
    return [store.counts(count_reused(parts, n), ignored) for n, store in enumerate(stores)]


@contextmanager
def fused_backbones(extractions: Sequence[Extraction]) -> Iterator[None]:
    """Within, the backbones of all classifiers are fused: level maps run that of their own."""
    with ExitStack() as stack:
        for classifier in {id(one.classifier): one.classifier for one in extractions}.values():
            stack.enter_context(fused_backbone(classifier))
        yield


@dataclass(frozen=True, slots=True)
class Part:
    """Some images of a shard.

    Attributes:
        shard: number of the shard in its split
        batches: the images in the order in which they are computed
        digest: of what their arrays are made of beside weights and settings
        missing: positions of the extractions that no earlier run made them for
    """

    split: Split
    shard: int
    batches: Sequence[list[Job]]
    digest: str
    missing: tuple[int, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The image ids, in order."""
        return [job.id for batch in self.batches for job in batch]


def count_reused(parts: Sequence[Part], position: int) -> int:
    """Images whose arrays an earlier run made, for the extraction at a position."""
    return sum(len(part.ids) for part in parts if position not in part.missing)


def divide_batches(batches: Sequence[list[Job]]) -> Iterator[list[list[Job]]]:
    """The batches of a shard in parts of `PART` images or a few more."""
    part: list[list[Job]] = []
    for batch in batches:
        part.append(batch)
        if sum(map(len, part)) >= PART:
            yield part
            part = []
    if part:
        yield part


def make_part(
    split: Split, shard: int, batches: Sequence[list[Job]], stores: Sequence["MapStores"], pool: Executor
) -> Part:
    """Read the files of a part, and look for its arrays in what earlier runs made.

    Which images share a batch can change the last bits of a map, so that all of them are in the digest.

    Raises:
        DataError: naming an image that cannot be read
    """
    jobs = [job for batch in batches for job in batch]
    contents = pool.map(content_digest, [job.file for job in jobs])
    made_of = [
        [job.id, content, job.shape, job.view_shapes, job.labels, job.true]
        for job, content in zip(jobs, contents, strict=True)
    ]
    part = Part(split, shard, batches, digest(made_of))
    return replace(part, missing=tuple(n for n, store in enumerate(stores) if not store.has(part)))


def part_arrays(
    part: Part, made: Iterator[Mapping[int, dict[str, Arrays]]], bar: "tqdm[Any]"
) -> dict[int, dict[str, Arrays]]:
    """The arrays of the images of a part, for each extraction that lacks them, from the batches that are made."""
    arrays: dict[int, dict[str, Arrays]] = {n: {} for n in part.missing}
    for batch in part.batches:
        for n, items in (next(made) if part.missing else {}).items():
            arrays[n] |= items
        bar.update(len(batch))
    return arrays


def check_alike(extractions: Sequence[Extraction]) -> None:
    """Refuse extractions that cannot share features.

    Raises:
        MapError: naming the first
    """
    first = extractions[0]
    free = {name: getattr(first.settings, name) for name in ("map", "negative_weights", "scale", "percentile")}
    for other in extractions[1:]:
        if not _same_features(first.classifier, other.classifier) or replace(other.settings, **free) != first.settings:
            raise MapError(
                f"{other.out}: expected the backbone and settings of {first.out} but for map, negative_weights, scale "
                "and percentile, got others; extract them one by one"
            )


def _same_features(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers have the same features for every image."""
    designs = {(c.design.backbone, c.design.output_stride, c.design.normalization) for c in (one, other)}
    methods = {str((c.design.method, c.design.method_options)) for c in (one, other)}
    if len(designs) > 1 or (len(methods) > 1 and (one.extra or other.extra)):
        return False
    ours, theirs = ({**c.backbone.state_dict(), **c.extra.state_dict()} for c in (one, other))
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def keep_part(stores: Sequence["MapStores"], filled: tuple[Part, Mapping[int, Mapping[str, Arrays]]]) -> None:
    """Keep the arrays of a part, for each extraction that lacked them."""
    part, arrays = filled
    for n, items in arrays.items():
        stores[n].keep(part, items)


def progress_bar(parts: Sequence[Part]) -> "tqdm[Any]":
    """A bar over all images."""
    return progress(total=sum(len(part.ids) for part in parts), title="extract")


def compute_batches(
    parts: Sequence[Part], extractions: Sequence[Extraction], hardware: Hardware
) -> Iterator[list[Waiting]]:
    """The maps of each batch for each extraction that lacks them, on their way to main memory."""
    classifier, settings = extractions[0].classifier, extractions[0].settings
    lacking = [part for part in parts if part.missing]
    if not lacking:
        return
    loaded = load_batches([batch for part in lacking for batch in part.batches], settings.workers, hardware)
    for part in lacking:
        for scales, batch in islice(loaded, len(part.batches)):
            views = compute_views(classifier, scales, settings, hardware)
            yield [(n, _begin(batch, views, extractions[n])) for n in part.missing]


def _begin(batch: Sequence[Job], views: Sequence[View], one: Extraction) -> Callable[[], dict[str, Arrays]]:
    """Compute raw maps; what is returned waits for them and scales them, in any thread."""
    wait = to_memory(compute_raw(batch, views, one.classifier, one.settings))
    thresholds = np.array(one.thresholds.values) if one.thresholds else None
    return lambda: stored_arrays(wait(), one.settings, thresholds)


def store_batch(waiting: Sequence[Waiting]) -> dict[int, dict[str, Arrays]]:
    """The arrays of each image of a batch, for each extraction that lacks them."""
    return {n: arrays() for n, arrays in waiting}


def describe_extraction(
    counts: Counts,
    diagnostic_images: int,
    classes: Sequence[str],
    track: Track,
    settings: ExtractSettings,
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """Contents of `extract.json`: the counts, and what it takes to extract another image as these were."""
    return {
        **asdict(counts),
        "diagnostic_images": diagnostic_images,
        "track": track.name,
        "class_names": list(classes),
        "settings": asdict(settings),
        **({"class_thresholds": asdict(thresholds)} if thresholds else {}),
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
        kept: names under which shards are kept for a later run
        made: parts that this rank made
    """

    classifier: Classifier
    settings: ExtractSettings
    hardware: Hardware
    out: Path
    thresholds: Thresholds | None = None
    kept: list[str] = field(default_factory=list)
    made: int = 0
    finished: Finished = field(init=False)

    def __post_init__(self) -> None:
        kept = decisive("extract", asdict(self.settings), *OTHER_IMAGES)
        where = [self.hardware.device.type, self.hardware.precision]
        model = classifier_digest(self.classifier)
        chosen = {"thresholds": self.thresholds.values} if self.thresholds else {}
        self.finished = finished_of(self.out, settings=kept, model=model, hardware=where, **chosen)

    def _keys(self, part: Part) -> dict[str, str]:
        """What each image of a part is kept under."""
        return self.finished.keys(dict.fromkeys(part.ids, part.digest))

    def has(self, part: Part) -> bool:
        """Whether an earlier run made all arrays of a part."""
        return self.finished.has(self._keys(part))

    def keep(self, part: Part, items: Mapping[str, Arrays]) -> None:
        """Keep the arrays of a part."""
        number = self.made * world_size() + rank()  # no other rank's, which may write into this folder
        shard = write_shard(self.finished.folder, number, items)
        self.made += 1
        self.finished.keep(self._keys(part), shard, self.finished.folder)

    def join(self, split: Split, parts: Sequence[Part], classes: Sequence[str]) -> None:
        """Write the shards of a split, and their index.

        Raises:
            StoreError: if arrays have gone that were there
        """
        folder, shards = self.out / split, list[Shard]()
        for number, of_shard in groupby(parts, key=lambda part: part.shard):
            keys = {image_id: key for part in of_shard for image_id, key in self._keys(part).items()}
            shard, name = self.finished.join(keys, number, folder)
            shards.append(shard)
            self.kept.append(name)
        about = {
            "classes": list(classes),
            "scale": self.settings.scale,
            "percentile": self.settings.percentile,
            "loss": self.classifier.design.loss,
        }
        finish(folder, shards, about)

    def counts(self, reused: int, test_labels_ignored: int) -> Counts:
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
            images_reused=reused,
            maps=maps,
            constant_maps=constant,
            test_labels_ignored=test_labels_ignored,
            device=str(self.hardware.device),
            precision=self.hardware.precision,
        )
