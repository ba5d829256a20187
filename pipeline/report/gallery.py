"""The images of the page, from the best to the worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import decode_png, read_rgb
from pipeline.core.manifest import Record, Split
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.report.charts import Chart, Series, draw_chart
from pipeline.report.formatting import Row, number
from pipeline.report.overlays import Pixels, class_colors, css_color, data_uri, paint_heat, shrink
from pipeline.report.predictions import (
    draw_localization,
    draw_segmentation,
    paint_prediction,
    peak_threshold,
    scaled_map,
)
from pipeline.report.results import Results
from pipeline.report.settings import ReportSettings

UNSCORED_ROWS = 6  # images without truth that follow the scored ones


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of a row."""

    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class Word:
    """A class name, with the CSS color that it has in the images (Track 1), or none."""

    text: str
    color: str = ""


@dataclass(frozen=True, slots=True)
class GalleryRow:
    """One image: what is known of it and what the pipeline says."""

    id: str
    rank: str  # which place among the scored images; empty without truth
    iou: float | None
    before: float | None
    labels: list[Word]
    predictions: list[Word]
    is_right: bool | None  # None without a label
    tiles: list[Tile]


def gallery(results: Results, settings: ReportSettings) -> dict[str, Any]:
    """Images from the best to the worst, evenly spaced by rank, then some without truth.

    If nothing could be scored, images of val, or else of test, take all the rows.
    """
    ranked = sorted((row for row in results.per_image if number(row.get("iou_after")) is not None), key=_best_first)
    places = evenly(len(ranked), settings.images)
    scored = [ranked[place] for place in places]
    records = {record.id: record for record in results.manifest.with_ids([row["id"] for row in scored])}
    threshold = peak_threshold(results)
    rows = [
        _row(results, records[row["id"]], settings, row, f"{place + 1} of {len(ranked)}", threshold)
        for place, row in zip(places, scored, strict=True)
    ]
    other = [_row(results, record, settings) for record in _unscored(results, settings, bool(ranked))]
    return {
        "scored": rows,
        "unscored": other,
        "ranks": _rank_chart(ranked, places),
        "quartiles": _quartiles(ranked),
        "total": len(ranked),
    }


def _best_first(row: Row) -> tuple[float, str]:
    return -float(row["iou_after"]), row["id"]


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the positions 0..count-1, evenly spaced, the first and the last among them.

    >>> evenly(10, 4), evenly(2, 5), evenly(9, 1)
    ([0, 3, 6, 9], [0, 1], [0])
    """
    return [round(position) for position in np.linspace(0, count - 1, min(count, most)).tolist()]


def _quartiles(ranked: Sequence[Row]) -> list[tuple[str, float]]:
    if not ranked:
        return []
    values = np.quantile([float(row["iou_after"]) for row in ranked], [1, 0.75, 0.5, 0.25, 0]).tolist()
    return list(zip(("best", "upper quartile", "median", "lower quartile", "worst"), values, strict=True))


def _rank_chart(ranked: Sequence[Row], places: Sequence[int]) -> Chart | None:
    points = [(place + 1.0, float(row["iou_after"])) for place, row in enumerate(ranked)]
    line = Series("IoU", "after", points, [points[place] for place in places])
    return draw_chart("IoU of each image, from best to worst", "rank", [line])


def _unscored(results: Results, settings: ReportSettings, some_are_scored: bool) -> list[Record]:
    """Images without truth: a few of test, or, if nothing was scored, as many as wanted of the first split that has
    maps."""
    splits: tuple[Split, ...] = ("test",) if some_are_scored else ("val", "test", "train")
    for split in splits:
        every = results.manifest.select(split).ids()
        ids = [image_id for image_id in every if image_id in results.maps and image_id in results.predictions]
        if ids:
            most = min(UNSCORED_ROWS, settings.images) if some_are_scored else settings.images
            return list(results.manifest.with_ids([ids[place] for place in evenly(len(ids), most)]))
    return []


def _row(
    results: Results,
    record: Record,
    settings: ReportSettings,
    scores: Row | None = None,
    rank: str = "",
    threshold: int | None = None,
) -> GalleryRow:
    stored = results.maps.read(record.id)
    prediction = _decode(results.predictions, record, "after")
    image = read_rgb(record.file)
    draw = draw_localization if results.track.task == "localization" else draw_segmentation
    drawn = draw(results, record, image, prediction, threshold)
    heat = paint_heat(image, scaled_map(stored["maps"], image.shape[:2]))
    map_tile = (f"map of {results.manifest.classes[stored['classes'][0]]}", heat)
    tiles = [("image", image), map_tile, *_student_tiles(results, record, image), *drawn.tiles]
    predicted = [int(stored["classes"][0])] if drawn.predicted is None else drawn.predicted
    return GalleryRow(
        id=record.id,
        rank=rank,
        iou=number(scores["iou_after"]) if scores else None,
        before=number(scores.get("iou_before")) if scores else None,
        labels=[_word(results, index) for index in sorted({*record.labels, *drawn.true})],
        predictions=[_word(results, index, stored["probabilities"]) for index in predicted]
        or [Word("background only")],
        is_right=_is_right(results.track, record.labels, predicted),
        tiles=[Tile(name, data_uri(shrink(pixels, settings.width))) for name, pixels in tiles],
    )


def _decode(store: Store, record: Record, name: str) -> Pixels:
    return decode_png(store.read(record.id)[name], record.id)


def _student_tiles(results: Results, record: Record, image: Pixels) -> list[tuple[str, Pixels]]:
    """Where a student predicts: the refined map that it learned to make, and what it says before its CRF."""
    if results.predictions is results.refined:
        return []
    parts = [
        ("first stage", _decode(results.refined, record, "after")),
        ("student without CRF", _decode(results.predictions, record, "before")),
    ]
    return [(name, paint_prediction(results.track, image, prediction)) for name, prediction in parts]


def _word(results: Results, index: int, probabilities: NDArray[np.float16] | None = None) -> Word:
    color = css_color(class_colors()[index + 1]) if results.track.task == "segmentation" else ""
    chance = "" if probabilities is None else f" ({float(probabilities[index]):.2f})"
    return Word(results.manifest.classes[index] + chance, color)


def _is_right(track: Track, labels: Sequence[int], predicted: Sequence[int]) -> bool | None:
    if not labels:
        return None
    return set(predicted) == set(labels) if track.task == "segmentation" else predicted[0] in labels
