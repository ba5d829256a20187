"""Why the method works, or does not, on a set of one's own: the three phenomena on a sample of split val, in a minute.

    python -m pipeline.study.diagnostics --track track3

Needs a finished run (`dvc repro extract@track3`) and val images with truth. Writes `diagnostics.json` (every number),
`p1.svg`, `p2.svg`, `p3.svg` and a page with all of it, `index.html`, to `reports/<track>/diagnostics`.

P1 and P2 look at the features of the classifier, so the sample goes through the network once, at the first of
`extract.sizes`; P3's comparison of standards looks at the maps that the run has stored. See `phenomena` for what is measured.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.errors import PipelineError, ScoreError
from pipeline.files import write_json
from pipeline.images import read_rgb, resize
from pipeline.learn.classifier import Classifier, load_classifier
from pipeline.learn.device import Hardware, choose_hardware
from pipeline.localize.extract import look
from pipeline.localize.scale import apply_standard, clip_to_score, find_standard, to_bytes
from pipeline.manifest import Manifest, MaskKind, Record, read_manifest
from pipeline.score.peak_iou import PeakIoU
from pipeline.score.truth import has_foreground, has_label_map, read_foreground, read_label_map
from pipeline.settings.extract import ExtractSettings
from pipeline.settings.loader import PARAMS, load_section
from pipeline.store import Store
from pipeline.study.diagnosis import say, write_diagnosis
from pipeline.study.phenomena import (
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
from pipeline.study.rescale import raw_maps
from pipeline.tracks import TRACKS, Track, get_track

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
        ioa: histograms of IoA over channels, weights positive and negative. Shape: (2, 20)
        images: numbers of each image, by name
    """

    area: Array
    alive: Array
    ioa: NDArray[np.int64]
    images: list[dict[str, float]] = field(default_factory=list)


def diagnose(
    manifest: Manifest, classifier: Classifier, maps: Store, settings: ExtractSettings, track: Track, images: int
) -> dict[str, Any]:
    """Measure the three phenomena on at most `images` images of split val.

    Args:
        manifest: images of all splits; only val is looked at
        classifier: as trained
        maps: as extracted, of split val at least
        settings: those of the stage `extract`
        track: says what an object is: the foreground, or the pixels of each labelled class

    Returns:
        numbers by phenomenon, ready for JSON; None where a number is not defined

    Raises:
        ScoreError: if no val image has both labels and truth
    """
    examples = choose_examples(manifest.select("val"), track, images)
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    classifier.to(hardware.device).eval()
    weights = classifier.head.weight.detach().float().cpu().numpy()  # (K, C)
    sums = Sums(np.zeros(weights.shape), np.zeros(weights.shape), np.zeros((2, len(IOA_EDGES) - 1), np.int64))
    for example in tqdm(examples, desc="diagnose", unit="image"):
        features = read_features(classifier, example.record, settings, hardware)
        truth = read_truth(example, manifest, track, (features.shape[1], features.shape[2]))
        if 0 < truth.inside.sum() < truth.known.sum():
            add_image(sums, features, weights[example.class_index], example, truth, classifier.design.tap_threshold)
    if not sums.images:
        raise ScoreError("expected val images with an object and a background, got none; are the masks of another kind?")
    return {
        "images": len(sums.images),
        "pooling": classifier.design.pooling,
        "theta": classifier.design.tap_threshold,
        "p1": _p1(sums, weights),
        "p2": _p2(sums, weights),
        "p3": {**_p3(sums), **compare_standards(examples, manifest, maps, track)},
    }


def choose_examples(val: Manifest, track: Track, most: int) -> list[Example]:
    """Evenly spaced images of all classes, the same at every call; an image of several classes counts once for each.

    Raises:
        ScoreError: if there is none
    """

    def usable(record: Record) -> bool:
        if track.task == "localization":
            return has_foreground(record) and len(record.labels) == 1
        return has_label_map(record, val.mask_kind)

    every = [Example(record, label) for record in val if usable(record) for label in record.labels]
    if not every:
        raise ScoreError("expected val images with labels and truth to look at, got none")
    every.sort(key=lambda example: (example.class_index, example.record.id))
    places = np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int))
    return [every[place] for place in places]


