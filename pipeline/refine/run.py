"""Stage `refine`: maps to predictions; in processes, because the CRF holds the interpreter lock.

What is stored for an image: `before` and `after`, the bytes of a PNG of mode L at the image's size, without and with
the CRF; where there is also a map of the true class, `label_before` and `label_after` of that one, for scoring only.
Of label maps of known classes also `foreground`, 255 times the probability of the foreground, by which the student
leaves out pixels that are not certain; or `target`, what it learns, where `target_backgrounds` asks for it.

Images are refined in tasks of a few, so that any number of processes is busy to the end. A task keeps its results in
the scratch folder of `core.reuse`; at the end they are joined into the few files of the stores, and a run that was
stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.archives import content_digest
from pipeline.core.errors import MapError
from pipeline.core.images import encode_png, read_rgb
from pipeline.core.manifest import SPLITS, Manifest, Record, Split, stored_size
from pipeline.core.parallel import worker_count
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.core.reuse import Finished, arrays_digest, finished_of
from pipeline.core.settings import decisive
from pipeline.core.store import Arrays, Store, divide, finish, open_store, write_shard
from pipeline.core.tracks import MOST_CLASSES
from pipeline.refine.affinity import LocalAffinity
from pipeline.refine.crf import MOST_PIXELS, DenseCRF, kernels_of, prepare
from pipeline.refine.outputs import Prediction, Refine, predict_image, read_evidence
from pipeline.refine.settings import AffinitySettings, CrfSettings, RefineSettings, wrong_output

Work = dict[str, Path]  # image files by id
TASK = 32  # images at most: what a process has not kept yet is lost when a run is stopped
TURNS = 16  # tasks of each process at least, where there are enough images: all end at about the same time


@dataclass(frozen=True, slots=True)
class Counts:
    """What the stage did, for `refine.json`."""

    images: int
    images_reused: int
    crf_iterations: int  # 0 where the CRF is switched off
    crf_bounded: int  # images of more than `MOST_PIXELS`, whose CRF is computed at a smaller size
    output: str


def refine(manifest: Manifest, maps: Path, out: Path, settings: RefineSettings) -> Counts:
    """Predict every image that has maps, into a store for each split; return the counts.

    Raises:
        MapError: naming the image that could not be refined; or if there are more classes than a label map holds
        StoreError: if the maps are incomplete
    """
    store = Store(maps)
    _check_class_count(len(store.about["classes"]), settings.output)
    work = _work(manifest, store)
    finished = finished_of(out, settings=decisive("refine", asdict(settings), "shard_size"))
    shards = {split: divide(list(work[split]), settings.shard_size) for split in SPLITS}
    size = task_size(sum(map(len, work.values())), settings)
    tasks = [
        {image_id: work[split][image_id] for image_id in ids[start : start + size]}
        for split in SPLITS
        for ids in shards[split]
        for start in range(0, len(ids), size)
    ]
    prepare(settings.crf)
    keys, reused = _refine_all(tasks, maps, settings, finished)
    about = {"output": settings.output, "crf": settings.crf.enabled, "classes": store.about["classes"]}
    kept = []
    for split in SPLITS:
        written = [
            finished.join({image_id: keys[image_id] for image_id in ids}, number, out / split)
            for number, ids in enumerate(shards[split])
        ]
        finish(out / split, [shard for shard, _ in written], about)
        kept += [name for _, name in written]
    finished.end(kept)
    if not settings.crf.enabled:
        return Counts(len(store), reused, 0, 0, settings.output)
    bounded = sum(_is_bounded(record, settings.crf) for record in manifest.with_ids(store.ids))
    return Counts(len(store), reused, settings.crf.iterations, bounded, settings.output)


def _is_bounded(record: Record, settings: CrfSettings) -> bool:
    width, height = stored_size(record)
    return settings.scale**2 * width * height > MOST_PIXELS


def task_size(images: int, settings: RefineSettings) -> int:
    """Images of one task: few enough that every process has `TURNS` tasks, whatever the size of the shards.

    >>> from types import SimpleNamespace
    >>> [task_size(1210, SimpleNamespace(jobs=jobs, shard_size=1024)) for jobs in (2, 16, 64, 512)]
    [32, 4, 1, 1]
    """
    return max(1, min(TASK, settings.shard_size, images // (TURNS * worker_count(settings.jobs))))


def _work(manifest: Manifest, store: Store) -> dict[Split, Work]:
    """The images that have maps, by split: their files by id.

    Raises:
        MapError: if the manifest lacks one
    """
    records = {record.id: record for record in manifest.with_ids(store.ids)}
    if unknown := [image_id for image_id in store.ids if image_id not in records]:
        raise MapError(
            f"{store.folder}: expected maps of images in the manifest, got others, such as {unknown[0]!r}; likely of "
            "another run"
        )
    work: dict[Split, Work] = {split: {} for split in SPLITS}
    for image_id in sorted(store.ids):
        work[records[image_id].split][image_id] = records[image_id].file
    return work


def _check_class_count(classes: int, output: str) -> None:
    if output != "score_map" and classes > MOST_CLASSES:
        raise MapError(
            f"refine.output {output!r}: expected at most {MOST_CLASSES} classes, got {classes}; a label map has one "
            "byte for a pixel, and 255 marks ignored ones"
        )


def _refine_all(
    tasks: Sequence[Work], maps: Path, settings: RefineSettings, finished: Finished
) -> tuple[dict[str, str], int]:
    """Refine the images of all tasks, in processes.

    Returns:
        the key under which each image is kept, and how many images an earlier run had kept
    """
    # workers get paths and ids: arrays would be copied to every one of them
    run = partial(_refine_task, maps=maps, settings=settings, finished=finished)
    results = in_processes(run, enumerate(tasks), settings.jobs, ordered=False)
    keys, reused = dict[str, str](), 0
    with progress(total=sum(map(len, tasks)), title="refine") as bar:
        for done, again in results:
            keys |= done
            reused += again
            bar.update(len(done))
    return keys, reused


def _refine_task(
    task: tuple[int, Work], *, maps: Path, settings: RefineSettings, finished: Finished
) -> tuple[dict[str, str], int]:
    """Some images, in a process of its own; they are kept at once, so that a run that is stopped loses few.

    Returns as `_refine_all`.
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    number, work = task
    store = open_store(maps)
    keys = finished.keys(
        {image_id: [content_digest(file), arrays_digest(store.read(image_id))] for image_id, file in work.items()}
    )
    found = finished.find(keys)
    made = {
        image_id: _refined(store.read(image_id), file, image_id, settings)
        for image_id, file in work.items()
        if image_id not in found
    }
    if made:
        shard = write_shard(finished.folder, number, made)
        finished.keep({image_id: keys[image_id] for image_id in made}, shard, finished.folder)
    return keys, len(found)


