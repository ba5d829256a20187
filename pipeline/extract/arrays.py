"""The stored arrays of an image: maps of its classes on a common scale, and what describes them.

`maps` (P, h, w) float16 at feature resolution, scaled so that 1 is the standard, not clipped; `classes` (P,) int32,
most probable first; `standard` (P, 2) float32, the low and the unit that give the raw map back; `probabilities` (K,)
float16 of all classes; `predicted` (1,) int32, the class of the largest logit; `known` (1,) bool, whether the classes
are the image's labels. For val images of Track 3 whose first map is of another class than their label, for scoring
only: `label_maps` (1, h, w) and `label_standard` (1, 2), of the label.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import MapError
from pipeline.core.images import resize
from pipeline.core.store import Arrays
from pipeline.extract.network import View, mean_logits, raw_maps_of, wanted_classes
from pipeline.extract.plan import Job
from pipeline.extract.scale import find_standard, scale_maps
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier


@torch.inference_mode()
def image_arrays(
    batch: Sequence[Job], views: Sequence[View], classifier: Classifier, settings: ExtractSettings
) -> dict[str, Arrays]:
    """The arrays of each image of a batch, by image id.

    Raises:
        MapError: naming the image whose map is not finite
    """
    logits = mean_logits(classifier, views)
    most = max(settings.max_classes, *(len(job.labels) for job in batch))  # no known label is left out
    wanted = wanted_classes(logits, [job.labels for job in batch], most)
    predicted = wanted_classes(logits, [()] * len(batch), 1)[:, 0]  # (N,)
    maps = raw_maps_of(classifier, views, wanted, settings)
    columns = (wanted.cpu().numpy(), classifier.probabilities(logits).cpu().numpy(), predicted.cpu().numpy())
    items: dict[str, Arrays] = {}
    for n, (job, classes, probabilities, top) in enumerate(zip(batch, *columns, strict=True)):
        items[job.id] = _stored(job, maps[n], classes, probabilities, int(top), settings)
    for image_id, arrays in _label_arrays(batch, views, wanted[:, 0], logits, classifier, settings).items():
        items[image_id] = {**items[image_id], **arrays}
    return items


def _label_arrays(
    batch: Sequence[Job],
    views: Sequence[View],
    first: Tensor,
    logits: Tensor,
    classifier: Classifier,
    settings: ExtractSettings,
) -> dict[str, Arrays]:
    """Maps of the true class, for images to be scored by it whose first map is of another one. `first`: (N,)"""
    true = wanted_classes(logits, [job.true for job in batch], 1)  # (N, 1), the prediction where no label is known
    apart = [n for n, job in enumerate(batch) if job.true and true[n, 0] != first[n]]
    if not apart:
        return {}
    maps = raw_maps_of(classifier, views, true, settings)  # of the whole batch: a part of it could round differently
    return {batch[n].id: _scaled(batch[n], maps[n], settings, "label_") for n in apart}


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
    return scale_maps(cams, standards, prefix)


def _kept(
    job: Job, classes: NDArray[np.int64], probabilities: NDArray[np.float32], settings: ExtractSettings
) -> NDArray[np.int64]:
    """Positions in `classes`: exactly the known labels; or the most probable and all that reach `min_probability`."""
    if job.labels:
        return np.arange(min(len(job.labels), len(classes)))
    kept = probabilities[classes] >= settings.min_probability
    kept[settings.max_classes :] = False
    kept[0] = True
    return np.flatnonzero(kept)
