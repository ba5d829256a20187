"""From which probability on an image has a class: thresholds for each class, from labels alone.

The probabilities are those that the stage itself finds: over its sizes, mirror images and crops. Those of train images
come from heads that were trained without them, in folds; those of val images from the classifier. No mask is read.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.device import choose_hardware
from pipeline.core.distributed import deal, from_first, gather, world_size
from pipeline.core.errors import MapError
from pipeline.core.manifest import Manifest, Record, stored_shape
from pipeline.core.progress import progress
from pipeline.extract.load import batches_of, load_batches
from pipeline.extract.network import class_logits, compute_views
from pipeline.extract.plan import Job, by_shape, make_job
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier
from pipeline.models.folds import Folds, fold_of, load_folds
from pipeline.models.fused import fused_backbone

MOST_IMAGES = 8192  # whose probabilities are computed for the thresholds, chosen by their ids
PRIOR = 20.0  # images with the class, as many as which the common threshold counts beside a class's own
SURE = 12.0  # log odds: thresholds of certain classes stay finite
LOWEST, HIGHEST = 0.02, 0.98  # a class that its threshold shuts out, or lets in everywhere, has none that means much

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a run, and what they were chosen by; part of `extract.json`.

    Attributes:
        source: the split whose labels decided, train or val
        images: how many of its images
        common: the one threshold that is best for all classes together
        values: of each class, in the order of the logits
        positives: images with each class
        precision, recall: of the chosen classes in these images, all classes together
    """

    source: str
    images: int
    common: float
    values: tuple[float, ...]
    positives: tuple[int, ...]
    precision: float | None
    recall: float | None


def choose_thresholds(probabilities: Values, present: NDArray[np.bool_], source: str) -> Thresholds:
    """Thresholds of the classes by the probabilities and the labels of the same images.

    A class's own threshold has the largest F1 of {probability >= t} with its labels; as IoU = F1 / (2 - F1), it also
    has the largest IoU over images, which stands for the IoU of the class over pixels. With n images of the class it is
    moved towards the common threshold of all classes, in log odds, which has a weight of `PRIOR` images:

        logit t = (n * logit t_own + PRIOR * logit t_common) / (n + PRIOR)

    Args:
        probabilities: Shape: (N, K)
        present: whether the class is among the labels. Shape: (N, K)
    """
    scores, positives = log_odds(probabilities), present.sum(axis=0)
    common = best_threshold(scores.ravel(), present.ravel())
    own = np.array([best_threshold(scores[:, k], present[:, k]) for k in range(scores.shape[1])])
    weight = positives / (positives + PRIOR)
    values = expit(np.where(positives > 0, weight * own + (1 - weight) * common, common)).clip(LOWEST, HIGHEST)
    found = probabilities >= values
    shared, chosen, labeled = int((found & present).sum()), int(found.sum()), int(present.sum())
    return Thresholds(
        source=source,
        images=len(present),
        common=round(float(expit(common)), 6),
        values=tuple(round(float(value), 6) for value in values),
        positives=tuple(int(count) for count in positives),
        precision=shared / chosen if chosen else None,
        recall=shared / labeled if labeled else None,
    )


