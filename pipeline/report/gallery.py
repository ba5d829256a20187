"""The gallery of a page: an index inside it, and the images in `gallery/part-*.js`, loaded when they are looked at.

A page that is opened from disk may fetch nothing, and images beside it would taint a canvas, so that no pixel could be
read: the parts are scripts with images as base64. `static/gallery.js` paints them. What an item shows are layers: a
photograph (JPEG), scores, class ids or a mask (PNG), and overlaps, which are made of two others in the browser.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import StoreError, sample
from pipeline.core.files import write_text
from pipeline.core.images import encode_jpeg, encode_png
from pipeline.report.overlays import HEAT, JPEG_QUALITY, OVERLAP_COLORS, Pixels, class_colors, css_color, shrink

FOLDER = "gallery"  # beside the page
PART = 16  # items whose images are in one file
# what overlaps say, in the order of their codes: `false` is where the truth has background, `confused` another class
OVERLAPS = {
    **{name: OVERLAP_COLORS[name] for name in ("hit", "missed", "false")},
    "confused": (204, 121, 167),
    "ignored": OVERLAP_COLORS["ignored"],
}

Kind = Literal["photo", "heat", "labels", "mask", "overlap"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One of the images that an item can show.

    Attributes:
        name: of it in an item's `images`
        title: below it
        kind: `photo`; `heat`: scores 0..255; `labels`: class ids; `mask`: 0, 1; both with 255 ignored; `overlap`
        contour: photo: whose border is drawn on it
        of: overlap: name of the prediction
        truth: overlap: name of the truth
        threshold: heat, on a page without a slider: from which score on a pixel is foreground
    """

    name: str
    title: str
    kind: Kind
    contour: str = ""
    of: str = ""
    truth: str = ""
    threshold: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One image of the gallery: what is known of it, and its pixels.

    Attributes:
        id: of the image
        size: (width, height) of the pixels that are shown
        images: addresses (`data:…`) of its layers by name
        full: whether `size` is that of the image
        split: `val` or `test`
        labels: class indices
        predicted: class indices
        chances: probabilities of `predicted`
        numbers: by key: what items are sorted by, and the viewer lists
        kinds: of error, keys of the gallery's `kinds`
        pairs: (class id in the truth, predicted one, share of the pixels) of what is confused
        caption: beside the number at the top
        text: whatever else is to be said
    """

    id: str
    size: tuple[int, int]
    images: Mapping[str, str]
    full: bool = True
    split: str = ""
    labels: Sequence[int] = ()
    predicted: Sequence[int] = ()
    chances: Sequence[float] = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    pairs: Sequence[tuple[int, int, float]] = ()
    caption: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of the items: by a key of their numbers, or by `id`; what has no such number comes last."""

    key: str
    title: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Gallery:
    """What the items of a page share.

    Attributes:
        layers: in the order in which they are shown
        items: in the order of `sorts[0]`, so that neighbors are in one file
        classes: names; class id k + 1 is `classes[k]`
        headline: key of the number at the top of an item
        headline_title: what it is
        sorts: offered orders
        numbers: title of each key of the items' numbers
        kinds: title of each kind of error, or whatever else items are of
        kinds_title: what they are, beside the filter
        colored: whether classes have a color in the images
        threshold: where the slider starts; None: there is no slider
        comparison: which side of a threshold equality is on
        pooled: IoU of all images at each threshold, or None
        iou: what the browser compares when the threshold moves: name of a prediction and of the truth
        pair_names: of class ids in `pairs`
    """

    layers: Sequence[Layer]
    items: Sequence[Item]
    classes: Sequence[str]
    headline: str
    headline_title: str
    sorts: Sequence[Sort]
    numbers: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    kinds_title: str = "kind of error"
    colored: bool = False
    threshold: int | None = None
    comparison: str = ">="
    pooled: Sequence[float] | None = None
    iou: tuple[str, str] | None = None
    pair_names: Sequence[str] = ()

    def index(self, folder: str = FOLDER) -> dict[str, Any]:
        """What stands in the page; `gallery.js` reads it."""
        classes = len(self.classes) + 1
        colors = [css_color(color) for color in class_colors()]
        return {
            "folder": folder,
            "photo": next((layer.name for layer in self.layers if layer.kind == "photo"), ""),
            "layers": [_without_empty(layer) for layer in self.layers],
            "items": [_about(item, number // PART, self.layers) for number, item in enumerate(self.items)],
            "classes": list(self.classes),
            "headline": self.headline,
            "headlineTitle": self.headline_title,
            "sorts": [{"key": sort.key, "title": sort.title, "descending": sort.descending} for sort in self.sorts],
            "numbers": dict(self.numbers),
            "kinds": dict(self.kinds),
            "kindsTitle": self.kinds_title,
            "splits": sorted({item.split for item in self.items}, reverse=True),
            "colored": self.colored,
            "colors": [*colors[:classes], *[colors[0]] * (255 - classes), colors[255]] if self.colored else colors,
            "heat": [css_color(color) for color in HEAT],
            "overlap": {name: css_color(color) for name, color in OVERLAPS.items()},
            "threshold": self.threshold,
            "comparison": self.comparison,
            "pooled": None if self.pooled is None else [round(value, 4) for value in self.pooled],
            "iou": None if self.iou is None else {"of": self.iou[0], "truth": self.iou[1]},
            "pairNames": list(self.pair_names),
        }


def check_gallery_place(folder: Path) -> None:
    """Refuse a folder that holds anything but the parts of a gallery: it would be replaced.

    Raises:
        StoreError: naming what is there
    """
    others = [path.name for path in folder.iterdir() if not path.match("part-*.js")] if folder.is_dir() else []
    if others or folder.is_file():
        found = sample(sorted(others)) if others else "a file"
        raise StoreError(
            f"{folder}: expected no such folder, or the gallery of an earlier page, found {found}; choose another "
            "folder for the results, or move it away"
        )


def write_gallery(folder: Path, items: Sequence[Item]) -> None:
    """Write the images of all items to `part-*.js`; the folder appears when it is complete, in the place of an old one.

    The same items give the same files. Without items the folder is empty.
    """
    check_gallery_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for number, start in enumerate(range(0, len(items), PART)):
            images = {item.id: dict(item.images) for item in items[start : start + PART]}
            write_text(made / f"part-{number:05d}.js", f"galleryPart({number}, {_json(images)});\n")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        made.rename(folder)


def photo_uri(image: Pixels, most: int) -> str:
    """An RGB image as JPEG, its longer side at most `most` pixels. Shape: (H, W, 3)"""
    return _uri("jpeg", encode_jpeg(shrink(image, most), JPEG_QUALITY))


def layer_uri(values: NDArray[np.uint8], most: int) -> str:
    """Scores, class ids or a mask as grey PNG, its longer side at most `most` pixels: a sample, no average, so that
    every value is one of the image's. Shape: (H, W)"""
    return png_uri(encode_png(sample_pixels(values, most)))


def png_uri(data: bytes) -> str:
    """A PNG as it is."""
    return _uri("png", data)


def shown_size(width: int, height: int, most: int) -> tuple[int, int]:
    """(width, height) of an image whose longer side is at most `most` pixels.

    >>> shown_size(500, 375, 512), shown_size(1000, 10, 100)
    ((500, 375), (100, 1))
    """
    scale = min(1.0, most / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def sample_pixels(values: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """The nearest pixel of each pixel of an image whose longer side is at most `most`. Shape: (H, W) to (h, w)"""
    size = shown_size(values.shape[1], values.shape[0], most)
    if size == (values.shape[1], values.shape[0]):
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _without_empty(layer: Layer) -> dict[str, Any]:
    values = {name: getattr(layer, name) for name in Layer.__dataclass_fields__}
    return {name: value for name, value in values.items() if value not in ("", None)}


def _about(item: Item, part: int, layers: Iterable[Layer]) -> dict[str, Any]:
    """An item without its images; which layers it has are those whose images it has."""
    shown = [
        layer.name
        for layer in layers
        if layer.name in item.images or (layer.kind == "overlap" and {layer.of, layer.truth} <= item.images.keys())
    ]
    return {
        "id": item.id, "part": part, "size": list(item.size), "full": item.full, "layers": shown, "split": item.split,
        "labels": list(item.labels), "predicted": list(item.predicted),
        "chances": [round(chance, 3) for chance in item.chances] or None, "kinds": list(item.kinds),
        "numbers": {key: None if value is None else round(value, 6) for key, value in item.numbers.items()},
        "pairs": [[truth, found, round(share, 5)] for truth, found, share in item.pairs],
        "caption": item.caption, "text": item.text,
    }  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
