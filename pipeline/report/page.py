"""The page that people look at: one self-contained HTML file a track, which opens from disk and loads nothing.

Each section of the page is one function here, which turns results into plain values, and one block of
`templates/report.html`, which lays them out. Charts are SVG drawn by the template from coordinates computed here, so that
they follow the light and dark colors of the page. Equal results give equal bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from pipeline.files import write_text
from pipeline.images import decode_png, read_rgb, resize
from pipeline.manifest import SPLITS, Manifest, Record, Split
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
from pipeline.report.values import Row, column_points, dump_yaml, flatten, format_count, format_score, get, number, number_table
from pipeline.score.mean_iou import BACKGROUND, IGNORE_INDEX
from pipeline.score.truth import read_foreground, read_label_map
from pipeline.settings.report import ReportSettings
from pipeline.store import Store
from pipeline.tracks import Track

Point = tuple[float, float]

UNSCORED_ROWS = 6  # images without truth that follow the scored ones


@dataclass(frozen=True, slots=True)
class Results:
    """All that the stages of one track left, as the page needs it.

    Attributes:
        track: which page this is
        manifest: all images and classes
        maps: `maps` (P, h, w), `classes` (P,) and `probabilities` (K,) by image id
        refined: `before` and `after`, PNG bytes, by image id
        metrics: scores by name, `before_crf` among them; a score may be None
        table: Track 3: IoU by threshold; Track 1: IoU by class
        per_image: id, label, predicted, iou_before, iou_after of each scored image
        history: one row an epoch
        counts: what the stages counted, by stage
        params: settings of the track, as in params.yaml
        diagnosis: what `pipeline.study.diagnostics` found, if it was asked
    """

    track: Track
    manifest: Manifest
    maps: Store
    refined: Store
    metrics: Mapping[str, Any]
    table: Sequence[Row]
    per_image: Sequence[Row]
    history: Sequence[Row]
    counts: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, Any]
    diagnosis: Mapping[str, Any] | None = None


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


# --- headline --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metric:
    """A score as the page presents it: its key in metrics.json, a name, a line about it, and answers without pixels beside it."""

    key: str
    name: str
    about: str
    baselines: tuple[tuple[str, str], ...] = ()  # (key, name)


_DISC = "best centered disc"
METRICS: dict[str, tuple[Metric, ...]] = {  # by task; the first one ranks
    "localization": (
        Metric("peak_iou", "Peak IoU", "IoU of {score ≥ t} with the truth at the best t",
               (("center_disc_iou", _DISC), ("all_foreground_iou", "everything foreground"))),
        Metric("peak_iou_pooled", "Peak IoU, pooled", "over all pixels of all images"),
        Metric("peak_iou_mean", "Peak IoU, mean", "mean over the images, at one threshold"),
        Metric("pxap", "PxAP", "area under the precision-recall curve of the pixels"),
        Metric("gt_known_loc", "GT-known Loc", "boxes with IoU ≥ 0.5, class given", (("center_disc_gt_known_loc", _DISC),)),
        Metric("top1_loc", "Top-1 Loc", "the same, and the class is right", (("center_disc_top1_loc", _DISC),)),
        Metric("max_box_acc_v2", "MaxBoxAccV2", "mean over box IoU thresholds", (("center_disc_max_box_acc_v2", _DISC),)),
        Metric("classification_accuracy", "Classification accuracy", "most probable class among the labels"),
    ),
    "segmentation": (
        Metric("mean_iou", "Mean IoU", "IoU of each class, pooled over all pixels",
               (("top_class_disc_iou", "top class in a centered disc"), ("top_class_everywhere_iou", "top class everywhere"),
                ("all_background_iou", "everything background"))),
        Metric("mean_iou_with_background", "Mean IoU with background", "background counts as a class"),
        Metric("mean_iou_foreground", "Mean IoU of the classes", "background left out"),
        Metric("pixel_accuracy", "Pixel accuracy", "share of the pixels that are right"),
        Metric("mean_accuracy", "Mean accuracy", "share of a class's pixels found, averaged"),
        Metric("class_precision", "Class precision", "answered classes that are among the labels"),
        Metric("class_recall", "Class recall", "labels that are among the answered classes"),
        Metric("classification_accuracy", "Classification accuracy", "most probable class among the labels"),
    ),
}  # fmt: skip
# which reading of the ranking score `average` (Track 3) or `classes` (Track 1) in metrics.json chose
READINGS = {
    "pooled": ("peak_iou_pooled", "pooled over all pixels"),
    "mean": ("peak_iou_mean", "mean over the images"),
    "with_background": ("mean_iou_with_background", "mean over the classes and background"),
    "foreground": ("mean_iou_foreground", "mean over the classes, without background"),
}
COUNTS = {"images": "images scored", "images_without_truth": "without truth", "pixels": "pixels", "ignored_pixels": "ignored"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a comparison; `kind` is a CSS class."""

    name: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Card:
    """One score: after the CRF, before it, and answers that look at no pixel, as bars."""

    name: str
    about: str
    value: float | None
    before: float | None
    bars: list[Bar]

    @property
    def gain(self) -> str:
        """What the CRF changed, with its sign; empty if unknown.

        >>> Card("", "", 0.75, 0.5, []).gain
        '+0.250'
        """
        return "" if self.value is None or self.before is None else f"{self.value - self.before:+.3f}".replace("-", "−")


