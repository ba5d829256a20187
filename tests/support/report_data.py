"""Results of a track for the report page, made by hand: images of clouds, a box as truth, predictions moved off it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.core.images import encode_jpeg, encode_png
from pipeline.core.manifest import from_rows
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.image_counts import ImageCounts
from pipeline.evaluate.mean_iou import MeanIoU
from pipeline.evaluate.peak_iou import PeakIoU
from pipeline.report.gallery import Gallery
from pipeline.report.items import gallery_of
from pipeline.report.results import Origin, Results
from pipeline.report.run import render
from pipeline.report.settings import ReportSettings

WIDTH, HEIGHT = 48, 32  # never square
CLASSES = ("red<b>&", "green", "blue")
SETTINGS = ReportSettings(images=4, width=64)

METRICS: dict[str, dict[str, Any]] = {
    "track3": {
        "peak_iou": 0.8125, "peak_threshold": 90, "peak_iou_pooled": 0.8125, "peak_iou_mean": 0.75, "pxap": 0.875,
        "average": "pooled", "comparison": ">=", "all_foreground_iou": 0.3125, "center_disc_iou": 0.4375, "images": 6,
        "pixels": 9216, "classification_accuracy": 1.0, "brand_new_score": 0.123456,
        "before_crf": {"peak_iou": 0.5625, "peak_iou_mean": 0.5, "pxap": 0.625},
        "iou_lost": {"missed": 0.0625, "surplus": 0.125},
    },
    "track1": {
        "mean_iou": 0.6875, "mean_iou_with_background": 0.6875, "mean_iou_foreground": 0.5625,
        "pixel_accuracy": 0.9375,
        "classes": "with_background", "all_background_iou": 0.1875, "images": 6, "pixels": 9216, "class_precision": 0.5,
        "before_crf": {"mean_iou": 0.4375},
        "iou_lost": {"missed": 0.125, "false": 0.0625, "confused": 0.03125, "border": 0.09375},
    },
}  # fmt: skip
CLASS_COLUMNS = ("class_id", "name", "iou_before", "iou_after", "truth_pixels", "predicted_pixels")
CLASS_ROWS = (
    ("0", "background", "0.8", "0.9", "7000", "7"),
    ("1", "red<b>&", "", "", "0", "0"),
    ("2", "green", "0.2", "0.95", "5", "5"),
)
TABLES = {
    "track3": [{"threshold": str(t), "before_crf": str(0.5 - abs(t - 100) / 1000),
                "after_crf": str(0.8 - abs(t - 90) / 1000)}
               for t in range(256)],
    "track1": [dict(zip(CLASS_COLUMNS, row, strict=True)) for row in CLASS_ROWS],
}  # fmt: skip
CONFUSION = {
    "track3": [{"truth": "green", "predicted": "green", "images": "1"},
               {"truth": "green", "predicted": "blue", "images": "3"}],
    "track1": [{"truth": "background", "predicted": "background", "pixels": "7000"},
               {"truth": "background", "predicted": "green", "pixels": "1000"},
               {"truth": "green", "predicted": "blue", "pixels": "250"},
               {"truth": "green", "predicted": "green", "pixels": "750"}],
}  # fmt: skip
ORIGIN = Origin("2026-01-02 03:04 UTC", "0123abc with changes", "a machine", {"torch": "2.0"}, "track1")
HISTORY = [
    {"epoch": str(e), "train_loss": str(2 / e), "val_loss": str(2.5 / e), "val_accuracy": str(1 - 0.5 / e)}
    for e in (1, 2, 3)
]


def _image(number: int, width: int, height: int) -> np.ndarray:
    """Smooth clouds with some grain: about as hard to compress as a photograph."""
    random = np.random.default_rng(number)
    clouds = cv2.resize(random.integers(0, 256, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(clouds + random.normal(0, 8, clouds.shape), 0, 255).astype(np.uint8)


def make_results(
    folder: Path, track: str = "track3", size: tuple[int, int] = (WIDTH, HEIGHT), val: int = 6, test: int = 2
) -> Results:
    """Images with a centered box as truth; predictions that are wider the higher the number of the image."""
    width, height = size
    folder.mkdir(exist_ok=True)
    rows, maps, refined = [], {}, {}
    counter: Any = PeakIoU() if track == "track3" else MeanIoU(len(CLASSES))
    for number in range(val + test):
        split, name = ("val", f"00{number}") if number < val else ("test", f"10{number}")
        (folder / f"{name}.jpg").write_bytes(encode_jpeg(_image(number, width, height), 95))
        truth = np.zeros((height, width), np.uint8)
        truth[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255 if track == "track3" else number % 3 + 1
        (folder / f"{name}.png").write_bytes(encode_png(truth))
        known = {"labels": [number % 3], "mask": f"{name}.png"} if split == "val" else {"labels": [], "mask": None}
        about = {
            "id": name,
            "file": f"{name}.jpg",
            "width": width,
            "height": height,
            "split": split,
            "boxes": None,
            "bytes": 1,
        }
        rows.append({**about, **known})
        prediction = np.roll(truth, number, axis=1)
        if split == "val":
            counter.accumulate(*((prediction, truth > 0) if track == "track3" else (truth, prediction)), image_id=name)
        png = np.frombuffer(encode_png(prediction), np.uint8)
        low = cv2.resize(prediction.astype(np.float32), (6, 4), interpolation=cv2.INTER_AREA) / 200
        maps[name] = {"maps": low[None].astype(np.float16), "classes": np.array([number % 3], np.int32),
                      "probabilities": np.array([0.25, 0.25, 0.5], np.float16)}  # fmt: skip
        refined[name] = {"before": png, "after": png}
    for name, items in (("maps", maps), ("refined", refined)):
        finish(folder / name, [write_shard(folder / name, 0, items)], {})
    per_image = [
        {"id": f"00{n}", "label": CLASSES[n % 3], "predicted": CLASSES[n % 3], "iou_before": "0.4",
         "iou_after": f"{0.9 - n / 10:.6f}", "foreground_share": "0.25"}
        for n in range(val)
    ]  # fmt: skip
    counts = counter.image_counts()
    return Results(
        track=TRACKS[track],
        manifest=from_rows(rows, CLASSES, folder, "foreground" if track == "track3" else "labels"),
        maps=Store(folder / "maps"),
        refined=Store(folder / "refined"),
        metrics=METRICS[track],
        table=TABLES[track],
        per_image=per_image,
        history=HISTORY,
        confusion=CONFUSION[track],
        image_counts=ImageCounts(tuple(row["id"] for row in per_image), counts, counts),
        origin=ORIGIN,
        counts={
            "preprocess": {"skipped": [], "train_images_per_class": {"green": 12345}, "splits": {"val": {"images": 6}}},
            "train": {"best": {"epoch": 2}, "device": "cpu"},
        },
        params={"train": {"pooling": "tap", "tap_threshold": 0.05}, "report": {"images": 4, "none": None}},
    )


def make_page(results: Results, settings: ReportSettings = SETTINGS) -> str:
    """The page of results, its gallery as the stage makes it."""
    return render(results, gallery_of(results, settings))


def item_ids(gallery: Gallery, split: str) -> list[str]:
    """The ids of the items of a split, in the order of the gallery."""
    return [item.id for item in gallery.items if item.split == split]
