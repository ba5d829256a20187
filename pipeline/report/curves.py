"""The charts of the page: IoU by threshold, training by epoch, the three phenomena."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.evaluate.metrics import named_baselines, ranking
from pipeline.report.charts import Chart, Point, Series, draw_chart
from pipeline.report.formatting import Row, column_points, format_score, get, number
from pipeline.report.results import Results


def iou_curves(results: Results) -> Chart | None:
    """Track 3: IoU over the threshold, every column of table.csv, peaks marked, with the predictions that look at no
    pixel."""
    known = {
        "after_crf": "with CRF, pooled",
        "before_crf": "without CRF, pooled",
        "after_crf_mean": "with CRF, mean over images",
        "before_crf_mean": "without CRF, mean over images",
    }
    columns = [name for name in (results.table[0] if results.table else {}) if name != "threshold"]
    ordered = [name for name in known if name in columns] + [name for name in columns if name not in known]
    curves = [_curve(known.get(name, name), name, column_points(results.table, "threshold", name)) for name in ordered]
    if not any(curve.points for curve in curves):
        return None
    flat = [
        Series(name, "baseline", [(0, value), (255, value)], text=format_score(value))
        for name, value in _baselines(results)
    ]
    return draw_chart("IoU by threshold", "threshold t", [*curves, *flat], (0, 255))


def _curve(title: str, column: str, points: Sequence[Point]) -> Series:
    kind = " ".join(word for word in ("after", "before", "mean") if word in column)
    if not points:
        return Series(title, kind, points)
    peak = max(points, key=lambda point: (point[1], point[0]))  # ties go to the highest threshold, as in the metric
    return Series(title, kind, points, [peak], f"peak {peak[1]:.3f} at {peak[0]:g}")


def _baselines(results: Results) -> list[tuple[str, float]]:
    named = [(name, number(results.metrics.get(key))) for key, name in named_baselines(ranking(results.track.task))]
    return [(name, value) for name, value in named if value is not None]


def training_charts(results: Results) -> list[Chart]:
    """Loss and accuracy by epoch, with the epoch that was kept, if known."""
    kept = number(get(results.counts, "train", "best", "epoch"))
    chosen_by = "held-out train images" if get(results.counts, "train", "selected_by") == "held_out" else "val"
    lines = {
        "Loss": [("train_loss", "train", "before"), ("val_loss", chosen_by, "after")],
        "Accuracy": [("val_accuracy", chosen_by, "after")],
    }
    charts = [
        draw_chart(
            title, "epoch", [_epochs(results.history, column, name, kind, kept) for column, name, kind in columns]
        )
        for title, columns in lines.items()
    ]
    return [chart for chart in charts if chart]


def _epochs(history: Sequence[Row], column: str, name: str, kind: str, kept: float | None) -> Series:
    points = column_points(history, "epoch", column)
    marks = [point for point in points if point[0] == kept and kind == "after"]
    ends = [f"epoch {x:g} kept: {y:.3f}" for x, y in marks] or [f"last {y:.3f}" for _, y in points[-1:]]
    return Series(name, kind, points, marks, ", ".join(ends))


def phenomena(diagnosis: Mapping[str, Any]) -> list[tuple[str, Chart | None]]:
    """The three phenomena behind TAP, NWC and PaS, on this set: what the numbers say, and a chart of each."""
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
        "p1": draw_chart("Mean size of a channel's weight", "activated share of the cells", weights),
        "p2": draw_chart(
            "Share of the channels", "share of the activated region that lies on the object", overlaps, (0, 1)
        ),
        "p3": draw_chart("Standards of the stored maps", "percentile; 100 is the maximum", peaks),
    }
    return [(diagnosis["words"][name], chart) for name, chart in charts.items()]


def _shares(edges: Sequence[float], counts: Sequence[int]) -> list[Point]:
    """A histogram as shares over the middles of its bins; no point if it is empty."""
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return [(x, count / sum(counts)) for x, count in zip(middles, counts, strict=True)] if sum(counts) else []
