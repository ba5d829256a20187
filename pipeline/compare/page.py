"""The page of a comparison: scores with intervals, curves, classes, and the images that changed most side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.entrants import Entrant, class_names_of, has_image
from pipeline.compare.files import most_changed
from pipeline.compare.numbers import SAME, Compared, Comparison, verdict
from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text
from pipeline.core.images import read_rgb
from pipeline.core.manifest import Record
from pipeline.core.tracks import get_track
from pipeline.core.truth import read_foreground_map, read_label_map
from pipeline.evaluate.intervals import Interval
from pipeline.evaluate.mean_iou import known
from pipeline.evaluate.metrics import find
from pipeline.report.formatting import format_score, format_signed
from pipeline.report.gallery import FOLDER, Gallery, Item, Layer, Sort, layer_uri, photo_uri, shown_size, write_gallery
from pipeline.report.page import render_page
from pipeline.report.tables import Cell, Column, Table
from pipeline.report.vega import COLORS, Chart, Line, line_chart

PAGE = "index.html"
WIDTH = 512  # pixels of an image's longer side on the page
GRAY = 128  # where the image is not known
KINDS = {"better": "better", "worse": "worse"}
NO_IMAGES = "Without images: the folder data/ of the runs is not beside their reports, or no image could be read."


@dataclass(frozen=True, slots=True)
class Bar:
    """One entrant's score at the top of the page."""

    name: str
    value: float
    interval: Interval | None
    color: str


def write_page(
    out: Path, comparison: Comparison, entrants: Sequence[Entrant], most: int, more: Mapping[str, Any] | None = None
) -> Path:
    """Write `index.html` and its gallery beside it; the page comes last.

    Args:
        out: folder
        comparison: of these entrants
        entrants: in the same order
        most: images in the gallery
        more: values of the template in place of those of a comparison
    """
    gallery = make_gallery(comparison, entrants, most)
    values = {**page_values(comparison, class_names_of(entrants), gallery), **(more or {})}
    page = render_page("compare.html.j2", values, charts_used=True)
    write_gallery(out / FOLDER, gallery.items)
    write_text(out / PAGE, page)
    return out / PAGE


def page_values(comparison: Comparison, class_names: Sequence[str], gallery: Gallery) -> dict[str, Any]:
    """The values of the template, by name."""
    runs = comparison.entrants
    return {
        "title": " against ".join([", ".join(one.name for one in runs[1:]), runs[0].name]),
        "about": [("", get_track(comparison.track).title), ("images", len(comparison.ids)),
                  ("score", find(comparison.metric).label), *comparison.settings.items()],
        "notes": comparison.notes,
        "bars": [Bar(one.name, one.score, one.interval, color_of(place)) for place, one in enumerate(runs)],
        "verdicts": [*(verdict(comparison, place) for place in range(1, len(runs))), *comparison.choosing],
        "members": None,  # of an ensemble
        "files": [],  # beside those of every comparison: name and address
        "images": len(comparison.ids),
        "numbers": number_table(comparison),
        "charts": charts(comparison),
        "classes": class_table(comparison, class_names) if comparison.task == "segmentation" else None,
        "changed": _changed(comparison),
        "shown": len(gallery.items),
        "gallery": gallery.index() if gallery.items else None,
        "no_gallery": NO_IMAGES,
    }  # fmt: skip


def _changed(comparison: Comparison) -> str:
    """Whose change an image is chosen by."""
    runs = comparison.entrants
    return f"{'' if comparison.changed is None else f'of {runs[comparison.changed].name} '}against {runs[0].name}"


def color_of(place: int) -> str:
    """The color of an entrant, in bars and lines: the first one gray, as what others are compared with.

    >>> [color_of(place) for place in (0, 1, 2)]
    ['before', 'after', 'baseline']
    """
    order = ("before", "after", *(color for color in COLORS if color not in ("before", "after")))
    return order[place % len(order)]


