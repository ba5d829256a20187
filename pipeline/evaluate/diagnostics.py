"""Diagnostics: the three phenomena behind TAP, NWC and PaS, measured on a sample of split val.

P1 and P2 look at features that the stage `extract` has kept, P3 at its maps; no network runs. See `phenomena` for what
is measured.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError
from pipeline.core.files import write_json
from pipeline.core.manifest import Manifest, read_manifest
from pipeline.core.progress import progress
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.evaluate.diagnostics_sample import Example, choose_examples, read_truth, stored_maps
from pipeline.evaluate.diagnostics_text import say
from pipeline.evaluate.mean_iou import known
from pipeline.evaluate.phenomena import (
    Array,
    Floats,
    Truth,
    activated,
    area_shares,
    average_ranks,
    density_ratio,
    intersection_over_area,
    positions_of_half,
    rank_correlation,
    separation,
    top_overlap,
)
from pipeline.evaluate.standards import compare_standards

BINS = 10  # of the area, in P1, equally filled
IOA_EDGES = np.linspace(0, 1, 21)


@dataclass(frozen=True, slots=True)
class Evidence:
    """P2 of one image; NaN where a number is not defined.

    Attributes:
        object_share: the object's share of the image
        ioa_positive: mean intersection over area with the object, over the channels with positive weights
        ioa_negative: the same, negative weights
        density_positive: density of positive evidence on the object over that beside it
        density_negative: the same, negative evidence
        negative_over_positive: sum of negative evidence over that of positive evidence
        separation_keep: pixel-level ROC AUC of the map, object against background, on feature cells, all weights
        separation_clamp: the same, negative weights clamped
    """

    object_share: float
    ioa_positive: float
    ioa_negative: float
    density_positive: float
    density_negative: float
    negative_over_positive: float
    separation_keep: float
    separation_clamp: float


@dataclass(frozen=True, slots=True)
class Maxima:
    """P3 of one image, over the channels with positive weights; NaN where a number is not defined.

    Attributes:
        top_overlap: largest share of the channels whose most activated regions share a position
        positions_of_half: share of the positions that holds half of the maxima
    """

    top_overlap: float
    positions_of_half: float


@dataclass(slots=True)
class Sums:
    """What the sample adds up to.

    Attributes:
        area: of the live channels, summed over the images of each class. Shape: (K, C)
        alive: images in which a channel is not dead, by class. Shape: (K, C)
        weights: of the classes in the sample. Shape: (K, C)
        ioa: histograms of IoA over channels, weights positive and negative. Shape: (2, 20)
        evidence: of each image
        maxima: of each image
    """

    area: Array
    alive: Array
    weights: Floats
    ioa: NDArray[np.int64]
    evidence: list[Evidence] = field(default_factory=list)
    maxima: list[Maxima] = field(default_factory=list)

    @classmethod
    def empty(cls, classes: int, channels: int) -> "Sums":
        """Nothing yet."""
        shape = (classes, channels)
        return cls(
            np.zeros(shape), np.zeros(shape), np.zeros(shape, np.float32), np.zeros((2, len(IOA_EDGES) - 1), np.int64)
        )


def diagnose(manifest: Manifest, features: Store, maps: Store, track: Track) -> dict[str, Any]:
    """Measure the three phenomena on the val images whose features were kept.

    Args:
        manifest: images of split val at least; others are not looked at
        features: as the stage `extract` keeps them, of some val images
        maps: as extracted, of split val at least
        track: says what an object is: the foreground, or the pixels of each labelled class

    Returns:
        numbers by phenomenon, ready for JSON; None where a number is not defined

    Raises:
        ScoreError: if no image of the sample has both labels and truth
    """
    examples = choose_examples(manifest.select("val"), features, track)
    theta, (y, x) = float(features.about["tap_threshold"]), features.about["offset"]
    sums: Sums | None = None
    for example in progress(examples, title="diagnostics"):
        arrays = features.read(example.record.id)
        activations = arrays["features"].astype(np.float32)  # (C, h, w)
        sums = sums or Sums.empty(len(manifest.classes), len(activations))
        weights = arrays["weights"][example.record.labels.index(example.class_index)]  # (C,)
        truth = read_truth(example, manifest, track, (activations.shape[1], activations.shape[2]), (y, x))
        if 0 < truth.inside.sum() < truth.known.sum():
            add_image(sums, activations, weights, example, truth, theta)
    if sums is None or not sums.evidence:
        raise ScoreError(
            "expected val images with an object and a background, got none; are the masks of another kind?"
        )
    if not sums.alive.any():
        raise ScoreError("expected a channel that is active somewhere, got none; likely the training has collapsed")
    return {
        "examples": len(sums.evidence),  # images, each once for every class of it
        "pooling": features.about["pooling"],
        "theta": theta,
        "p1": _p1(sums),
        "p2": _p2(sums),
        "p3": {
            **_over_images(sums.maxima),
            "standards": [asdict(row) for row in compare_standards(stored_maps(examples, manifest, maps, track))],
        },
    }


def write_diagnostics(manifest: Path, features: Path, maps: Path, out: Path, track: Track) -> None:
    """Write what `diagnose` finds, and what it says in words.

    Where there is nothing to look at, a `note` with the reason.
    """
    try:
        values = diagnose(read_manifest(manifest, ("val",)), Store(features), Store(maps), track)
    except ScoreError as error:
        write_json(out, {"note": str(error)})
    else:
        write_json(out, {**values, "words": say(values)})


def add_image(sums: Sums, features: Floats, weights: Floats, example: Example, truth: Truth, theta: float) -> None:
    """Measure one image and add it; `weights` are those of its class. Shapes: (C, h, w) and (C,)"""
    areas = area_shares(features, theta)
    sums.weights[example.class_index] = weights
    sums.area[example.class_index] += np.nan_to_num(areas)
    sums.alive[example.class_index] += ~np.isnan(areas)
    ioa = intersection_over_area(activated(features, theta), truth)
    for row, chosen in enumerate((weights > 0, weights < 0)):
        sums.ioa[row] += np.histogram(ioa[chosen & ~np.isnan(ioa)], IOA_EDGES)[0]
    sums.evidence.append(measure_evidence(features, weights, ioa, truth))
    kept = features[weights > 0]
    sums.maxima.append(Maxima(float(top_overlap(kept).max(initial=0.0)), positions_of_half(kept)))


def measure_evidence(features: Floats, weights: Floats, ioa: Array, truth: Truth) -> Evidence:
    """P2 of one image; `ioa` is of its channels. Shapes: (C, h, w), (C,), (C,)"""
    signs = (weights > 0, weights < 0)
    positive, negative = (np.tensordot(np.abs(weights) * chosen, features, 1).astype(np.float32) for chosen in signs)
    return Evidence(
        object_share=truth.share,
        ioa_positive=_mean(ioa[signs[0]]),
        ioa_negative=_mean(ioa[signs[1]]),
        density_positive=density_ratio(positive, truth),
        density_negative=density_ratio(negative, truth),
        negative_over_positive=float(negative.sum() / positive.sum()) if positive.sum() > 0 else float("nan"),
        separation_keep=separation(positive - negative, truth),
        separation_clamp=separation(positive, truth),
    )


def _mean(values: Array) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


# --- numbers ---------------------------------------------------------------------------------------------------------


def describe(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation between images, and how many images have such a number.

    >>> describe([1.0, 3.0, float("nan")])
    {'mean': 2.0, 'spread': 1.4142135623730951, 'images': 2}
    """
    present = np.array([value for value in values if not np.isnan(value)])
    spread = float(present.std(ddof=1)) if len(present) > 1 else None
    return {"mean": float(present.mean()) if len(present) else None, "spread": spread, "images": len(present)}


