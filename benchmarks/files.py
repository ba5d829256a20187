"""What is written: the submission, and the stores between the stages."""

import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.samples import REPEATS, SHAPE, blob, in_turn, noisy_map, ratios
from pipeline.core.archives import write_zip
from pipeline.core.images import encode_png, resize, score_to_uint8
from pipeline.core.store import Store, finish, write_shard
from pipeline.evaluate.peak_iou import PeakIoU
from pipeline.package.validate import validate

IMAGES = 24
SPLIT = 500  # images of a store
CELLS = (24, 24)  # of a map: 384 pixels at stride 16
CLASSES = 200


def package_zip() -> list[float]:
    """Score maps to a checked submission: `cv2.imwrite`, `zipfile`, read again / ours, which is not larger.

    The reference stores PNGs as they are, the default of `zipfile`. Ours encodes (in `refine`), writes the zip and
    checks every member as the server would: header, checksums, pixels.
    """
    scores = {f"{n:05d}": _score(n) for n in range(IMAGES)}
    expected = dict.fromkeys(scores, SHAPE[::-1])
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        plain, own = folder / "plain.zip", folder / "own.zip"

        def theirs() -> None:
            with zipfile.ZipFile(plain, "w") as archive:
                for image_id, score in scores.items():
                    cv2.imwrite(str(folder / f"{image_id}.png"), score)
                    archive.write(folder / f"{image_id}.png", f"{image_id}.png")
            with zipfile.ZipFile(plain) as archive:
                for member in archive.namelist():
                    assert cv2.imdecode(np.frombuffer(archive.read(member), np.uint8), cv2.IMREAD_UNCHANGED) is not None

        def ours() -> None:
            write_zip(own, ((f"{image_id}.png", encode_png(score)) for image_id, score in scores.items()))
            validate(own, expected, 255)

        seconds = in_turn([theirs, ours])
        assert own.stat().st_size <= plain.stat().st_size, "ours is larger"
    return ratios(*seconds)


def _score(seed: int) -> NDArray[np.uint8]:
    """A map at full size, every second one with the steep edges that a CRF leaves. Shape: SHAPE"""
    full = resize(noisy_map(seed, CELLS), SHAPE)
    return score_to_uint8(np.clip(full, 0, 1) if seed % 2 else 1 / (1 + np.exp(-20 * (full - 0.5))))


def store_bytes() -> list[float]:
    """Bytes of maps at full size as float32 `.npy` / bytes of our store with its index; the same in every repeat.

    One map an image, at stride 16 of 384 pixels. The store has all arrays that `extract` writes but the probabilities
    of all classes, which are no part of the maps: 0.5 KB an image with 200 classes. The peak IoU is the same to 0.001.
    """
    maps = {f"{n:05d}": noisy_map(n, CELLS) for n in range(SPLIT)}
    full = SPLIT * (np.prod(SHAPE) * 4 + 128)  # 128: the header of a .npy
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        shard = write_shard(folder, 0, {image_id: _stored(scaled) for image_id, scaled in maps.items()})
        finish(folder, [shard], {"classes": [str(k) for k in range(CLASSES)]})
        stored = sum(file.stat().st_size for file in folder.iterdir())
        store = Store(folder)
        lost = _peak(maps) - _peak({image_id: store.read(image_id)["maps"][0].astype(np.float32) for image_id in maps})
        assert abs(lost) <= 0.001, lost
    return [float(full / stored)] * REPEATS


def _stored(scaled: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """What `extract` stores of the map of an image."""
    return {
        "maps": scaled[None].astype(np.float16),
        "classes": np.zeros(1, np.int32),
        "standard": np.ones((1, 2), np.float32),
        "predicted": np.zeros(1, np.int32),
        "known": np.zeros(1, np.bool_),
    }


def _peak(maps: dict[str, NDArray[np.float32]]) -> float:
    """The peak IoU of the first maps at full size."""
    scorer = PeakIoU()
    for image_id in list(maps)[:100]:
        score = score_to_uint8(np.clip(resize(maps[image_id], SHAPE), 0, 1))
        scorer.accumulate(score, blob(int(image_id)) > 0.5, image_id)
    return scorer.compute().iou
