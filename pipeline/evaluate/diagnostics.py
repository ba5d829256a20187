"""Diagnostics: the three phenomena behind TAP, NWC and PaS, measured on a sample of split val.

P1 and P2 look at features that the stage `extract` has kept, P3 at its maps; no network runs. See `phenomena` for what
is measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ScoreError
from pipeline.core.files import write_json
from pipeline.core.images import resize, score_to_uint8
from pipeline.core.manifest import Manifest, MaskKind, Record, read_manifest
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.core.truth import has_foreground, has_label_map, read_foreground, read_label_map
from pipeline.evaluate.diagnosis_text import say
from pipeline.evaluate.peak_iou import PeakIoU
from pipeline.evaluate.phenomena import (
    Array,
    Floats,
    Mask,
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
from pipeline.extract.scale import apply_standard, find_standard, raw_maps

BINS = 10  # of the area, in P1, equally filled
LEVELS = (75.0, 80.0, 85.0, 90.0, 95.0, 98.0, 99.0, 100.0)  # percentiles compared in P3; 100 is the maximum
SMALL = 160  # pixels, the longer side at which standards are compared
IOA_EDGES = np.linspace(0, 1, 21)


@dataclass(frozen=True, slots=True)
class Example:
    """One image and one of its classes, whose pixels are known."""

    record: Record
    class_index: int


@dataclass(slots=True)
class Sums:
    """What the sample adds up to.

    Attributes:
        area: of the live channels, summed over the images of each class. Shape: (K, C)
        alive: images in which a channel is not dead, by class. Shape: (K, C)
        weights: of the classes in the sample. Shape: (K, C)
        ioa: histograms of IoA over channels, weights positive and negative. Shape: (2, 20)
        images: numbers of each image, by name
    """

    area: Array
    alive: Array
    weights: Floats
    ioa: NDArray[np.int64]
    images: list[dict[str, float]] = field(default_factory=list)

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
        manifest: images of all splits; only val is looked at
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
    for example in examples:
        arrays = features.read(example.record.id)
        activations = arrays["features"].astype(np.float32)  # (C, h, w)
        sums = sums or Sums.empty(len(manifest.classes), len(activations))
        weights = arrays["weights"][example.record.labels.index(example.class_index)]  # (C,)
        truth = read_truth(example, manifest, track, (activations.shape[1], activations.shape[2]), (y, x))
        if 0 < truth.inside.sum() < truth.known.sum():
            add_image(sums, activations, weights, example, truth, theta)
    if sums is None or not sums.images:
        raise ScoreError(
            "expected val images with an object and a background, got none; are the masks of another kind?"
        )
    if not sums.alive.any():
        raise ScoreError("expected a channel that is active somewhere, got none; likely the training has collapsed")
    return {
        "examples": len(sums.images),  # images, each once for every class of it
        "pooling": features.about["pooling"],
        "theta": theta,
        "p1": _p1(sums),
        "p2": _p2(sums),
        "p3": {**_p3(sums), **compare_standards(examples, manifest, maps, track)},
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


def choose_examples(val: Manifest, features: Store, track: Track) -> list[Example]:
    """The images of the sample that have labels and truth, by class; one of several classes counts once for each.

    Raises:
        ScoreError: if there is none
    """

    def usable(record: Record) -> bool:
        if record.id not in features:
            return False
        if track.task == "localization":
            return has_foreground(record) and len(record.labels) == 1
        return has_label_map(record, val.mask_kind)

    every = [Example(record, label) for record in val if usable(record) for label in record.labels]
    if not every:
        raise ScoreError("expected val images with labels, truth and kept features to look at, got none")
    return sorted(every, key=lambda example: (example.class_index, example.record.id))


def read_pixels(example: Example, mask_kind: MaskKind, classes: int, track: Track) -> tuple[Mask, Mask]:
    """Which pixels are the object, and which are ignored. Shapes: (H, W)"""
    if track.task == "localization":
        return read_foreground(example.record, mask_kind)
    values = read_label_map(example.record, mask_kind, classes)
    return values == example.class_index + 1, values == 255


def read_truth(
    example: Example, manifest: Manifest, track: Track, shape: tuple[int, int], offset: tuple[float, float]
) -> Truth:
    """The object at feature resolution, by averaging over each cell where it looks; `offset` (y, x) is in cells."""
    inside, ignored = read_pixels(example, manifest.mask_kind, len(manifest.classes), track)
    return Truth(*(cell_means(mask, shape, offset) for mask in (inside & ~ignored, ~ignored)))


def cell_means(mask: Mask, shape: tuple[int, int], offset: tuple[float, float]) -> Floats:
    """Share of each cell that the mask covers, cells moved by `offset` (y, x) cells; what lies outside the image is
    left out.

    Raises:
        ScoreError: if a cell lies outside the image altogether

    >>> cell_means(np.array([[False, False, True, True]]), (1, 2), (0.0, -0.25)).tolist()
    [[0.0, 0.75]]
    """
    rows, columns = (_stretches(mask.shape[axis], shape[axis], offset[axis]) for axis in (0, 1))
    return np.asarray(rows @ mask.astype(np.float64) @ columns.T, np.float32)


def _stretches(length: int, cells: int, offset: float) -> Array:
    """How much each pixel counts in the mean of each cell along one axis; rows sum to 1. Shape: (cells, length)"""
    starts = (np.arange(cells) + offset)[:, None] * length / cells
    pixels = np.arange(length)
    covered = (np.minimum(starts + length / cells, pixels + 1) - np.maximum(starts, pixels)).clip(0)
    total = covered.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise ScoreError(
            f"expected cells that look at the image, got an offset of {offset} cells; likely of another store"
        )
    return np.asarray(covered / total)


def add_image(sums: Sums, features: Floats, weights: Floats, example: Example, truth: Truth, theta: float) -> None:
    """Measure one image and add it; `weights` are those of its class. Shapes: (C, h, w) and (C,)"""
    areas = area_shares(features, theta)
    sums.weights[example.class_index] = weights
    sums.area[example.class_index] += np.nan_to_num(areas)
    sums.alive[example.class_index] += ~np.isnan(areas)
    ioa = intersection_over_area(activated(features, theta), truth)
    signs = (weights > 0, weights < 0)
    for row, chosen in enumerate(signs):
        sums.ioa[row] += np.histogram(ioa[chosen & ~np.isnan(ioa)], IOA_EDGES)[0]
    positive, negative = (np.tensordot(np.abs(weights) * chosen, features, 1).astype(np.float32) for chosen in signs)
    kept = features[signs[0]]
    sums.images.append(
        {
            "object_share": truth.share,
            "ioa_positive": _mean(ioa[signs[0]]),
            "ioa_negative": _mean(ioa[signs[1]]),
            "density_positive": density_ratio(positive, truth),
            "density_negative": density_ratio(negative, truth),
            "negative_over_positive": float(negative.sum() / positive.sum()) if positive.sum() > 0 else float("nan"),
            "separation_keep": separation(positive - negative, truth),
            "separation_clamp": separation(positive, truth),
            "top_overlap": float(top_overlap(kept).max(initial=0.0)),
            "positions_of_half": positions_of_half(kept),
        }
    )


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


# --- numbers ---------------------------------------------------------------------------------------------------------


def describe(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation between images, and how many images have such a number.

    >>> describe([1.0, 3.0, float("nan")])
    {'mean': 2.0, 'spread': 1.4142135623730951, 'images': 2}
    """
    known = np.array([value for value in values if not np.isnan(value)])
    spread = float(known.std(ddof=1)) if len(known) > 1 else None
    return {"mean": float(known.mean()) if len(known) else None, "spread": spread, "images": len(known)}