def best_threshold(scores: Values, present: NDArray[np.bool_]) -> float:
    """The threshold t with the largest F1 of {score >= t}, halfway between two scores; ties go to the highest.

    F1 = 2 |found and present| / (|found| + |present|).

    >>> best_threshold(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))  # F1 2/3, 1/2, 4/5, 2/3
    0.5
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], present[order].cumsum()  # with the first 1, 2, … found
    found = np.arange(1, len(ranked) + 1)
    f1 = 2 * right / (found + int(present.sum()))
    below = np.append(ranked[1:], ranked[-1] - 1)
    f1[ranked == below] = -1  # equal scores are found together
    best = int(f1.argmax())
    return float((ranked[best] + below[best]) / 2)


def log_odds(probabilities: Values) -> Values:
    """log(p / (1 - p)), from -SURE to SURE."""
    inside = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    scores: Values = np.clip(np.log(inside) - np.log1p(-inside), -SURE, SURE)
    return scores


def expit(scores: Any) -> Any:
    """The probability of log odds."""
    return 1 / (1 + np.exp(-scores))


def thresholds_of(
    manifest: Manifest, classifier: Classifier, model: Path, settings: ExtractSettings
) -> Thresholds | None:
    """The thresholds that `extract.class_thresholds` asks for; None for `fixed`.

    Several ranks call this together, share the images, and get the same thresholds: maps are kept under them.

    Args:
        model: folder of the classifier, with the heads of the folds

    Raises:
        MapError: if there is no labelled image, or the probabilities of the classes depend on each other
        TrainError: if `train` asks for folds that were not trained
    """
    source = settings.class_thresholds
    if source == "fixed":
        return None
    if classifier.design.loss != "multi_label":
        raise MapError(
            f"extract.class_thresholds: expected 'fixed' with train.loss {classifier.design.loss!r}, got {source!r}; "
            "only the probabilities of several labels are independent"
        )
    folds = load_folds(model) if source == "train" else None
    images = choose_images(manifest.select(source), every=source == "train")
    if not any(record.labels for record in images):
        raise MapError(f"extract.class_thresholds: {source!r} needs labelled images in split {source}, found none")
    probabilities = np.zeros((len(images), len(manifest.classes)))
    place = {record.id: n for n, record in enumerate(images)}
    for found in gather(list(_probabilities(images, classifier, folds, settings))):
        for image_id, row in found:
            probabilities[place[image_id]] = row
    present = np.zeros(probabilities.shape, bool)
    for n, record in enumerate(images):
        present[n, list(record.labels)] = True
    return from_first(choose_thresholds(probabilities, present, source))


def choose_images(records: Iterable[Record], every: bool) -> list[Record]:
    """The images whose labels count, at most `MOST_IMAGES` by a hash of their ids.

    Args:
        every: also those without a label, which are of no class, as training with several labels has it; in split val
            such an image may be one that nobody has labelled
    """
    wanted = [record for record in records if every or record.labels]
    if len(wanted) <= MOST_IMAGES:
        return wanted
    return sorted(wanted, key=lambda record: hashlib.sha256(record.id.encode()).digest())[:MOST_IMAGES]


def _probabilities(
    images: Sequence[Record], classifier: Classifier, folds: Folds | None, settings: ExtractSettings
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The class probabilities of the images that this rank computes, as the stage finds them; with folds by the head
    that has not seen the image."""
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    classifier.to(hardware.device).eval()
    head, own = classifier.head, {name: value.clone() for name, value in classifier.head.state_dict().items()}
    try:
        count = math.ceil(len(images) / world_size())
        with fused_backbone(classifier), progress(total=count, title="thresholds") as bar:
            for number in range(folds.count if folds else 1):
                part = [one for one in images if not folds or fold_of(one.id, folds.count, folds.seed) == number]
                if folds:
                    head.load_state_dict({"weight": folds.weight[number], "bias": folds.bias[number]})
                batches = _own_batches(part, settings, classifier.design.output_stride, hardware.wants_few_shapes)
                for scales, batch in load_batches(batches, settings.workers, hardware):
                    views = compute_views(classifier, scales, settings, hardware)
                    logits = class_logits(classifier, views, settings)
                    yield from zip(
                        (job.id for job in batch), classifier.probabilities(logits).cpu().numpy(), strict=True
                    )
                    bar.update(len(batch))
    finally:
        head.load_state_dict(own)


def _own_batches(
    images: Sequence[Record], settings: ExtractSettings, output_stride: int, few_shapes: bool
) -> list[list[Job]]:
    """The batches of some images that are dealt to this rank."""
    jobs = by_shape(make_job(one, stored_shape(one), settings, output_stride, few_shapes=few_shapes) for one in images)
    batches = batches_of(jobs, settings.batch_size)
    return [batches[number] for number in deal(len(batches))]
