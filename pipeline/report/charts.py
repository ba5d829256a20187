"""The charts of the run's page: IoU by threshold and by kind of image, confusion, training, the three phenomena."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.class_counts import count_classes
from pipeline.evaluate.diagnostics_text import conclude
from pipeline.evaluate.intervals import Score, Weights, interval, mean_iou_score, resampled_counts, score_of_all
from pipeline.evaluate.peak_iou import LEVELS, iou_curve
from pipeline.report.formatting import Row, column_points, format_score, get, number
from pipeline.report.results import Results
from pipeline.report.scores import baselines
from pipeline.report.tables import best_threshold, comparison, confusion_cells, unit
from pipeline.report.vega import Chart, Line, Point, bar_chart, heat_chart, histogram_points, line_chart

CURVES = {  # of table.csv: name, color, mark
    "after_crf": ("with CRF, pooled", "after", ""),
    "before_crf": ("without CRF, pooled", "before", ""),
    "after_crf_mean": ("with CRF, mean over images", "after", "dashed"),
    "before_crf_mean": ("without CRF, mean over images", "before", "dashed"),
}
SIZES = (0.05, 0.15, 0.3)  # shares of the image: borders between groups of objects
FEWEST = 2  # groups of a chart


def iou_curves(results: Results) -> Chart | None:
    """Track 3: IoU over the threshold, peaks marked, with the predictions that use no pixel."""
    curves = [_curve(results.table, column, *about) for column, about in CURVES.items()]
    flat = [
        Line(name, [(0, value), (255, value)], "baseline", mark, text=format_score(value))
        for (name, value), mark in zip(baselines(results), ("dotted", "dashed"), strict=False)
    ]
    shown = [curve for curve in curves if curve.points]
    return line_chart("IoU by threshold", "threshold t", "IoU", [*shown, *flat], (0, 255), (0, 1)) if shown else None


def _curve(table: Sequence[Row], column: str, name: str, color: str, mark: str) -> Line:
    points = column_points(table, "threshold", column)
    if not points:
        return Line(name, points, color, mark)
    peak = max(points, key=lambda point: (point[1], point[0]))  # ties go to the highest threshold, as in the metric
    return Line(name, points, color, mark, [peak], f"peak {peak[1]:.3f} at {peak[0]:g}")


# --- by kind of image -------------------------------------------------------------------------------------------------


def by_group(results: Results) -> Chart | None:
    """The score by number of classes in the image (Track 1), or by size of the object (Track 3), with intervals."""
    if results.image_counts is None:
        return None
    counts = results.image_counts.after
    groups = _size_groups(counts) if results.localizes else _class_groups(counts)
    bars = [_group_bar(results, name, counts[places]) for name, places in groups if places.any()]
    known = [bar for bar in bars if bar is not None]
    if len(known) < FEWEST:
        return None
    title, x = (
        ("IoU by size of the object", "share of the image")
        if results.localizes
        else ("Mean IoU by number of classes", "classes in the image")
    )
    return bar_chart(title, x, "IoU" if results.localizes else "mean IoU", known)


def _class_groups(counts: NDArray[np.int32]) -> list[tuple[str, NDArray[np.bool_]]]:
    classes = count_classes(counts)
    return [(str(number), classes == number) for number in sorted(set(classes.tolist()))]


def _size_groups(counts: NDArray[np.int32]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Images with foreground, by its share of the pixels."""
    inside, pixels = counts[:, 0].sum(axis=1), counts.sum(axis=(1, 2))
    share = inside / np.maximum(pixels, 1)
    edges = [0.0, *SIZES, 1.0]
    names = [f"≤ {SIZES[0]:.0%}", *(f"{low:.0%}–{high:.0%}" for low, high in pairwise(SIZES)),
             f"> {SIZES[-1]:.0%}"]  # fmt: skip
    groups = zip(names, pairwise(edges), strict=True)
    return [(name, (share > low) & (share <= high)) for name, (low, high) in groups]


def _group_bar(
    results: Results, name: str, counts: NDArray[np.int32]
) -> tuple[str, float, tuple[float, float] | None] | None:
    score = _group_score(results, counts)
    value = score_of_all(score, len(counts))
    images = f"{len(counts)} image" + ("s" if len(counts) > 1 else "")
    return None if np.isnan(value) else (f"{name}\n{images}", value, interval(score, len(counts)))