def _column(sums: Sums, name: str) -> dict[str, float | int | None]:
    return describe([image[name] for image in sums.images])


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


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
        "correlation_positive": _or_none(rank_correlation(area[positive], weight[positive])),
        "correlation_magnitude": _or_none(rank_correlation(area, np.abs(weight))),
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
        **{
            name: _column(sums, name)
            for name in (
                "object_share",
                "ioa_positive",
                "ioa_negative",
                "density_positive",
                "density_negative",
                "negative_over_positive",
                "separation_keep",
                "separation_clamp",
            )
        },
    }


def _p3(sums: Sums) -> dict[str, Any]:
    return {name: _column(sums, name) for name in ("top_overlap", "positions_of_half")}


def compare_standards(examples: Sequence[Example], manifest: Manifest, maps: Store, track: Track) -> dict[str, Any]:
    """How the maximum and percentiles differ as a standard of the stored maps, before any CRF.

    Returns:
        `standards`: for each percentile the peak IoU of the sample with one threshold for all images; the mean and the
        coefficient of variation of each image's own best threshold, as a share of the standard, which is what one
        threshold for all has to bear; and the mean ratio of the maximum to the standard
    """
    states = {level: PeakIoU() for level in LEVELS}
    own: dict[float, list[float]] = {level: [] for level in LEVELS}
    ratios: dict[float, list[float]] = {level: [] for level in LEVELS}
    for name, cam, inside, ignored in _stored(examples, manifest, maps, track):
        if not (inside & ~ignored).any():
            continue
        for level in LEVELS:
            standard = find_standard(cam, "max" if level == 100 else "percentile", level)
            scaled = apply_standard(cam, standard)
            states[level].accumulate(score_to_uint8(np.clip(scaled, 0.0, 1.0)), inside, name, ignored)
            ratios[level].append(float(scaled.max()))
            own[level].append(_own_threshold(scaled, inside, ignored, name))
    rows = []
    for level in LEVELS:
        if not states[level].has_foreground:
            continue
        best = np.array(own[level])
        rows.append(
            {
                "percentile": level,
                "peak_iou": states[level].compute().iou,
                "own_threshold": float(best.mean()),
                "own_threshold_variation": float(best.std() / best.mean()) if best.mean() > 0 else None,
                "maximum_over_standard": float(np.mean(ratios[level])),
            }
        )
    return {"standards": rows}


