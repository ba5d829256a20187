"""The page that people look at: one self-contained HTML file a track, which opens from disk and loads nothing.

Each section of the page is one function of this package, which turns results into plain values, and one block of
`templates/report.html`, which lays them out. Equal results give equal bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from pipeline.files import write_text
from pipeline.images import decode_png, read_rgb, resize
from pipeline.manifest import SPLITS, Record, Split
from pipeline.report.charts import CHART, FRAME, Chart, Series, draw_chart
from pipeline.report.curves import iou_curves, phenomena, training_charts
from pipeline.report.painting import (
    HEAT,
    OVERLAP_COLORS,
    Pixels,
    class_colors,
    css_color,
    cut_out,
    data_uri,
    overlap,
    paint,
    paint_heat,
    shrink,
)
from pipeline.report.results import Results
from pipeline.report.scores import class_table, headline
from pipeline.report.values import Row, column_points, dump_yaml, flatten, format_count, format_score, get, number
from pipeline.score.mean_iou import BACKGROUND, IGNORE_INDEX
from pipeline.score.truth import read_foreground, read_label_map
from pipeline.settings.report import ReportSettings
from pipeline.tracks import Track

UNSCORED_ROWS = 6  # images without truth that follow the scored ones


def write_report(results: Results, settings: ReportSettings, out: Path) -> None:
    """Write the page of one track; see `render`."""
    write_text(out, render(results, settings))


def render(results: Results, settings: ReportSettings) -> str:
    """Make the page as HTML.

    Raises:
        DataError: if a picture or a mask of the gallery cannot be read
        StoreError: if a map or an answer of the gallery is missing
    """
    page = _template().render(
        title=results.track.title,
        note=results.metrics.get("note"),
        chips=method_chips(results.params),
        headline=headline(results),
        curve=iou_curves(results) if results.track.task == "localization" else None,
        classes=class_table(results) if results.track.task == "segmentation" else None,
        training=training_charts(results),
        phenomena=phenomena(results.diagnosis) if results.diagnosis else None,
        gallery=gallery(results, settings),
        overlap={name: css_color(color) for name, color in OVERLAP_COLORS.items()},
        heat=[css_color(HEAT[value]) for value in range(0, 256, 51)],
        chart_size=CHART,
        frame=FRAME,
        facts=facts(results),
        params=dump_yaml(results.params),
    )
    return page.strip() + "\n"


def _template() -> jinja2.Template:
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"score": format_score, "count": format_count}
    return page.get_template("report.html")


# --- method ----------------------------------------------------------------------------------------------------------


def method_chips(params: Mapping[str, Any]) -> list[str]:
    """The choices that make the method, in few words; what the settings do not say is left out."""
    train, extract, refine = (params.get(stage, {}) for stage in ("train", "extract", "refine"))
    theta, iterations = train.get("tap_threshold"), get(refine, "crf", "iterations")
    percentile = format_count(extract.get("percentile"))
    crf = get(refine, "crf", "enabled")
    chips = [
        get(train, "backbone", "name"),
        {"tap": f"TAP, θ = {theta}", "gap": "GAP"}.get(train.get("pooling", "")),
        {"clamp": "NWC", "keep": "CAM with all weights"}.get(extract.get("negative_weights", "")),
        {"percentile": f"PaS {percentile}", "max": "MaS"}.get(extract.get("scale", "")),
        {True: f"CRF, {iterations} iterations", False: "no CRF"}.get(crf) if isinstance(crf, bool) else None,
        {"one_class": "one class an image", "several_classes": "several classes an image"}.get(refine.get("decoder", "")),
    ]
    return [chip for chip in chips if chip]


# --- gallery ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a row."""

    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class Word:
    """A class name, with the CSS color that it has in the pictures (Track 1), or none."""

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
    answers: list[Word]
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
    """Images without truth: a few of test, or, if nothing was scored, as many as wanted of the first split that has maps."""
    splits: tuple[Split, ...] = ("test",) if some_are_scored else ("val", "test", "train")
    for split in splits:
        every = results.manifest.select(split).ids()
        ids = [image_id for image_id in every if image_id in results.maps and image_id in results.refined]
        if ids:
            most = min(UNSCORED_ROWS, settings.images) if some_are_scored else settings.images
            return list(results.manifest.with_ids([ids[place] for place in evenly(len(ids), most)]))
    return []


def peak_threshold(results: Results) -> int:
    """Track 3: the threshold at which per_image.csv was scored, where the pooled IoU of the refined maps peaks; else 128."""
    exact = number(results.metrics.get("peak_threshold"))
    if exact is not None and results.metrics.get("average") != "mean":
        return int(exact)
    points = column_points(results.table, "threshold", "after_crf")
    return int(max(points, key=lambda point: (point[1], point[0]))[0]) if points else 128


