"""A manifest, maps and predictions on disk, as the stage `evaluate` finds them."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.helpers import row as manifest_row
from support.helpers import write_png

from pipeline.core.images import encode_png
from pipeline.core.manifest import MaskKind, from_rows, write_manifest
from pipeline.core.parallel import LOKY
from pipeline.core.store import finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.settings import EvaluateSettings

CLASSES = ("ant", "bee", "cat")
SETTINGS = EvaluateSettings(
    comparison=">=", average="pooled", classes="with_background", box_iou=(0.3, 0.5, 0.7), jobs=1, parallel=LOKY
)
FILES = ["confusion.csv", "image_counts.npz", "metrics.json", "per_image.csv", "scores.json", "table.csv"]


def changed(**changes: Any) -> EvaluateSettings:
    """`SETTINGS` with other values."""
    return replace(SETTINGS, **changes)


Values = Sequence[Sequence[int]]  # of pixels, by row


@dataclass(frozen=True)
class MadeImage:
    """What is true and what is predicted of one image."""

    predictions: dict[str, NDArray[np.uint8]]
    truth: NDArray[np.uint8] | None
    boxes: list[int] | None
    labels: list[int]
    top: int
    split: str
    known: bool

    def row(self, image_id: str) -> dict[str, Any]:
        """Its row of the manifest."""
        row = manifest_row(image_id, f"{image_id}.jpg", self.labels, self.split, self.predictions["after"].shape)
        return {**row, "mask": None if self.truth is None else f"{image_id}.mask.png", "boxes": self.boxes}

    def maps(self, classes: int) -> dict[str, NDArray[Any]]:
        """Its arrays in the store of `extract`, without the maps; in half precision all classes are certain."""
        return {
            "classes": np.array([self.labels[0] if self.known else self.top], np.int32),
            "probabilities": np.full(classes, 1.0, np.float16),
            "predicted": np.array([self.top], np.int32),
            "known": np.array([self.known]),
        }

    def refined(self) -> dict[str, NDArray[np.uint8]]:
        """Its arrays in the store of `refine`."""
        return {name: png_array(pixels) for name, pixels in self.predictions.items()}


def png_array(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of a PNG, as stores hold them."""
    return np.frombuffer(encode_png(pixels), np.uint8)


def image(
    after: Values,
    before: Values | None = None,
    truth: Values | None = None,
    boxes: list[int] | None = None,
    labels: Sequence[int] = (),
    top: int = 0,
    split: str = "val",
    of_label: Values | None = None,
    known: bool = False,
) -> MadeImage:
    """An image; `of_label` is the prediction from its label's map, with the CRF and without it."""
    predictions = {"after": np.array(after, np.uint8), "before": np.array(before or after, np.uint8)}
    if of_label is not None:
        predictions |= dict.fromkeys(("label_after", "label_before"), np.array(of_label, np.uint8))
    mask = None if truth is None else np.array(truth, np.uint8)
    return MadeImage(predictions, mask, boxes, list(labels), top, split, known)


class World:
    """A manifest and three stores in a folder, and a run of `evaluate` on them."""

    def __init__(self, folder: Path, track: str, images: Mapping[str, MadeImage], mask_kind: MaskKind) -> None:
        self.folder, self.track = folder, track
        for image_id, made in images.items():
            if made.truth is not None:
                write_png(folder / f"{image_id}.mask.png", made.truth)
        rows = [made.row(image_id) for image_id, made in images.items()]
        write_manifest(folder / "manifest", from_rows(rows, CLASSES, folder, mask_kind))
        self.maps = {image_id: made.maps(len(CLASSES)) for image_id, made in images.items()}
        self.refined = {image_id: made.refined() for image_id, made in images.items()}
        self.student: dict[str, dict[str, NDArray[np.uint8]]] = {}  # switched off
        self.pseudo_labels: dict[str, Any] | None = None

    def run(self, settings: EvaluateSettings = SETTINGS, out: str = "report") -> dict[str, Any]:
        """The contents of metrics.json."""
        for name, items in (("maps", self.maps), ("refined", self.refined), ("student", self.student)):
            (self.folder / name).mkdir(exist_ok=True)
            about = {"class_agnostic": self.track == "track3"} if name == "student" else {}
            finish(self.folder / name, [write_shard(self.folder / name, 0, items)] if items else [], about)
        module_paths = (self.folder / "manifest", self.folder / "maps", self.folder / "refined", self.folder / out)
        metrics = evaluate(*module_paths, settings, get_track(self.track), self.folder / "student", self.pseudo_labels)
        assert sorted(path.name for path in (self.folder / out).iterdir()) == FILES
        assert json.loads((self.folder / out / "metrics.json").read_text()) == metrics
        return metrics

    def rows(self, name: str, out: str = "report") -> list[dict[str, str]]:
        """The rows of a table."""
        with (self.folder / out / name).open(newline="") as stream:
            return list(csv.DictReader(stream))


def localization_world(folder: Path) -> World:
    """Track 3: masks, boxes, an image without truth, one without a label, one of split train."""
    images = {
        # truth is 3 of 8 pixels; with the CRF found at 200 with one false pixel, without it never whole without two
        "one": image(
            [[200, 200, 200, 200], [0, 0, 0, 199]],
            [[90, 90, 90, 90], [90, 89, 0, 0]],
            [[255, 255, 255, 0], [0, 0, 0, 0]],
            labels=[1],
            top=1,
        ),
        # boxes only: 2 of 6 pixels
        "two": image(
            [[0, 0, 200], [0, 0, 200]],
            [[90, 90, 90], [90, 90, 90]],
            boxes=[2, 0, 2, 1],
            labels=[0, 2],
            top=1,
            of_label=[[0, 90, 90], [0, 90, 90]],
        ),
        "no_truth": image([[0, 0]], labels=[2], top=2),
        "no_label": image([[200, 0, 0]], truth=[[0, 0, 0]], top=0),
        "trained_on": image([[7, 7]], truth=[[255, 255]], labels=[0], split="train"),
    }
    return World(folder, "track3", images, "foreground")


def segmentation_world(folder: Path) -> World:
    """Track 1: two masks, an image without truth, one of split train."""
    images = {
        # after: background 3 of 4, ant 2 of 3, cat 0 of 0; before: ant everywhere
        "one": image([[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]], [[1, 1, 0], [0, 0, 0]], labels=[0], top=0),
        "two": image([[1, 3, 3, 0]], [[3, 3, 3, 3]], [[255, 3, 3, 0]], labels=[1, 2], top=2),
        "no_truth": image([[2, 2]], labels=[1], top=1),
        "trained_on": image([[1, 1]], truth=[[1, 1]], labels=[0], split="train"),
    }
    return World(folder, "track1", images, "labels")