def _refined(arrays: Arrays, file: Path, image_id: str, settings: RefineSettings) -> Arrays:
    """What is stored of one image."""
    prediction = refine_image(arrays, file, image_id, settings)
    stored = as_arrays(prediction)
    if prediction.foreground is not None and bool(arrays.get("known", [False])[0]):
        stored = {**stored, "foreground": encode(prediction.foreground)}  # how certain a target is
    if prediction.target is not None:
        stored = {**stored, "target": encode(prediction.target)}
    if "label_maps" not in arrays:
        return stored
    of_label = as_arrays(refine_image({**arrays, "maps": arrays["label_maps"]}, file, image_id, settings))
    return {**stored, **{f"label_{name}": data for name, data in of_label.items()}}


def refine_image(arrays: Arrays, file: Path, image_id: str, settings: RefineSettings) -> Prediction:
    """Predict one image from its stored maps and its pixels.

    Raises:
        MapError: naming the image
    """
    return refine_pixels(arrays, read_rgb(file), image_id, settings)


def refine_pixels(arrays: Arrays, image: NDArray[np.uint8], image_id: str, settings: RefineSettings) -> Prediction:
    """As `refine_image`, for an image that is decoded already. Shape: (H, W, 3), RGB"""
    evidence = read_evidence(arrays, (image.shape[0], image.shape[1]))
    try:
        return predict_image(evidence, settings, crf_of(image, settings.crf), affinity_of(image, settings.affinity))
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None


def crf_of(image: NDArray[np.uint8], settings: CrfSettings) -> Refine | None:
    """The CRF of one image, None where it is switched off. Its kernels serve every unary: a target costs two more."""
    if not settings.enabled:
        return None
    crf = DenseCRF(image, kernels_of(settings), settings.backend, settings.scale)
    return partial(crf.infer, iterations=settings.iterations)


def affinity_of(image: NDArray[np.uint8], settings: AffinitySettings) -> Refine | None:
    """The averages over neighbors of one image, None where they are switched off."""
    if not settings.iterations:
        return None
    return partial(LocalAffinity(image, settings.dilations).average, iterations=settings.iterations)


def as_arrays(prediction: Prediction) -> Arrays:
    """A prediction as it is stored: bytes of a PNG each."""
    return {"before": encode(prediction.before), "after": encode(prediction.after)}


def encode(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of a PNG as an array, as a store holds them."""
    return np.frombuffer(encode_png(pixels), np.uint8)


def check_output(output: str, allowed: Sequence[str], track: str) -> None:
    """Refuse an output of the other track.

    Raises:
        MapError: naming the ones that fit
    """
    if output not in allowed:
        raise MapError(f"tracks.{track}.{wrong_output(output, allowed)}")
