"""Maps to answers: resize, decode, refine; in processes, for the CRF holds the interpreter lock.

What is stored for an image: `before` and `after`, the bytes of a PNG of mode L at the picture's size, without and with
the CRF.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from pipeline.errors import MapError
from pipeline.images import encode_png, read_rgb, resize
from pipeline.localize.crf import refine_probabilities
from pipeline.localize.decode import Answer, Evidence, decode
from pipeline.manifest import Manifest
from pipeline.settings.refine import RefineSettings
from pipeline.store import Arrays, Part, Store, finish, images_per_part, write_part
from pipeline.tracks import MOST_CLASSES

Work = list[tuple[str, Path]]  # image id and file


def refine(manifest: Manifest, maps: Path, out: Path, settings: RefineSettings) -> dict[str, Any]:
    """Answer every image that has maps; return the counts.

    Raises:
        MapError: naming the image that could not be refined; or if there are more classes than a label map holds
        StoreError: if the maps are incomplete
    """
    store = Store(maps)
    _check_class_count(len(store.about["classes"]), settings.decoder)
    files = {record.id: record.file for record in manifest.with_ids(store.ids)}
    unknown = [image_id for image_id in store.ids if image_id not in files]
    if unknown:
        raise MapError(
            f"{maps}: expected maps of images in the manifest, got others, such as {unknown[0]!r}; likely of another run"
        )
    work = [(image_id, files[image_id]) for image_id in store.ids]
    size = images_per_part(len(work), settings.part_size)
    chunks = [work[start : start + size] for start in range(0, len(work), size)]
    # workers get paths and ids: arrays would be copied to every one of them
    tasks = (joblib.delayed(_refine_part)(chunk, number, maps, out, settings) for number, chunk in enumerate(chunks))
    parts = []
    with tqdm(total=len(work), desc="refine", unit="image") as bar:
        for part in joblib.Parallel(n_jobs=settings.jobs, return_as="generator_unordered")(tasks):
            parts.append(part)
            bar.update(len(part.ids))
    finish(out, parts, {"decoder": settings.decoder, "crf": settings.crf.enabled, "classes": store.about["classes"]})
    return {
        "images": len(work),
        "crf_iterations": settings.crf.iterations if settings.crf.enabled else 0,
        "decoder": settings.decoder,
    }


def _check_class_count(classes: int, decoder: str) -> None:
    if decoder != "foreground" and classes > MOST_CLASSES:
        raise MapError(
            f"refine.decoder {decoder!r}: expected at most {MOST_CLASSES} classes, got {classes}; a label map has one byte for "
            "a pixel, and 255 marks ignored ones"
        )


def _refine_part(work: Work, number: int, maps: Path, out: Path, settings: RefineSettings) -> Part:
    cv2.setNumThreads(1)  # the processes are the parallelism
    store = Store(maps)
    return write_part(
        out,
        number,
        {image_id: _as_arrays(refine_image(store.read(image_id), file, image_id, settings)) for image_id, file in work},
    )


def refine_image(arrays: Arrays, file: Path, image_id: str, settings: RefineSettings) -> Answer:
    """Answer one image from its stored maps and its pixels.

    Raises:
        MapError: naming the image
    """
    picture = read_rgb(file)
    height, width = picture.shape[:2]
    evidence = Evidence(
        scaled=np.stack([resize(cam, (height, width)) for cam in arrays["maps"].astype(np.float32)]),
        classes=arrays["classes"],
        probabilities=arrays["probabilities"].astype(np.float32)[arrays["classes"]],
        known=bool(arrays.get("known", [False])[0]),
    )
    sharpen = partial(refine_probabilities, picture, settings=settings.crf) if settings.crf.enabled else None
    try:
        return decode(evidence, settings, sharpen)
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None


def _as_arrays(answer: Answer) -> Arrays:
    return {
        name: np.frombuffer(encode_png(pixels), np.uint8) for name, pixels in (("before", answer.before), ("after", answer.after))
    }


def check_decoder(decoder: str, allowed: Sequence[str], track: str) -> None:
    """Refuse a decoder of the other track.

    Raises:
        MapError: naming the ones that fit
    """
    if decoder not in allowed:
        raise MapError(
            f"tracks.{track}.refine.decoder: expected one of {list(allowed)}, got {decoder!r}; it belongs to the other track"
        )