def _group_score(results: Results, counts: NDArray[np.int32]) -> Score:
    """Of some images: mean IoU, or the pooled IoU at the best threshold of all images."""
    if not results.localizes:
        return mean_iou_score(counts, results.metrics.get("classes") or "with_background")
    flat = counts.reshape(len(counts), 2 * LEVELS)
    return partial(_iou_at, flat=flat, threshold=best_threshold(results, "after"), comparison=comparison(results))


def _iou_at(weights: Weights, flat: NDArray[np.int32], threshold: int, comparison: Any) -> NDArray[np.float64]:
    sums = resampled_counts(weights, flat).reshape(len(weights), 2, LEVELS)
    return iou_curve(sums[:, 0], sums[:, 1], comparison)[:, threshold]


def confusion_chart(results: Results) -> Chart | None:
    """The square of true and predicted classes; None where there are too many classes to read it."""
    cells, names = confusion_cells(results)
    counted = unit(results)
    return heat_chart(f"Share of the {counted} of each true class", "predicted", "truth", counted, cells, names)


# --- training ---------------------------------------------------------------------------------------------------------


def training_charts(results: Results) -> list[Chart]:
    """Loss and accuracy by epoch, with the epoch that was kept, if known; the student's loss."""
    kept = number(get(results.counts, "train", "best", "epoch"))
    chosen_by = "held-out train images" if get(results.counts, "train", "selected_by") == "held_out" else "val"
    history = results.history
    loss = [
        _epochs(history, "train_loss", "train", "before", None),
        _epochs(history, "val_loss", chosen_by, "after", kept),
    ]
    single = [_epochs(history, "val_accuracy", f"{chosen_by}, one view", "after", kept)]
    charts = [
        line_chart("Loss of the classifier", "epoch", "loss", loss),
        line_chart("Accuracy in training", "epoch", "accuracy in training", single, y_range=(0, 1)),
        line_chart("Loss of the student", "epoch", "loss", list(_rounds(results.student_history))),
    ]
    return [chart for chart in charts if chart]


def _epochs(history: Sequence[Row], column: str, name: str, color: str, kept: float | None) -> Line:
    points = column_points(history, "epoch", column)
    dots = [point for point in points if point[0] == kept]
    ends = [f"epoch {x:g} kept: {y:.3f}" for x, y in dots] or [f"last {y:.3f}" for _, y in points[-1:]]
    return Line(name, points, color, "", dots, ", ".join(ends))


def _rounds(history: Sequence[Row]) -> Iterator[Line]:
    """The student's loss, a line for each round of teaching."""
    rounds = sorted({row["round"] for row in history if row.get("round")}, key=float)
    for place, name in enumerate(rounds):
        rows = [row for row in history if row.get("round") == name]
        color = ("after", "before", "baseline", "board")[place % 4]
        yield _epochs(rows, "train_loss", f"round {name}" if len(rounds) > 1 else "train", color, None)


# --- phenomena --------------------------------------------------------------------------------------------------------


def phenomena(diagnosis: Mapping[str, Any]) -> list[tuple[str, str, Chart | None]]:
    """The three phenomena behind TAP, NWC and PaS on this set: what follows, what the numbers say, and a chart."""
    drawn = {"p1": _areas(diagnosis["p1"]), "p2": _regions(diagnosis["p2"]), "p3": _standards(diagnosis["p3"])}
    verdicts = conclude(diagnosis)
    return [(verdicts[name], diagnosis["words"][name], chart) for name, chart in drawn.items()]


def _signed(points: Mapping[str, Sequence[Point]]) -> list[Line]:
    return [
        Line(f"{sign} weights", points[sign], color)
        for sign, color in (("positive", "after"), ("negative", "baseline"))
    ]


def _areas(p1: Mapping[str, Any]) -> Chart | None:
    sizes = {sign: [(row["area"], abs(row[sign])) for row in p1["bins"]] for sign in ("positive", "negative")}
    return line_chart("Size of a channel's weight", "activated share of the cells", "mean size", _signed(sizes))


def _regions(p2: Mapping[str, Any]) -> Chart | None:
    shares = {sign: histogram_points(p2["ioa_edges"], p2[f"ioa_{sign}_histogram"]) for sign in ("positive", "negative")}
    x = "share of the activated region on the object"
    return line_chart("Where channels are active", x, "share of the channels", _signed(shares), (0, 1))


def _standards(p3: Mapping[str, Any]) -> Chart | None:
    points = [(row["percentile"], row["peak_iou"]) for row in p3["standards"]]
    best = max(points, key=lambda point: point[1], default=None)
    line = Line("peak IoU without CRF", points, "before", dots=[best] if best else [])
    return line_chart("Standards of the stored maps", "percentile; 100 is the maximum", "peak IoU", [line])
