"""The tables of the page: a row for each class, and for each pair of classes that is confused."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.peak_iou import iou_curve
from pipeline.report.formatting import Row, format_count, format_score, number
from pipeline.report.predictions import peak_threshold, scored_threshold
from pipeline.report.results import Results

MOST_PAIRS = 40  # rows of the table of pairs
MOST_CELLS = 25  # classes of the square of pairs: with more its letters could not be read


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a sortable table; `kind` is text, number or meter; `hide` a CSS class that hides it on a phone."""

    name: str
    kind: str = "number"
    title: str = ""
    hide: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text and what orders it; for a meter a value and a mark; a link to the images of a class or pair."""

    text: str = ""
    sort: Any = ""
    value: float | None = None
    mark: float | None = None
    pair: str = ""
    class_index: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A sortable table."""

    columns: list[Column]
    rows: list[list[Cell]]


def text(value: str) -> Cell:
    """A cell of text."""
    return Cell(value, value)


def score(value: float | None) -> Cell:
    """A cell with a share."""
    return Cell(format_score(value), "" if value is None else value)


def count(value: int) -> Cell:
    """A cell with a whole number."""
    return Cell(format_count(value), value)


# --- classes ----------------------------------------------------------------------------------------------------------


def class_table(results: Results) -> Table | None:
    """A row for each class, the lowest IoU first; None where nothing was scored."""
    table = _localized_classes(results) if results.localizes else _segmented_classes(results)
    table.rows.sort(key=lambda row: (row[2].sort == "", row[2].sort, row[0].sort))
    return table if table.rows else None


def _segmented_classes(results: Results) -> Table:
    columns = [
        Column("class", "text"), Column("IoU", "meter"), Column("IoU", title="pooled over the pixels of all images"),
        Column("without CRF", hide="hide-narrow"), Column("images", title="whose truth has the class"),
        Column("true pixels", hide="hide-narrow"), Column("predicted pixels", hide="hide-narrow"),
    ]  # fmt: skip
    images = None if results.image_counts is None else (results.image_counts.after[:, 1] > 0).sum(axis=0).tolist()
    return Table(columns, [_segmented_class(row, images) for row in results.table])


def _segmented_class(row: Row, images: Sequence[int] | None) -> list[Cell]:
    class_id, after, before = int(row["class_id"]), number(row.get("iou_after")), number(row.get("iou_before"))
    true, found = (int(number(row.get(name)) or 0) for name in ("truth_pixels", "predicted_pixels"))
    shown = Cell(row["name"], row["name"], class_index=class_id - 1 if class_id else None)
    return [
        shown, Cell(value=after, mark=before), score(after), score(before),
        Cell("–") if images is None else count(images[class_id]), count(true), count(found),
    ]  # fmt: skip


def _localized_classes(results: Results) -> Table:
    columns = [
        Column("class", "text"), Column("IoU", "meter"),
        Column("IoU", title="pooled over the pixels of the images of the class, at the best threshold of all images"),
        Column("without CRF", title="the same, at the best threshold without the CRF", hide="hide-narrow"),
        Column("images", hide="hide-narrow"),
        Column("lowest", title="IoU of the worst image", hide="hide-narrow"),
        Column("class right", title="images whose most probable class is among the labels"),
    ]  # fmt: skip
    if results.image_counts is None or not results.table:
        return Table(columns, [])
    places = defaultdict(list)
    labels = dict(zip(results.manifest.ids(), results.manifest.labels(), strict=True))
    ids = results.image_counts.ids
    for place, image_id in enumerate(ids):
        if labels.get(image_id):
            places[labels[image_id][0]].append(place)
    after, before = _ious(results, "after", places), _ious(results, "before", places)
    by_id = {row["id"]: row for row in results.per_image}
    return Table(
        columns,
        [_localized_class(results, index, [by_id[ids[place]] for place in places[index]],
                          after[index], before[index]) for index in sorted(places)],
    )  # fmt: skip


def _localized_class(
    results: Results, index: int, rows: Sequence[Row], after: float | None, before: float | None
) -> list[Cell]:
    name = results.manifest.classes[index]
    worst = min((value for row in rows if (value := number(row.get("iou_after"))) is not None), default=None)
    right = sum(row.get("predicted", "") in row.get("label", "").split(";") for row in rows) / len(rows)
    return [
        Cell(name, name, class_index=index), Cell(value=after, mark=before), score(after), score(before),
        count(len(rows)), score(worst), score(right),
    ]  # fmt: skip