def _row(
    results: Results,
    record: Record,
    settings: ReportSettings,
    scores: Row | None = None,
    rank: str = "",
    threshold: int | None = None,
) -> GalleryRow:
    stored = results.maps.read(record.id)
    answer = decode_png(results.refined.read(record.id)["after"], record.id)
    picture = read_rgb(record.file)
    draw = draw_localization if results.track.task == "localization" else draw_segmentation
    drawn = draw(results, record, picture, answer, threshold)
    heat = paint_heat(picture, scaled_map(stored["maps"], picture.shape[:2]))
    tiles = [("picture", picture), (f"map of {results.manifest.classes[stored['classes'][0]]}", heat), *drawn.tiles]
    answered = [int(stored["classes"][0])] if drawn.answered is None else drawn.answered
    return GalleryRow(
        id=record.id,
        rank=rank,
        iou=number(scores["iou_after"]) if scores else None,
        before=number(scores.get("iou_before")) if scores else None,
        labels=[_word(results, index) for index in sorted({*record.labels, *drawn.true})],
        answers=[_word(results, index, stored["probabilities"]) for index in answered] or [Word("background only")],
        is_right=_is_right(results.track, record.labels, answered),
        tiles=[Tile(name, data_uri(shrink(pixels, settings.width))) for name, pixels in tiles],
    )


def _word(results: Results, index: int, probabilities: NDArray[np.float16] | None = None) -> Word:
    color = css_color(class_colors()[index + 1]) if results.track.task == "segmentation" else ""
    chance = "" if probabilities is None else f" ({float(probabilities[index]):.2f})"
    return Word(results.manifest.classes[index] + chance, color)


def _is_right(track: Track, labels: Sequence[int], answered: Sequence[int]) -> bool | None:
    if not labels:
        return None
    return set(answered) == set(labels) if track.task == "segmentation" else answered[0] in labels


def scaled_map(maps: NDArray[np.float16], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The map of the most probable class at the size of the picture, clipped to [0, 1]. Shape: (P, h, w) to (H, W)"""
    return np.clip(resize(maps[0].astype(np.float32), (shape[0], shape[1])), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pictures of one answer; the class indices in it (None: it names none) and in the truth, where that is known."""

    tiles: list[tuple[str, Pixels]]
    answered: list[int] | None = None
    true: Sequence[int] = ()


def draw_localization(results: Results, record: Record, picture: Pixels, answer: Pixels, threshold: int | None) -> Drawn:
    """Track 3: the score map and, where there is truth, the truth and {answer >= threshold} (or >) against it."""
    refined = ("refined map", paint_heat(picture, answer.astype(np.float32) / np.float32(255)))
    if threshold is None:
        return Drawn([refined])
    mask, ignored = read_foreground(record, results.manifest.mask_kind)
    is_foreground = answer > threshold if results.metrics.get("comparison") == ">" else answer >= threshold
    codes = overlap(mask.astype(np.uint8), is_foreground.astype(np.uint8), ignored)
    return Drawn([refined, ("truth", cut_out(picture, mask, ignored)), ("overlap", _paint_overlap(picture, codes))])


def draw_segmentation(results: Results, record: Record, picture: Pixels, answer: Pixels, threshold: int | None) -> Drawn:
    """Track 1: the label map and, where there is truth (`threshold` is not None), the true one and both compared."""
    refined = ("answer", paint(picture, answer, class_colors()))
    if threshold is None:
        return Drawn([refined], class_indices(answer))
    truth = read_label_map(record, results.manifest.mask_kind, len(results.manifest.classes))
    codes = overlap(truth, answer, truth == IGNORE_INDEX)
    tiles = [refined, ("truth", paint(picture, truth, class_colors())), ("overlap", _paint_overlap(picture, codes))]
    return Drawn(tiles, class_indices(answer), class_indices(truth))


def class_indices(label_map: Pixels) -> list[int]:
    """The class indices in a label map of class ids, without background and ignored pixels."""
    return [value - 1 for value in np.unique(label_map).tolist() if value not in (BACKGROUND, IGNORE_INDEX)]


def _paint_overlap(picture: Pixels, codes: Pixels) -> Pixels:
    return paint(picture, codes, np.array([(0, 0, 0), *OVERLAP_COLORS.values()], np.uint8))


# --- facts -----------------------------------------------------------------------------------------------------------


def facts(results: Results) -> dict[str, Any]:
    """How the run came about: images by split, classes with their train images, and what each stage counted."""
    preprocess = results.counts.get("preprocess", {})
    splits = [(split, get(preprocess, "splits", split) or {"images": len(results.manifest.select(split))}) for split in SPLITS]
    per_class = preprocess.get("train_images_per_class", {})
    return {
        "splits": [(split, about) for split, about in splits if about.get("images")],
        "classes": [(name, per_class.get(name)) for name in results.manifest.classes],
        "stages": [(stage, list(_scalars(counts))) for stage, counts in results.counts.items()],
    }


def _scalars(counts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """What fits into one line each; splits and classes have tables of their own."""
    for key, value in flatten({key: value for key, value in counts.items() if key not in ("splits", "train_images_per_class")}):
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield key, f"{len(value)} entries" if len(value) > 4 else ", ".join(map(str, value)) or "none"
        else:
            yield key, value