@torch.inference_mode()
def read_features(classifier: Classifier, record: Record, settings: ExtractSettings, hardware: Hardware) -> Floats:
    """The feature map of one picture. Shape: (C, h, w)"""
    picture = read_rgb(record.file)
    height, width = look(
        (picture.shape[0], picture.shape[1]), settings.sizes[0], settings.resize, classifier.design.output_stride
    )
    smaller = height < picture.shape[0]
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    batch = torch.from_numpy(resized).permute(2, 0, 1)[None].to(hardware.device)
    with hardware.autocast():
        features = classifier.features(batch)
    return np.asarray(features[0].float().cpu().numpy(), np.float32)


def read_pixels(example: Example, mask_kind: MaskKind, classes: int, track: Track) -> tuple[Mask, Mask]:
    """Which pixels are the object, and which are ignored. Shapes: (H, W)"""
    if track.task == "localization":
        return read_foreground(example.record, mask_kind)
    values = read_label_map(example.record, mask_kind, classes)
    return values == example.class_index + 1, values == 255


def read_truth(example: Example, manifest: Manifest, track: Track, shape: tuple[int, int]) -> Truth:
    """The object at feature resolution, by averaging over each cell."""
    inside, ignored = read_pixels(example, manifest.mask_kind, len(manifest.classes), track)
    size = (shape[1], shape[0])
    shares = [cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) for mask in (inside & ~ignored, ~ignored)]
    return Truth(*(share.astype(np.float32) for share in shares))


def add_image(sums: Sums, features: Floats, weights: Floats, example: Example, truth: Truth, theta: float) -> None:
    """Measure one image and add it; `weights` are those of its class. Shapes: (C, h, w) and (C,)"""
    areas = area_shares(features, theta)
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
            "area_spread": float(np.nanstd(areas)),
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


def _p1(sums: Sums, weights: Floats) -> dict[str, Any]:
    """Area of the activated region against the weight, over all pairs of a class in the sample and a channel alive in it."""
    seen = sums.alive > 0  # (K, C)
    area = sums.area[seen] / sums.alive[seen]  # (N,)
    weight = weights[seen].astype(np.float64)
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


def _p2(sums: Sums, weights: Floats) -> dict[str, Any]:
    classes = sums.alive.any(axis=1)
    return {
        "negative_weights": float((weights[classes] < 0).mean()),
        "positive_weights": float((weights[classes] > 0).mean()),
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
        coefficient of variation of each image's own best threshold, as a share of the standard, which is what one threshold
        for all has to bear; and the mean ratio of the maximum to the standard
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
            states[level].accumulate(to_bytes(clip_to_score(scaled)), inside, name, ignored)
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
    state.accumulate(to_bytes(clip_to_score(scaled / np.float32(top))), inside, name, ignored)
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


# --- command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--data", type=Path, help="folder of the run; data/<track> if not given")
    for name in ("--manifest", "--model", "--maps"):
        parser.add_argument(name, type=Path, help="of --data if not given")
    parser.add_argument("--out", type=Path, help="reports/<track>/diagnostics if not given")
    parser.add_argument("--images", type=int, default=64)
    args = parser.parse_args(arguments)
    data = args.data or Path("data") / args.track
    out = args.out or Path("reports") / args.track / "diagnostics"
    try:
        values = diagnose(
            read_manifest(args.manifest or data / "manifest.parquet"),
            load_classifier(args.model or data / "model"),
            Store(args.maps or data / "maps"),
            load_section(ExtractSettings, f"tracks.{args.track}.extract", args.params),
            get_track(args.track),
            args.images,
        )
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    write_json(out / "diagnostics.json", {**values, "words": say(values)})
    print(write_diagnosis(values, out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