# --- tables -----------------------------------------------------------------------------------------------------------


def number_table(comparison: Comparison) -> Table:
    """A row for each entrant."""
    readings = comparison.settings.values()  # the score that ranks stands there already
    keys = [key for key in comparison.entrants[0].scores if find(key).setting not in readings]
    columns = [
        Column("", "text"), Column(find(comparison.metric).label), Column("95 % interval", "text", hide="hide-narrow"),
        Column("difference"), Column("95 % interval", "text"), Column("images better"), Column("images worse"),
        *(Column(find(key).label, title=find(key).about, hide="hide-narrow") for key in keys),
    ]  # fmt: skip
    return Table(columns, [_number_row(one, keys) for one in comparison.entrants])


def _number_row(one: Compared, keys: Sequence[str]) -> list[Cell]:
    is_first = one.difference is None
    return [
        Cell(one.name, one.name),
        Cell(format_score(one.score, 4), one.score),
        _ends(one.interval),
        Cell() if one.difference is None else Cell(f"{one.difference:+.4f}", one.difference),
        _ends(one.difference_interval, signed=True),
        Cell() if is_first else Cell(str(one.better), one.better),
        Cell() if is_first else Cell(str(one.worse), one.worse),
        *(Cell(f"{one.scores[key]:.{find(key).digits}f}", one.scores[key]) for key in keys),
    ]


def _ends(ends: Interval | None, signed: bool = False) -> Cell:
    sign = "+" if signed else ""
    return Cell(f"{ends[0]:{sign}.3f}\u00a0to\u00a0{ends[1]:{sign}.3f}", ends[0]) if ends else Cell()


def class_table(comparison: Comparison, class_names: Sequence[str]) -> Table:
    """Track 1: IoU of each class with each entrant, the largest loss of the last one first."""
    first, last = comparison.entrants[0], comparison.entrants[-1]
    columns = [
        Column("class", "text"), Column("IoU", "meter", hide="hide-narrow"),
        *(Column(one.name) for one in comparison.entrants),
        Column("change", title=f"{last.name} minus {first.name}"),
    ]  # fmt: skip
    rows = []
    for place, name in enumerate(("background", *class_names)):
        values = [known(one.curve[place]) for one in comparison.entrants]
        if all(value is None for value in values):
            continue  # in no truth and no prediction
        change = None if values[0] is None or values[-1] is None else values[-1] - values[0]
        scores = [Cell(format_score(value), "" if value is None else value) for value in values]
        shown = Cell(name, name, class_index=place - 1 if place else None)
        changed = Cell() if change is None else Cell(format_signed(change), change)
        rows.append([shown, Cell(value=values[-1], mark=values[0]), *scores, changed])
    return Table(columns, sorted(rows, key=lambda row: (row[-1].sort == "", row[-1].sort)))


# --- charts -----------------------------------------------------------------------------------------------------------


def charts(comparison: Comparison) -> list[Chart]:
    """Track 3: IoU by threshold. Both: by how much each image changed."""
    found = [_curves(comparison) if comparison.task == "localization" else None, _changes(comparison)]
    return [one for one in found if one is not None]


def _curves(comparison: Comparison) -> Chart | None:
    lines = []
    for place, one in enumerate(comparison.entrants):
        assert one.threshold is not None
        points = [(float(threshold), round(float(iou), 5)) for threshold, iou in enumerate(one.curve)]
        peak = points[one.threshold]
        lines.append(
            Line(one.name, points, color_of(place), dots=[peak], text=f"peak {peak[1]:.3f} at {one.threshold}")
        )
    return line_chart("IoU by threshold", "threshold t", "IoU", lines, (0, 255), (0, 1))