def headline(results: Results) -> dict[str, Any]:
    """The ranking score with its baselines, the other scores as cards, every number in a table, and how much was scored."""
    metrics, known = results.metrics, METRICS[results.track.task]
    chosen, reading = READINGS.get(str(metrics.get("average", metrics.get("classes"))), ("", ""))
    cards = [_card(metric, metrics) for metric in known[1:] if metric.key != chosen]
    threshold = metrics.get("peak_threshold")
    about = [known[0].about, reading, "" if threshold is None else f"reached at threshold {threshold}"]
    return {
        "hero": _card(known[0], metrics),
        "about": ", ".join(text for text in about if text),
        "cards": [card for card in cards if card.bars],
        "numbers": number_table(metrics),
        "counts": [(metrics[key], name) for key, name in COUNTS.items() if number(metrics.get(key))],
        "scored": bool(number(metrics.get("images"))),
    }


def _card(metric: Metric, metrics: Mapping[str, Any]) -> Card:
    value, before = number(metrics.get(metric.key)), number(get(metrics, "before_crf", metric.key))
    trivial = [(name, number(metrics.get(key)), "baseline") for key, name in metric.baselines]
    every = [("with CRF", value, "after"), ("without CRF", before, "before"), *trivial]
    bars = [Bar(name, known, kind) for name, known, kind in every if known is not None]
    return Card(metric.name, metric.about, value, before, bars)


# --- charts ----------------------------------------------------------------------------------------------------------

CHART = (560, 280)  # width and height of the drawing, in its own units
FRAME = (44, 14, 548, 240)  # left, top, right and bottom of the plot in it


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart; `kind` is a CSS class, `marks` are points to stand out, `text` is what the legend adds."""

    name: str
    kind: str
    points: Sequence[Point]
    marks: Sequence[Point] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A series in the units of the drawing: an SVG path, and marked points with what they say."""

    name: str
    kind: str
    path: str
    marks: list[tuple[float, float, str]]
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart in the units of the drawing; ticks are (place, label)."""

    title: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def draw_chart(title: str, x_label: str, series: Iterable[Series], x_range: tuple[float, float] | None = None) -> Chart | None:
    """Place lines in a frame whose ordinate starts at 0; None if there is no point to draw."""
    shown = [line for line in series if line.points]
    if not shown:
        return None
    xs, ys = zip(*(point for line in shown for point in line.points), strict=True)
    low, high = x_range or (min(xs), max(xs))
    y_ticks = nice_ticks(0, max(*ys, 1e-9))
    left, top, right, bottom = FRAME

    def place(x: float, y: float) -> Point:
        across = 0.5 if high == low else (x - low) / (high - low)
        return round(left + across * (right - left), 1), round(bottom - y / y_ticks[-1] * (bottom - top), 1)

    return Chart(
        title=title,
        x_label=x_label,
        lines=[_line(one, place) for one in shown],
        x_ticks=[(place(x, 0)[0], f"{x:g}") for x in nice_ticks(low, high) if low <= x <= high],
        y_ticks=[(place(low, y)[1], f"{y:g}") for y in y_ticks],
    )


def _line(series: Series, place: Callable[[float, float], Point]) -> Line:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in (place(*point) for point in series.points))
    marked = series.points if len(series.points) == 1 else series.marks  # a line of one point is invisible
    marks = [(*place(x, y), f"{series.name}: {y:.3f} at {x:g}") for x, y in marked]
    return Line(series.name, series.kind, path, marks, series.text)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, at most `most` + 1 of them.

    >>> nice_ticks(0, 0.86), nice_ticks(1, 30), nice_ticks(3, 3)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], [3.0])
    """
    if high <= low:
        return [float(low)]
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(float(power * factor) for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1e-9)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [round(step * position, 10) for position in range(first, last + 1)]


