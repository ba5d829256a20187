"""Example images of split val, a PNG each: the image, its truth, the predictions without and with the CRF.

For `dvc plots`: the same images in every run of the same data, so that those of several runs stand side by side.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.core.files import write_bytes
from pipeline.core.progress import progress
from pipeline.report.choice import evenly_chosen
from pipeline.report.figures import to_png
from pipeline.report.formatting import Row, number
from pipeline.report.predictions import peak_threshold, scored_threshold
from pipeline.report.results import Results
from pipeline.report.strip import CELL, Column, draw_row

EXAMPLES = "examples"  # the folder, beside the page
MOST = 8
SPACES = {"left": 0.01, "right": 0.99, "top": 0.86, "bottom": 0.1, "wspace": 0.03}  # shares


def write_examples(results: Results, folder: Path) -> None:
    """Write at most `MOST` images, evenly spaced by id; where nothing is scored, one that says so."""
    scored = {row["id"]: row for row in results.per_image if number(row.get("iou_after")) is not None}
    ids = evenly_chosen(sorted(scored), MOST)
    columns = _columns(results, [scored[image_id] for image_id in ids])
    for record in progress(list(results.manifest.with_ids(ids)), title="examples"):
        figure = Figure(figsize=(CELL * (2 + len(columns)), CELL + 0.4))
        (cells,) = figure.subplots(1, 2 + len(columns), squeeze=False, gridspec_kw=SPACES)
        for axes, title in zip(cells, ("image", "truth", *(column.title for column in columns)), strict=True):
            axes.set_title(title, fontsize=9)
        draw_row(cells, record, results.manifest, results.track, columns)
        write_bytes(folder / f"{record.id}.png", to_png(figure))
    if not ids:
        figure = Figure(figsize=(4 * CELL, CELL))
        figure.text(0.5, 0.5, "no image of split val was scored", ha="center")
        write_bytes(folder / "none.png", to_png(figure))


def _columns(results: Results, rows: Sequence[Row]) -> list[Column]:
    """The predictions that are submitted, without and with the CRF, at the thresholds of their scores."""
    before = results.metrics.get("before_crf", {})
    exact, average = number(before.get("peak_threshold")), results.metrics.get("average")
    cut = scored_threshold(exact, average, results.table, "before_crf")
    strict = results.metrics.get("comparison") == ">"  # {score > t} is {score >= t + 1}
    thresholds = {"before": cut + strict, "after": peak_threshold(results) + strict}
    return [
        Column(
            title=title,
            predictions=results.predictions.folder,
            name=name,
            threshold=thresholds[name],
            ious={row["id"]: float(row[f"iou_{name}"]) for row in rows if number(row.get(f"iou_{name}")) is not None},
        )
        for name, title in (("before", "without CRF"), ("after", "with CRF"))
    ]