def _changes(comparison: Comparison) -> Chart | None:
    """Over the share of the images, their change, the largest loss first."""
    first, lines = comparison.entrants[0], []
    for place, one in enumerate(comparison.entrants[1:], start=1):
        change = np.sort((one.ious - first.ious)[~np.isnan(one.ious - first.ious)])
        shares = np.arange(1, len(change) + 1) / max(1, len(change))
        points = [(round(float(x), 5), round(float(y), 5)) for x, y in zip(shares, change, strict=True)]
        told = f"{one.worse} images worse, {one.better} better"
        lines.append(Line(one.name, points, color_of(place), text=told))
    title = f"Change of each image's IoU against {first.name}, sorted"
    return line_chart(title, "share of the images", "change of IoU", lines, (0, 1))


# --- images -----------------------------------------------------------------------------------------------------------


def make_gallery(comparison: Comparison, entrants: Sequence[Entrant], most: int) -> Gallery:
    """Image, truth, and of each entrant its prediction and the overlap with the truth; the largest change first.

    An entrant whose pixels are not known, or a single image that cannot be read, is left out.
    """
    shown = [(place, one) for place, one in enumerate(entrants) if one.images is not None]
    items = []
    for place in most_changed(comparison)[:most] if shown else ():
        item = _item(comparison, place, shown)
        if item is not None:
            items.append(item)
    localizes = comparison.task == "localization"
    layers = [Layer("image", "image", "photo"), Layer("truth", "truth", "mask" if localizes else "labels")]
    for place, one in shown:
        threshold, name = comparison.entrants[place].threshold, f"p{place}"
        layers.append(Layer(name, one.name, "heat" if localizes else "labels", threshold=threshold))
        layers.append(Layer(f"o{place}", f"{one.name}: overlap", "overlap", of=name, truth="truth"))
    return Gallery(
        layers=layers,
        items=items,
        classes=class_names_of([one for _, one in shown] or entrants),
        headline="change",
        headline_title="change of IoU",
        sorts=[
            Sort("size", "largest change first", descending=True),
            Sort("change", "largest loss first"),
            Sort("change", "largest gain first", descending=True),
            Sort("id", "id"),
        ],
        numbers={
            "change": "change of IoU", "size": "its size",
            **{f"iou{place}": f"IoU of {one.name}" for place, one in enumerate(comparison.entrants)},
        },
        kinds=KINDS,
        kinds_title="change",
        colored=not localizes,
        comparison=comparison.settings.get("comparison", ">="),
    )  # fmt: skip


def _item(comparison: Comparison, place: int, shown: Sequence[tuple[int, Entrant]]) -> Item | None:
    image_id, change = comparison.ids[place], float(comparison.changes[place])
    images = shown[0][1].images
    assert images is not None
    try:
        record = images.record(image_id)
        truth = _truth(record, images.mask_kind, comparison, len(images.class_names))
        found = {f"p{n}": one.images.prediction(image_id) for n, one in shown if one.images is not None}
        image = read_rgb(record.file) if has_image(record) else np.full((*truth.shape, 3), GRAY, np.uint8)
    except (PipelineError, StopIteration):
        return None
    height, width = truth.shape
    ious = [known(one.ious[place]) for one in comparison.entrants]
    size = shown_size(width, height, WIDTH)
    return Item(
        id=image_id,
        size=size,
        images={
            "image": photo_uri(image, WIDTH),
            "truth": layer_uri(truth, WIDTH),
            **{name: layer_uri(pixels, WIDTH) for name, pixels in found.items()},
        },
        full=size == (width, height),
        labels=record.labels,
        numbers={"change": change, "size": abs(change), **{f"iou{n}": iou for n, iou in enumerate(ious)}},
        kinds=["better"] if change > SAME else ["worse"] if change < -SAME else [],
        text="IoU " + " → ".join(format_score(iou) for iou in ious),
    )


def _truth(record: Record, mask_kind: Any, comparison: Comparison, classes: int) -> NDArray[np.uint8]:
    if comparison.task == "segmentation":
        return read_label_map(record, mask_kind, classes)
    return read_foreground_map(record, mask_kind)