def _over_images(images: Sequence[Evidence] | Sequence[Maxima]) -> dict[str, Any]:
    """Every number of the images, described."""
    rows = [asdict(image) for image in images]
    return {name: describe([row[name] for row in rows]) for name in rows[0]}


def _p1(sums: Sums) -> dict[str, Any]:
    """Area of the activated region against the weight, over all pairs of a class in the sample and a channel alive in
    it."""
    seen = sums.alive > 0  # (K, C)
    area = sums.area[seen] / sums.alive[seen]  # (N,)
    weight = sums.weights[seen].astype(np.float64)
    positive = weight > 0
    return {
        "pairs": len(area),
        "area_percentiles": {str(level): float(np.percentile(area, level)) for level in (10, 50, 90)},
        "correlation_positive": known(rank_correlation(area[positive], weight[positive])),
        "correlation_magnitude": known(rank_correlation(area, np.abs(weight))),
        "bins": _bins(area, weight),
    }


def _bins(area: Array, weight: Array) -> list[dict[str, float]]:
    """Equally filled bins of the area: its mean, and the mean of positive and of negative weights."""
    order = np.minimum((average_ranks(area) - 1) * BINS / len(area), BINS - 1).astype(int)
    bins = []
    for number in range(BINS):
        inside = weight[order == number]
        if len(inside):
            parts = {"positive": inside[inside > 0], "negative": inside[inside < 0]}
            means = {name: float(part.mean()) if len(part) else 0.0 for name, part in parts.items()}
            bins.append({"area": float(area[order == number].mean()), **means})
    return bins


def _p2(sums: Sums) -> dict[str, Any]:
    classes = sums.alive.any(axis=1)
    return {
        "negative_weights": float((sums.weights[classes] < 0).mean()),
        "positive_weights": float((sums.weights[classes] > 0).mean()),
        "ioa_edges": IOA_EDGES.round(4).tolist(),
        "ioa_positive_histogram": sums.ioa[0].tolist(),
        "ioa_negative_histogram": sums.ioa[1].tolist(),
        **_over_images(sums.evidence),
    }
