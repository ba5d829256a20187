"""The probabilities of the student to a prediction of one image: the CRF, and what is stored.

Without torch, which would take seconds in each of the processes that do this.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.core.images import read_rgb, resize, score_to_uint8
from pipeline.core.store import Arrays, read_once, shard_name, write_shard
from pipeline.refine.outputs import Prediction, decode_labels, in_shape, refine_score
from pipeline.refine.run import as_arrays, crf_of, encode
from pipeline.student.settings import StudentSettings


@dataclass(frozen=True, slots=True, eq=False)
class Probabilities:
    """What the network says of one image.

    Attributes:
        maps: Track 3: of the foreground; Track 1: of the background and of each class that may be, adding up to 1.
            Shape: (1, h, w) or (1 + P, h, w), float16
        classes: class index of each map after the background; empty in Track 3. Shape: (P,), int32
    """

    maps: NDArray[np.float16]
    classes: NDArray[np.int32]


def refine_stored(task: tuple[int, Path, str], folder: Path, settings: StudentSettings) -> str:
    """Refine one image: a task of a process. Arrays come and go in files, because a cluster would send them.

    Args:
        task: its number in the folder, from 1; the file of the image, and its id
        folder: shard 0 has what the network says of the image

    Returns:
        the name of the shard with what `refine_file` returns
    """
    number, file, image_id = task
    found = Probabilities(**read_once(folder / shard_name(0), image_id))
    return write_shard(folder, number, {image_id: refine_file(file, image_id, found, settings)}).file


def refine_file(file: Path, image_id: str, found: Probabilities, settings: StudentSettings) -> Arrays:
    """What is stored of one image: `before` and `after` as in `refine`, and `foreground` in Track 1.

    Args:
        found: what the network says of the image
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    prediction = refine_student(read_rgb(file), image_id, found, settings)
    stored = dict(as_arrays(prediction))
    return stored if prediction.foreground is None else {**stored, "foreground": encode(prediction.foreground)}


def refine_student(
    image: NDArray[np.uint8], image_id: str, found: Probabilities, settings: StudentSettings
) -> Prediction:
    """The prediction of one image, before and after the CRF. Shape: (H, W, 3), RGB

    Raises:
        MapError: naming the image
    """
    shape = (image.shape[0], image.shape[1])
    maps = np.stack([resize(level, shape) for level in found.maps.astype(np.float32)])
    try:
        refine = crf_of(image, settings.crf)
        if not len(found.classes):
            foreground = np.clip(maps[0], 0.0, 1.0)
            before = score_to_uint8(foreground)
            after = before if refine is None else refine_score(foreground**settings.exponent, refine)
            return in_shape(Prediction(before, after), settings.shape)
        maps[1:] **= settings.exponent
        return decode_labels(maps / maps.sum(axis=0, keepdims=True), found.classes, refine)
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None
