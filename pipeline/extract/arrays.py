"""The stored arrays of an image: maps of its classes on a common scale, and what describes them.

`maps` (P, h, w) float16 at feature resolution, scaled so that 1 is the standard, not clipped; `classes` (P,) int32,
most probable first; `standard` (P, 2) float32, the low and the unit that give the raw map back; `probabilities` (K,)
float16 of all classes; `predicted` (1,) int32, the class of the largest logit; `known` (1,) bool, whether the classes
are the image's labels. Where this stage decides which classes the image has (`extract.class_thresholds`,
`extract.min_first_probability`), `present` (A,) int32, those among `classes`, perhaps none. For val images of Track 3
whose first map is of another class than their label, for scoring only: `label_maps` (1, h, w) and `label_standard`
(1, 2), of the label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.core.images import resize
from pipeline.core.store import Arrays
from pipeline.extract.network import View, class_logits, raw_maps_of, wanted_classes
from pipeline.extract.plan import Job
from pipeline.extract.scale import find_standard, scale_maps
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier

ClassThresholds = NDArray[np.float64] | None  # of each class, (K,); None: later stages have their own


@dataclass(frozen=True, slots=True, eq=False)
class RawMaps:
    """What the network says of a batch; on the device, or in main memory as arrays.

    Attributes:
        jobs: the N images
        maps: raw maps of the wanted classes. Shape: (N, P, h, w)
        classes: their class indices, the most wanted first. Shape: (N, P)
        probabilities: of all classes. Shape: (N, K)
        predicted: the class of the largest logit. Shape: (N, 1)
        true_maps: of the true class, where there are images to be scored by it. Shape: (N, 1, h, w)
        true_classes: the most probable label of each image, its prediction where none is known. Shape: (N, 1)
    """

    jobs: Sequence[Job]
    maps: Any
    classes: Any
    probabilities: Any
    predicted: Any
    true_maps: Any = None
    true_classes: Any = None


def image_arrays(
    batch: Sequence[Job],
    views: Sequence[View],
    classifier: Classifier,
    settings: ExtractSettings,
    thresholds: ClassThresholds = None,
) -> dict[str, Arrays]:
    """The arrays of each image of a batch, by image id.

    Raises:
        MapError: naming the image whose map is not finite
    """
    return stored_arrays(to_memory(compute_raw(batch, views, classifier, settings))(), settings, thresholds)


@torch.inference_mode()
def compute_raw(
    batch: Sequence[Job], views: Sequence[View], classifier: Classifier, settings: ExtractSettings
) -> RawMaps:
    """What the network says of a batch, on the device; nothing waits for it."""
    logits = class_logits(classifier, views, settings)
    most = max(settings.max_classes, *(len(job.labels) for job in batch))  # no known label is left out
    wanted = wanted_classes(logits, [job.labels for job in batch], most)
    predicted = wanted_classes(logits, [()] * len(batch), 1)
    maps = raw_maps_of(classifier, views, wanted, settings)
    columns = (maps, wanted, classifier.probabilities(logits), predicted)
    if not any(job.true for job in batch):
        return RawMaps(batch, *columns)
    true = wanted_classes(logits, [job.true for job in batch], 1)
    return RawMaps(batch, *columns, raw_maps_of(classifier, views, true, settings), true)


def to_memory(raw: RawMaps) -> Callable[[], RawMaps]:
    """Begin to copy a batch to main memory; what is returned waits for it, also in another thread."""
    named = {field.name: getattr(raw, field.name) for field in fields(raw) if field.name != "jobs"}
    tensors = {name: value for name, value in named.items() if value is not None}
    is_cuda = raw.maps.is_cuda
    copies = {name: value.to("cpu", non_blocking=is_cuda) for name, value in tensors.items()}
    copied = torch.cuda.current_stream(raw.maps.device).record_event() if is_cuda else None

    def wait() -> RawMaps:
        if copied is not None:
            copied.synchronize()
        return replace(raw, **{name: copy.numpy() for name, copy in copies.items()})

    return wait


def stored_arrays(raw: RawMaps, settings: ExtractSettings, thresholds: ClassThresholds = None) -> dict[str, Arrays]:
    """The arrays of each image of a batch in main memory, by image id.

    Args:
        thresholds: of each class, where they are not those of the stages. Shape: (K,)

    Raises:
        MapError: naming the image whose map is not finite
    """
    items: dict[str, Arrays] = {}
    columns = (raw.maps, raw.classes, raw.probabilities, raw.predicted[:, 0])
    for n, (job, maps, classes, probabilities, predicted) in enumerate(zip(raw.jobs, *columns, strict=True)):
        items[job.id] = {
            **_stored(job, maps, classes, probabilities, int(predicted), settings, thresholds),
            **(_scaled(job, raw.true_maps[n], settings, "label_") if _is_scored_apart(raw, n) else {}),
        }
    return items


def _is_scored_apart(raw: RawMaps, n: int) -> bool:
    """Whether an image is scored by its true class, and its first map is of another one."""
    return bool(raw.jobs[n].true) and raw.true_classes[n, 0] != raw.classes[n, 0]


def _stored(
    job: Job,
    cams: NDArray[np.float32],
    classes: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    predicted: int,
    settings: ExtractSettings,
    thresholds: ClassThresholds,
) -> dict[str, NDArray[Any]]:
    """Keep the classes that count, scale their maps, and round to half precision."""
    kept = (
        np.arange(min(len(job.labels), len(classes)))
        if job.labels
        else probable_classes(classes, probabilities, settings, thresholds)
    )
    return {
        **_scaled(job, cams[kept], settings),
        "classes": classes[kept].astype(np.int32),
        "probabilities": probabilities.astype(np.float16),
        "predicted": np.array([predicted], np.int32),
        "known": np.array([bool(job.labels)]),
        **({} if job.labels else present_arrays(classes, probabilities, settings, thresholds)),
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


def probable_classes(
    classes: NDArray[np.integer[Any]],
    probabilities: NDArray[np.float32],
    settings: ExtractSettings,
    thresholds: ClassThresholds = None,
) -> NDArray[np.int64]:
    """Positions in `classes` of those that get a map: the most probable, and all that reach `min_probability` or their
    threshold."""
    least = (
        settings.min_probability if thresholds is None else np.minimum(thresholds, settings.min_probability)[classes]
    )
    kept = probabilities[classes] >= least
    kept[settings.max_classes :] = False
    kept[0] = True
    return np.flatnonzero(kept)


def present_arrays(
    classes: NDArray[np.integer[Any]],
    probabilities: NDArray[np.float32],
    settings: ExtractSettings,
    thresholds: ClassThresholds = None,
) -> Arrays:
    """Which classes an image has, as `present`, where this stage decides it; else nothing.

    With thresholds, these are the classes that reach theirs, at most `max_classes`. If none does, it is the most
    probable alone, and not even that one if it has less than `min_first_probability`. Without thresholds, only the
    latter is decided here.

    Args:
        classes: the most probable first. Shape: (P,)
        probabilities: of all classes. Shape: (K,)
    """
    if thresholds is not None:
        most = classes[: settings.max_classes]
        found = most[probabilities[most] >= thresholds[most]]
        if len(found):
            return {"present": found.astype(np.int32)}
    has_one = probabilities[classes[0]] >= settings.min_first_probability
    if thresholds is None and has_one:
        return {}
    return {"present": classes[: int(has_one)].astype(np.int32)}