def _own_threshold(scaled: Floats, inside: Mask, ignored: Mask, name: str) -> float:
    """The share of the standard at which this image's IoU peaks; above 1, too, where the maximum is."""
    top = float(scaled.max())
    if top <= 0:
        return 0.0
    state = PeakIoU()
    state.accumulate(score_to_uint8(np.clip(scaled / np.float32(top), 0.0, 1.0)), inside, name, ignored)
    return state.compute().threshold / 255 * top


def _stored(
    examples: Sequence[Example], manifest: Manifest, maps: Store, track: Track
) -> Iterator[tuple[str, Floats, Mask, Mask]]:
    """Raw maps of the examples' classes, where they were kept, and the truth, both at most `SMALL` pixels long."""
    for example in examples:
        if example.record.id not in maps:
            continue
        arrays = maps.read(example.record.id)
        kept = np.flatnonzero(arrays["classes"] == example.class_index)
        if not len(kept):
            continue  # the classifier did not see this class
        inside, ignored = read_pixels(example, manifest.mask_kind, len(manifest.classes), track)
        scale = min(1.0, SMALL / max(inside.shape))
        shape = (max(1, round(inside.shape[0] * scale)), max(1, round(inside.shape[1] * scale)))
        name = f"{example.record.id} {example.class_index}"
        yield name, resize(raw_maps(arrays)[kept[0]], shape), _shrink(inside, shape), _shrink(ignored, shape)


def _shrink(mask: Mask, shape: tuple[int, int]) -> Mask:
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5)
