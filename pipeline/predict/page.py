"""The page of `lid predict`: what was found in each image, with a slider for the threshold in Track 3."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.files import write_text
from pipeline.core.images import decode_png, read_rgb
from pipeline.core.tracks import Track, get_track
from pipeline.predict.paths import by_printable_name
from pipeline.report.formatting import format_count
from pipeline.report.gallery import FOLDER, Gallery, Item, Layer, Sort, layer_uri, photo_uri, shown_size, write_gallery
from pipeline.report.page import render_page
from pipeline.report.tables import Cell, Column, Table

PAGE = "index.html"
WIDTH = 512  # pixels of an image's longer side on the page
GRAY = 128  # where an image cannot be read any more
STAGES = {"student": "the student", "first": "the refined maps"}
Entry = Mapping[str, Any]


def write_page(out: Path, report: Mapping[str, Any], scores: Path, most: int) -> Path:
    """Write `index.html` and its gallery beside it; the page comes last.

    Args:
        out: folder of the predictions
        report: what stands in `predictions.json`
        scores: folder of the score maps or label maps
        most: images in the gallery, the first ones by name
    """
    track, names = get_track(report["track"]), tuple(report["class_names"])
    entries = sorted(report["images"], key=lambda entry: str(entry["name"]))
    written = by_printable_name(scores, ".png")
    items = [_item(entry, track, written[entry["name"]]) for entry in entries[:most]]
    gallery = make_gallery(track, names, items, report["threshold"])
    write_gallery(out / FOLDER, gallery.items)
    write_text(out / PAGE, render_page("predictions.html.j2", page_values(report, entries, gallery), charts_used=False))
    return out / PAGE


def page_values(report: Mapping[str, Any], entries: Sequence[Entry], gallery: Gallery) -> dict[str, Any]:
    """The values of the template, by name."""
    totals, threshold = report["totals"], report["threshold"]
    rule = [("threshold", f"{threshold} ({report['threshold_rule']})")] if threshold is not None else []
    left = len(entries) - len(gallery.items)
    return {
        "title": f"Predictions of {format_count(totals['images'])} image{'' if totals['images'] == 1 else 's'}",
        "about": [("", get_track(report["track"]).title), ("instances", format_count(totals["instances"])),
                  ("skipped", totals["skipped"]), ("made by", STAGES[report["stage"]]), *rule],
        "notes": [f"The first {len(gallery.items)} images are shown; predictions.json lists all."] if left else [],
        "gallery": gallery.index() if gallery.items else None,
        "classes": class_table(entries, report["class_names"]),
        "skipped": skipped_table(report["skipped"]),
    }  # fmt: skip


def make_gallery(track: Track, names: Sequence[str], items: Sequence[Item], threshold: int | None) -> Gallery:
    """What the items share: the image with the contour of its mask, and the prediction."""
    localizes = track.task == "localization"
    return Gallery(
        layers=[
            Layer("image", "image with contour", "photo", contour="prediction"),
            Layer("prediction", "score map" if localizes else "label map", "heat" if localizes else "labels"),
        ],
        items=items,
        classes=names,
        headline="chance",
        headline_title="probability",
        sorts=[
            Sort("id", "name"),
            Sort("chance", "least certain first"),
            Sort("chance", "most certain first", descending=True),
            Sort("share", "smallest mask first"),
        ],
        numbers={
            "chance": "probability of the top class",
            "share": "the mask's share of the image",
        },
        kinds={"empty": "nothing found"},
        kinds_title="result",
        colored=not localizes,
        threshold=threshold,
    )


def _item(entry: Entry, track: Track, path: Path) -> Item:
    """The item of an image whose score map or label map is at a path."""
    prediction = decode_png(path.read_bytes(), str(path))
    width, height = entry["size"]
    size = shown_size(width, height, WIDTH)
    shown = shown_classes(entry, track)
    area, count = sum(one["area"] for one in entry["instances"]), len(entry["instances"])
    return Item(
        id=entry["name"],
        size=size,
        images={
            "image": photo_uri(_image(Path(entry["file"]), (height, width)), WIDTH),
            "prediction": layer_uri(prediction, WIDTH),
        },
        full=size == (width, height),
        predicted=[one["class_id"] - 1 for one in shown],
        chances=[one["probability"] for one in shown],
        numbers={
            "chance": max((one["probability"] for one in entry["classes"]), default=None),
            "share": area / (width * height),
        },
        kinds=[] if entry["instances"] else ["empty"],
        text=f"{count} instance{'' if count == 1 else 's'}",
    )


def shown_classes(entry: Entry, track: Track) -> list[Mapping[str, Any]]:
    """Track 3: the class of the map; Track 1: the classes of the instances, the most probable first."""
    found = {one["class_id"] for one in entry["instances"]}
    if track.task == "localization":
        return [one for one in entry["classes"] if not found or one["class_id"] in found][:1]
    return [one for one in entry["classes"] if one["class_id"] in found]


def _image(file: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The image; gray where it is not there any more, or is another one now. Shape: (H, W, 3)"""
    try:
        image = read_rgb(file)
    except DataError:
        image = np.zeros((0, 0, 3), np.uint8)
    return image if image.shape[:2] == shape else np.full((*shape, 3), GRAY, np.uint8)


def class_table(entries: Sequence[Entry], names: Sequence[str]) -> Table | None:
    """Of each class that was found, its images and instances; the most frequent first. None if there is none."""
    instances = Counter(one["class_id"] for entry in entries for one in entry["instances"])
    images = Counter(class_id for entry in entries for class_id in {one["class_id"] for one in entry["instances"]})
    most = max(images.values(), default=0)
    rows = [
        [Cell(names[class_id - 1], names[class_id - 1], class_index=class_id - 1), Cell(value=count / most),
         Cell(format_count(count), count), Cell(format_count(instances[class_id]), instances[class_id])]
        for class_id, count in sorted(images.items(), key=lambda item: (-item[1], item[0]))
    ]  # fmt: skip
    columns = [Column("class", "text"), Column("images", "meter"), Column("images"), Column("instances")]
    return Table(columns, rows) if rows else None


def skipped_table(skipped: Sequence[Entry]) -> Table | None:
    """What was not predicted, and why. None if there is nothing."""
    rows = [[Cell(one["file"], one["file"]), Cell(one["reason"], one["reason"])] for one in skipped]
    return Table([Column("file", "text"), Column("reason", "text")], rows) if rows else None
