"""Stage `refine`: maps to predictions; in processes, because the CRF holds the interpreter lock.

What is stored for an image: `before` and `after`, the bytes of a PNG of mode L at the image's size, without and with
the CRF; where there is also a map of the true class, `label_before` and `label_after` of that one, for scoring only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.core.archives import content_digest
from pipeline.core.errors import MapError
from pipeline.core.images import encode_png, read_rgb
from pipeline.core.manifest import SPLITS, Manifest, Split
from pipeline.core.reuse import Finished, arrays_digest, finished_of
from pipeline.core.store import Arrays, Shard, Store, divide, finish, write_shard
from pipeline.core.tracks import MOST_CLASSES
from pipeline.refine.crf import refine_probabilities
from pipeline.refine.outputs import Prediction, predict_image, read_evidence
from pipeline.refine.settings import RefineSettings, wrong_output

Work = dict[str, Path]  # image files by id


@dataclass(frozen=True, slots=True)
class Counts:
    """What the stage did, for `refine.json`."""

    images: int
    images_reused: int
    crf_iterations: int  # 0 where the CRF is switched off
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
    decisive = {name: value for name, value in asdict(settings).items() if name not in ("jobs", "shard_size")}
    finished = finished_of(out, settings=decisive)
    # workers get paths and ids: arrays would be copied to every one of them
    run = joblib.delayed(partial(_refine_shard, maps=maps, out=out, settings=settings, finished=finished))
    tasks = [
        run({image_id: work[split][image_id] for image_id in ids}, number, split)
        for split in SPLITS
        for number, ids in enumerate(divide(list(work[split]), settings.shard_size))
    ]
    shards: dict[Split, list[Shard]] = {split: [] for split in SPLITS}
    kept, reused = [], 0
    with tqdm(total=len(store), desc="refine", unit="image") as bar:
        for split, shard, name, again in joblib.Parallel(n_jobs=settings.jobs, return_as="generator_unordered")(tasks):
            shards[split].append(shard)
            kept.append(name)
            reused += again
            bar.update(len(shard.ids))
    about = {"output": settings.output, "crf": settings.crf.enabled, "classes": store.about["classes"]}
    for split in SPLITS:
        finish(out / split, shards[split], about)
    finished.end(kept)
    return Counts(len(store), reused, settings.crf.iterations if settings.crf.enabled else 0, settings.output)


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


def _refine_shard(
    work: Work, number: int, split: Split, *, maps: Path, out: Path, settings: RefineSettings, finished: Finished
) -> tuple[Split, Shard, str, int]:
    """One shard of the store of a split, in a process of its own.

    The name it is kept under, how many images were used again.
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    store = Store(maps)
    keys = finished.keys(
        {image_id: [content_digest(file), arrays_digest(store.read(image_id))] for image_id, file in work.items()}
    )
    found = finished.find(keys)
    items = {
        image_id: found.get(image_id) or _refined(store.read(image_id), file, image_id, settings)
        for image_id, file in work.items()
    }
    shard = write_shard(out / split, number, items)
    return split, shard, finished.keep(keys, shard, out / split), len(found)


def _refined(arrays: Arrays, file: Path, image_id: str, settings: RefineSettings) -> Arrays:
    """What is stored of one image."""
    stored = _as_arrays(refine_image(arrays, file, image_id, settings))
    if "label_maps" not in arrays:
        return stored
    of_label = _as_arrays(refine_image({**arrays, "maps": arrays["label_maps"]}, file, image_id, settings))
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
    sharpen = partial(refine_probabilities, image, settings=settings.crf) if settings.crf.enabled else None
    try:
        return predict_image(evidence, settings, sharpen)
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None


def _as_arrays(prediction: Prediction) -> Arrays:
    return {
        name: np.frombuffer(encode_png(pixels), np.uint8)
        for name, pixels in (("before", prediction.before), ("after", prediction.after))
    }


def check_output(output: str, allowed: Sequence[str], track: str) -> None:
    """Refuse an output of the other track.

    Raises:
        MapError: naming the ones that fit
    """
    if output not in allowed:
        raise MapError(f"tracks.{track}.{wrong_output(output, allowed)}")