def iou_curves(results: Results) -> Chart | None:
    """Track 3: IoU over the threshold, every column of table.csv, peaks marked, with the answers that look at no pixel."""
    known = {"after_crf": "with CRF, pooled", "before_crf": "without CRF, pooled",
             "after_crf_mean": "with CRF, mean over images", "before_crf_mean": "without CRF, mean over images"}  # fmt: skip
    columns = [name for name in (results.table[0] if results.table else {}) if name != "threshold"]
    ordered = [name for name in known if name in columns] + [name for name in columns if name not in known]
    curves = [_curve(known.get(name, name), name, column_points(results.table, "threshold", name)) for name in ordered]
    if not any(curve.points for curve in curves):
        return None
    flat = [Series(name, "baseline", [(0, value), (255, value)], text=format_score(value)) for name, value in _trivial(results)]
    return draw_chart("IoU by threshold", "threshold t", [*curves, *flat], (0, 255))


def _curve(title: str, column: str, points: Sequence[Point]) -> Series:
    kind = " ".join(word for word in ("after", "before", "mean") if word in column)
    if not points:
        return Series(title, kind, points)
    peak = max(points, key=lambda point: (point[1], point[0]))  # ties go to the highest threshold, as in the metric
    return Series(title, kind, points, [peak], f"peak {peak[1]:.3f} at {peak[0]:g}")


def _trivial(results: Results) -> list[tuple[str, float]]:
    named = [(name, number(results.metrics.get(key))) for key, name in METRICS[results.track.task][0].baselines]
    return [(name, value) for name, value in named if value is not None]


def training_charts(results: Results) -> list[Chart]:
    """Loss and accuracy by epoch, with the epoch that was kept, if known."""
    kept = number(get(results.counts, "train", "best", "epoch"))
    lines = {
        "Loss": [("train_loss", "train", "before"), ("val_loss", "val", "after")],
        "Accuracy": [("val_accuracy", "val", "after")],
    }
    charts = [
        draw_chart(title, "epoch", [_epochs(results.history, column, name, kind, kept) for column, name, kind in columns])
        for title, columns in lines.items()
    ]
    return [chart for chart in charts if chart]


def _epochs(history: Sequence[Row], column: str, name: str, kind: str, kept: float | None) -> Series:
    points = column_points(history, "epoch", column)
    marks = [point for point in points if point[0] == kept and kind == "after"]
    ends = [f"epoch {x:g} kept: {y:.3f}" for x, y in marks] or [f"last {y:.3f}" for _, y in points[-1:]]
    return Series(name, kind, points, marks, ", ".join(ends))


# --- classes ---------------------------------------------------------------------------------------------------------


def class_table(results: Results) -> list[dict[str, Any]]:
    """Track 1: a row for each class, the best IoU first, classes that are nowhere last."""
    rows = [
        {
            "id": row["class_id"],
            "name": row["name"],
            "after": number(row.get("iou_after")),
            "before": number(row.get("iou_before")),
            "truth": int(number(row.get("truth_pixels")) or 0),
            "predicted": int(number(row.get("predicted_pixels")) or 0),
        }
        for row in results.table
    ]
    return sorted(rows, key=lambda row: (row["after"] is None, -(row["after"] or 0.0), int(row["id"])))


def phenomena(diagnosis: Mapping[str, Any]) -> list[tuple[str, Chart | None]]:
    """The three phenomena that TAP, NWC and PaS answer, on this set: what the numbers say, and a chart of each."""
    bins, p2, standards = diagnosis["p1"]["bins"], diagnosis["p2"], diagnosis["p3"]["standards"]
    weights = [
        Series(f"{sign} weights", kind, [(row["area"], abs(row[sign])) for row in bins])
        for sign, kind in (("positive", "after"), ("negative", "baseline"))
    ]
    overlaps = [
        Series(f"{sign} weights", kind, _shares(p2["ioa_edges"], p2[f"ioa_{sign}_histogram"]))
        for sign, kind in (("positive", "after"), ("negative", "baseline"))
    ]
    peaks = [Series("peak IoU without CRF", "before", [(row["percentile"], row["peak_iou"]) for row in standards])]
    charts = {
        "p1": draw_chart("Mean size of a channel's weight", "activated share of the positions", weights),
        "p2": draw_chart("Share of the channels", "share of the activated region that lies on the object", overlaps, (0, 1)),
        "p3": draw_chart("Standards of the stored maps", "percentile; 100 is the maximum", peaks),
    }
    return [(diagnosis["words"][name], chart) for name, chart in charts.items()]


def _shares(edges: Sequence[float], counts: Sequence[int]) -> list[Point]:
    """A histogram as shares over the middles of its bins; no point if it is empty."""
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return [(x, count / sum(counts)) for x, count in zip(middles, counts, strict=True)] if sum(counts) else []


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
