"""Stage `student`: train a segmentation network on the run's own refined predictions, and predict with it.

What is stored for an image: `before` and `after`, as the stage `refine` stores them. The stores of val and test have
what the network predicts, that of train the targets that a random walk made, if there is one. Where the stage is
switched off its stores are empty, and the refined maps are the predictions of the run.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from pipeline.core.device import Hardware
from pipeline.core.distributed import deal, is_first, wait, world_size
from pipeline.core.errors import StoreError, TrainError
from pipeline.core.files import write_text
from pipeline.core.manifest import Manifest, Split, stored_shape
from pipeline.core.processes import in_processes, jobs_of_rank
from pipeline.core.progress import progress
from pipeline.core.scratch import Scratch
from pipeline.core.store import Arrays, Store, divide, finish, join_shard, read_once, shard_bytes, write_shard
from pipeline.core.tracks import Track
from pipeline.extract.plan import Job
from pipeline.models.backbones import normalization_of
from pipeline.models.weights import load_weights
from pipeline.refine.crf import prepare
from pipeline.student.fit import MakeFeatures, fit_student, keep_features
from pipeline.student.network import StudentDesign, StudentNetwork, fuse_student, save_student
from pipeline.student.outs import HISTORY, Paths, about_classes
from pipeline.student.predict import as_probabilities, make_job, predict_jobs
from pipeline.student.refine import Probabilities, refine_stored
from pipeline.student.settings import StudentSettings
from pipeline.student.targets import TrainImages, choose_train_images, read_label_target, read_score
from pipeline.student.views import PairDataset, Pixels
from pipeline.student.walked_targets import ScoreRule, Walker, fit_affinity, walk_settings
from pipeline.train.trainer import Training

IMAGES_PER_SHARD = 256  # at least
CHUNK = 64  # images whose probabilities are in memory at once
PREDICTED: tuple[Split, ...] = ("val", "test")
Predict = Callable[[Sequence[Job]], Iterable[tuple[Job, Probabilities]]]  # images to what is refined of them


def student(
    manifest: Manifest,
    paths: Paths,
    settings: StudentSettings,
    track: Track,
    hardware: Hardware,
    scratch: Scratch,
    classifier: int = 0,
    limit: int = 0,
    rule: ScoreRule | None = None,
) -> dict[str, Any]:
    """Train, predict split val and test, and return the contents of `student.json`.

    Args:
        scratch: where each step keeps what it has finished, for a stage that was stopped; the predictions of split
            train after a round lie there, too
        classifier: parameters of the classifier, which count beside those of the student
        limit: of both together; 0: no limit
        rule: of the stage `refine`; needed where `random_walk` is enabled

    Raises:
        TrainError: if there is nothing to learn from, or both networks together are too large
        DataError, MapError: naming the image that cannot be read or refined
    """
    prepare(settings.crf)
    refined = Store(paths.refined)
    images = choose_train_images(manifest, refined, one_label=track.task == "localization")
    outputs = 1 if track.task == "localization" else len(manifest.classes) + 1
    network = new_network(settings, outputs, hardware)
    check_size(network, classifier, limit)
    source = TargetSource(refined, images, settings, is_label=outputs > 1)
    features = _shared_features(network, source, hardware, scratch)
    teacher, facts = _first_teacher(manifest, network, source, paths, rule, hardware, features, scratch)
    trainings = list[Training]()
    for number in range(settings.rounds):
        if number:
            round_before = scratch.folder / f"round-{number}"
            _predict_split(manifest, "train", network, paths.maps, round_before, settings, hardware, scratch, images)
            teacher, network = Store(round_before), new_network(settings, outputs, hardware)
        source = replace(source, teacher=teacher)
        trainings.append(
            fit_student(
                network,
                source.dataset,
                settings,
                hardware,
                features=features,
                scratch=scratch,
                name=f"student-{number + 1}",
            )
        )
    del features  # gigabytes
    if is_first():
        save_student(network, paths.model)
        write_history(paths.history, trainings)
    counts = {
        split: _predict_split(manifest, split, network, paths.maps, paths.out / split, settings, hardware, scratch)
        for split in PREDICTED
    }
    return {**_describe(track, source, network, trainings[-1], sum(counts.values()), hardware), **facts}


def _shared_features(
    network: StudentNetwork, source: "TargetSource", hardware: Hardware, scratch: Scratch
) -> MakeFeatures | None:
    """Makes the features of all views when a training first asks for them, where they are kept.

    Every training shares them: the backbone is frozen and starts from the same weights, and views do not depend on
    targets. Trainings that an earlier run has finished need none.
    """
    if not source.settings.keeps_features:
        return None
    return cache(partial(keep_features, network, source.dataset, source.settings, hardware, scratch))


def _first_teacher(
    manifest: Manifest,
    network: StudentNetwork,
    source: "TargetSource",
    paths: Paths,
    rule: ScoreRule | None,
    hardware: Hardware,
    features: MakeFeatures | None,
    scratch: Scratch,
) -> tuple[Store, dict[str, Any]]:
    """The store that the first round learns from, and what the report says of the random walk, if there is one.

    What has walked is stored, and taught instead of the refined predictions; without a walk, that store is left empty.
    The walk uses the network's backbone and leaves the network as it is.
    """
    if not source.settings.random_walk.enabled:
        if is_first():
            finish(paths.walked, [], about_classes(manifest, class_agnostic=not source.is_label))
        return source.teacher, {}
    assert rule is not None  # the stage script reads it
    settings = walk_settings(source.settings)
    net, training = fit_affinity(network, source.dataset, settings, hardware, features, scratch)
    predict = Walker(fuse_student(network.eval()), net, Store(paths.maps), rule, settings, hardware).predict
    ids = sorted(source.images.ids)
    _write_split(manifest, "train", ids, predict, paths.walked, settings, scratch, class_agnostic=not source.is_label)
    facts = {
        "parameters": net.parameter_count(),
        "train_loss": training.best.train_loss,
        "first_loss": training.history[0].train_loss,
    }
    return Store(paths.walked), {"random_walk": facts}


def _describe(
    track: Track, source: "TargetSource", network: StudentNetwork, last: Training, predicted: int, hardware: Hardware
) -> dict[str, Any]:
    """What the report says of the student."""
    return {
        "enabled": True,
        "track": track.name,
        "train_images": len(source.images.ids),
        "train_images_left_out": dict(source.images.left_out),
        "images": predicted,
        "parameters": network.parameter_count(),
        "train_loss": last.best.train_loss,
        "device": str(hardware.device),
        "precision": hardware.precision,
        "world_size": world_size(),
        "settings": asdict(source.settings),
    }


def new_network(settings: StudentSettings, outputs: int, hardware: Hardware) -> StudentNetwork:
    """A network with its initial weights, on its device; the same at every call.

    Raises:
        TrainError: if weights cannot be loaded, or the backbone gives no maps of several strides
    """
    torch.manual_seed(settings.seed)
    network = StudentNetwork(make_design(settings, outputs))
    load_weights(network.backbone, settings.backbone, "student.backbone")
    return network.to(hardware.device).to(memory_format=torch.channels_last)


def check_size(network: StudentNetwork, classifier: int, limit: int) -> None:
    """Refuse a network that is too large for the challenge beside the classifier.

    Raises:
        TrainError: if both have `limit` parameters or more; 0 is no limit
    """
    count = network.parameter_count()
    if limit and classifier + count >= limit:
        raise TrainError(f"student.backbone.name: {too_large(network.design.backbone, count, classifier, limit)}")


def too_large(name: str, count: int, classifier: int, limit: int) -> str:
    """What is wrong with a network of `count` parameters beside the classifier, and the way out.

    >>> print(too_large("resnet50", 30, 120, 150).partition("; ")[0])
    expected fewer than 150 parameters in all, got 150: 30 of 'resnet50' and 120 of the classifier
    """
    return (
        f"expected fewer than {limit:,} parameters in all, got {classifier + count:,}: {count:,} of {name!r} and "
        f"{classifier:,} of the classifier; the challenge allows inference models under 150 million in all, "
        "train.parameter_limit 0 switches this check off"
    )


def make_design(settings: StudentSettings, outputs: int) -> StudentDesign:
    """The design that the settings describe."""
    backbone, decoder = settings.backbone, settings.decoder
    return StudentDesign(
        backbone=backbone.name,
        output_stride=backbone.output_stride,
        decoder=decoder.name,
        width=decoder.width,
        dropout=decoder.dropout,
        outputs=outputs,
        normalization=normalization_of(backbone),
    )


@dataclass(frozen=True, slots=True)
class TargetSource:
    """The train images with the targets of one round; holds no pixels, so that it can be sent to reading processes."""

    teacher: Store
    images: TrainImages
    settings: StudentSettings
    is_label: bool

    def dataset(self, epoch: int) -> PairDataset:
        """The views of one epoch."""
        settings = self.settings
        return PairDataset(self.images.files, self.target, self.is_label, settings.views, settings.seed, epoch)

    def target(self, position: int) -> Pixels:
        """The target of one image. Shape: (H, W)"""
        image_id = self.images.ids[position]
        if self.is_label:
            return read_label_target(self.teacher, image_id, self.images.labels[position], self.settings.targets)
        return read_score(self.teacher, image_id)


def _predict_split(
    manifest: Manifest,
    split: Split,
    network: StudentNetwork,
    maps: Path,
    out: Path,
    settings: StudentSettings,
    hardware: Hardware,
    scratch: Scratch,
    targets: TrainImages | None = None,
) -> int:
    """Predict the images of a split that have maps into a store; return how many there are.

    Args:
        targets: only these images, of the classes of their labels
    """
    store = Store(maps)
    labels = dict(zip(targets.ids, targets.labels, strict=True)) if targets else {}
    found = (record.id for record in manifest.select(split) if record.id in store)
    wanted = sorted(labels if targets else found)
    fused = fuse_student(network.eval())
    predict = partial(_predict, network=fused, maps=store, labels=labels, settings=settings, hardware=hardware)
    _write_split(manifest, split, wanted, predict, out, settings, scratch, class_agnostic=network.design.outputs == 1)
    return len(wanted)


def _predict(
    jobs: Sequence[Job],
    network: StudentNetwork,
    maps: Store,
    labels: Mapping[str, tuple[int, ...]],
    settings: StudentSettings,
    hardware: Hardware,
) -> Iterator[tuple[Job, Probabilities]]:
    """What the network says of the classes that may be."""
    for job, found in predict_jobs(network, jobs, settings, hardware):
        yield job, as_probabilities(found, maps.read(job.id), labels.get(job.id, ()), settings)


def _write_split(
    manifest: Manifest,
    split: Split,
    wanted: Sequence[str],
    predict: Predict,
    out: Path,
    settings: StudentSettings,
    scratch: Scratch,
    class_agnostic: bool,
) -> None:
    """Refine what is predicted of the wanted images, into a store; each chunk is kept as soon as it is refined.

    Chunks are dealt to the ranks; rank 0 joins them when all are kept.
    """
    records = {record.id: record for record in manifest.select(split)}
    shards = divide(wanted, IMAGES_PER_SHARD)
    chunks = [chunk for number, ids in enumerate(shards) for chunk in _chunks(f"{out.name}-{number}", ids)]
    with progress(total=len(wanted), title=f"student, {split}") as bar:
        for place in deal(len(chunks)):
            name, ids = chunks[place]
            if scratch.find(name) is None:
                shapes = {image_id: stored_shape(records[image_id]) for image_id in ids}
                jobs = [make_job(image_id, records[image_id].file, shapes[image_id], settings) for image_id in ids]
                scratch.folder.mkdir(parents=True, exist_ok=True)
                with TemporaryDirectory(dir=scratch.folder, prefix="chunk-") as folder:
                    items = _refine_chunk(predict, jobs, settings, Path(folder))
                scratch.keep(name, shard_bytes(items))
            bar.update(len(ids))
    wait()
    if is_first():
        written = [
            join_shard(out, number, _kept_files(scratch, _chunks(f"{out.name}-{number}", ids)))
            for number, ids in enumerate(shards)
        ]
        finish(out, written, about_classes(manifest, class_agnostic))
    wait()


def _chunks(name: str, ids: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The chunks of a shard, each with the name that it is kept under."""
    for start in range(0, len(ids), CHUNK):
        yield f"{name}-{start:09d}", ids[start : start + CHUNK]


