"""What tests of the student share: images of a colored square, and what `extract` and `refine` leave of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from support.evaluation import png_array
from support.helpers import COLORS, CPU, TINY, Values, merge, row, student_settings, write_png

from pipeline.core.manifest import SPLITS, Manifest, from_rows
from pipeline.core.store import Store, finish, write_shard
from pipeline.student.network import StudentNetwork
from pipeline.student.run import Paths, TargetSource, new_network
from pipeline.student.settings import StudentSettings
from pipeline.student.targets import choose_train_images

SHAPE = (48, 64)  # never square
CLASSES = tuple(COLORS)
COUNTS = {"train": 9, "val": 3, "test": 2}


@dataclass(frozen=True)
class Squares:
    """A manifest, its true masks by image id, and the paths of the stage."""

    manifest: Manifest
    masks: Mapping[str, NDArray[np.bool_]]
    paths: Paths


def square_image(color: tuple[int, ...], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A square of one color on noisy gray, and where it is. Shapes: (48, 64, 3) and (48, 64)"""
    random = np.random.default_rng(seed)
    side = int(random.integers(20, 30))
    top, left = (int(random.integers(2, length - side - 1)) for length in SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[top : top + side, left : left + side] = True
    image = np.where(mask[..., None], color, (110, 110, 110)) + random.normal(0, 12, (*SHAPE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def make_squares(root: Path, track: str, **counts: int) -> Squares:
    """Images of every class, the targets equal to their masks; the classifier is right and not quite certain."""
    rows, masks, labels = [], {}, {}
    for split, count in {**COUNTS, **counts}.items():
        for n in range(count):
            image_id, label = f"{split}_{n}", n % len(CLASSES)
            image, masks[image_id] = square_image(COLORS[CLASSES[label]], len(rows))
            write_png(root / "images" / f"{image_id}.png", image)
            true = masks[image_id] * (255 if track == "track3" else label + 1)
            write_png(root / "images" / f"{image_id}.mask.png", true.astype(np.uint8))
            known = {"mask": f"{image_id}.mask.png"} if split == "val" else {}
            rows.append({**row(image_id, f"{image_id}.png", [label] * (split != "test"), split, SHAPE), **known})
            labels[image_id] = label
    kind = "foreground" if track == "track3" else "labels"
    paths = Paths(root / "maps", root / "refined" / "train", root / "student")
    for split in SPLITS:
        of_split = [image_id for image_id in masks if image_id.startswith(split)]
        write_store(paths.maps / split, {name: maps_of(labels[name], masks[name]) for name in of_split})
    train = [image_id for image_id in masks if image_id.startswith("train")]
    write_store(paths.refined, {name: target_of(masks[name], labels[name], track) for name in train})
    return Squares(from_rows(rows, CLASSES, root / "images", kind), masks, paths)


def maps_of(label: int, mask: NDArray[np.bool_]) -> Values:
    """What `extract` stores of an image, as far as the student reads it: a map of the left half of its object."""
    probabilities = [0.7 if k == label else 0.1 for k in range(len(CLASSES))]
    return {
        "probabilities": np.array(probabilities, np.float16),
        "classes": np.array([label], np.int32),
        "known": np.array([True]),
        "maps": cv2.resize(left_half(mask).astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)[
            None
        ].astype(np.float16),
    }


def left_half(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of an object left of its middle. Shape: (H, W)"""
    columns = np.flatnonzero(mask.any(axis=0))
    return mask & (np.arange(mask.shape[1]) < columns.mean())


def target_of(mask: NDArray[np.bool_], label: int, track: str) -> Values:
    """What `refine` stores of a train image, if its map is right."""
    after = png_array((mask * (255 if track == "track3" else label + 1)).astype(np.uint8))
    foreground = {} if track == "track3" else {"foreground": png_array((mask * 255).astype(np.uint8))}
    return {"before": after, "after": after, **foreground}


def write_store(folder: Path, items: Mapping[str, Any]) -> None:
    """A store of one shard; empty if there are no items."""
    finish(folder, [write_shard(folder, 0, items)] if items else [], {"classes": list(CLASSES)})


def tiny_student(start: str, **changes: Any) -> StudentSettings:
    """The tiny network from a file of weights, so that it can be frozen."""
    backbone = {"name": TINY, "weights": "file", "weights_from": start}
    return student_settings(**merge({"backbone": backbone}, changes))


def new_student(settings: StudentSettings, outputs: int = 1) -> StudentNetwork:
    """A network with its initial weights."""
    return new_network(settings, outputs, CPU)


def source_of(squares: Squares, settings: StudentSettings, is_label: bool) -> TargetSource:
    """The train images with their targets."""
    images = choose_train_images(squares.manifest, Store(squares.paths.refined), one_label=not is_label)
    return TargetSource(Store(squares.paths.refined), images, settings, is_label)


def parts(network: StudentNetwork) -> dict[str, dict[str, Any]]:
    """Copies of all tensors, of backbone and others apart."""
    found: dict[str, dict[str, Any]] = {"backbone": {}, "others": {}}
    for name, value in network.state_dict().items():
        found["backbone" if name.startswith("backbone.") else "others"][name] = value.clone()
    return found