def _ious(results: Results, which: str, groups: Mapping[int, Sequence[int]]) -> dict[int, float | None]:
    """The pooled IoU of groups of images at the best threshold of all images."""
    assert results.image_counts is not None
    counts = results.image_counts.after if which == "after" else results.image_counts.before
    return {
        key: pooled_iou(counts[list(places)], best_threshold(results, which), comparison(results))
        for key, places in groups.items()
    }


def best_threshold(results: Results, which: str) -> int:
    """Track 3: where the IoU of all images peaks, after or before the CRF."""
    if which == "after":
        return peak_threshold(results)
    before = number((results.metrics.get("before_crf") or {}).get("peak_threshold"))
    return scored_threshold(before, results.metrics.get("average"), results.table, "before_crf")


def comparison(results: Results) -> Any:
    """Which side of a threshold equality is on."""
    return results.metrics.get("comparison") or ">="


def pooled_iou(counts: NDArray[np.int32], threshold: int, comparison: Any) -> float | None:
    """IoU of some images at a threshold, pooled over their pixels; None without foreground.

    >>> counts = np.zeros((1, 2, 256), np.int32)
    >>> counts[0, 0, [9, 200]], counts[0, 1, [9, 200]] = (1, 2), (7, 1)
    >>> pooled_iou(counts, 100, ">=")
    0.5
    """
    inside, outside = counts.sum(axis=0, dtype=np.int64)
    return float(iou_curve(inside, outside, comparison)[threshold]) if inside.any() else None


# --- confusion --------------------------------------------------------------------------------------------------------


def unit(results: Results) -> str:
    """What confusion.csv counts."""
    return "images" if results.localizes else "pixels"


def confusion_pairs(results: Results) -> list[tuple[str, str, int]]:
    """Truth, prediction, and how many pixels or images, of different classes; the largest first."""
    rows = [(row["truth"], row["predicted"], int(row[unit(results)])) for row in results.confusion]
    return sorted((row for row in rows if row[0] != row[1]), key=lambda row: (-row[2], row[0], row[1]))


def confusion_table(results: Results) -> Table | None:
    """The pairs of classes that are confused most, each a link to its images; None if there is none."""
    pairs, totals = confusion_pairs(results), _true_totals(results)
    if not pairs:
        return None
    columns = [
        Column("truth", "text"), Column("predicted", "text"), Column(unit(results)),
        Column("of the truth", title=f"share of the {unit(results)} of the true class"),
    ]  # fmt: skip
    return Table(columns, [_pair_row(results, *pair, totals[pair[0]]) for pair in pairs[:MOST_PAIRS]])


def _pair_row(results: Results, truth: str, found: str, amount: int, total: int) -> list[Cell]:
    pair = ",".join(str(class_id(results, name)) for name in (truth, found))
    return [Cell(truth, truth, pair=pair), text(found), count(amount), score(amount / total)]


def class_id(results: Results, name: str) -> int:
    """0 for the background, the class index + 1 for others."""
    names = ["background", *results.manifest.classes]
    return names.index(name, 0 if name == "background" and not results.localizes else 1)


def _true_totals(results: Results) -> dict[str, int]:
    totals: defaultdict[str, int] = defaultdict(int)
    for row in results.confusion:
        totals[row["truth"]] += int(row[unit(results)])
    return totals


def confusion_cells(results: Results) -> tuple[list[dict[str, Any]], list[str]]:
    """The cells of the square of pairs, as shares of the true class, and the names of its sides; none for too many."""
    names = [] if results.localizes else ["background"]
    names += list(results.manifest.classes)
    if len(names) > MOST_CELLS:
        return [], []
    totals = _true_totals(results)
    cells = []
    for row in results.confusion:
        amount, truth, found = int(row[unit(results)]), row["truth"], row["predicted"]
        share = amount / totals[truth]
        about = {
            "text": f"{format_count(amount)} ({share:.1%})",
            "pair": [class_id(results, name) for name in (truth, found)],
        }
        cells.append({"row": truth, "column": found, "share": share, **about})
    return cells, [name for name in names if any(name in (cell["row"], cell["column"]) for cell in cells)]