def _kept_files(scratch: Scratch, chunks: Iterable[tuple[str, Sequence[str]]]) -> dict[str, Path]:
    """The file of each image of kept chunks, in their order.

    Raises:
        StoreError: if a chunk has gone that was kept
    """
    files: dict[str, Path] = {}
    for name, ids in chunks:
        part = scratch.find(name)
        if part is None:
            raise StoreError(
                f"{scratch.folder}: expected the part {name}, found none; likely removed or damaged while the stage ran"
            )
        files |= dict.fromkeys(ids, part)
    return files


def _refine_chunk(predict: Predict, jobs: Sequence[Job], settings: StudentSettings, folder: Path) -> dict[str, Arrays]:
    """The probabilities on the device, then the CRF in processes; both hand arrays over as files in `folder`."""
    found = {job.id: (job.file, probabilities) for job, probabilities in predict(jobs)}
    write_shard(folder, 0, {image_id: asdict(probabilities) for image_id, (_, probabilities) in found.items()})
    tasks = [(number, file, image_id) for number, (image_id, (file, _)) in enumerate(found.items(), start=1)]
    shards = in_processes(partial(refine_stored, folder=folder, settings=settings), tasks, jobs_of_rank(settings.jobs))
    return {image_id: read_once(folder / file, image_id) for (_, _, image_id), file in zip(tasks, shards, strict=True)}


def write_history(path: Path, trainings: Sequence[Training]) -> None:
    """A row for each epoch of each round."""
    rows = [
        {"round": number + 1, "epoch": epoch.epoch, "train_loss": epoch.train_loss, "seconds": epoch.seconds}
        for number, training in enumerate(trainings)
        for epoch in training.history
    ]
    table = pd.DataFrame(rows, columns=HISTORY)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
