"""A finished run of the chain in miniature, made by hand: images of a bright ellipse, masks, coarse maps, a tiny
network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.helpers import extract_settings, make_tiny, merge, recipe, write_png

from pipeline.core.images import resize
from pipeline.core.manifest import SPLITS, from_rows, write_manifest
from pipeline.core.settings import write_yaml
from pipeline.core.store import finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.extract.features import keep_features
from pipeline.extract.scale import apply_standard, find_standard
from pipeline.models.classifier import save_classifier

SHAPE = (48, 64)  # never square
CELLS = (6, 8)
CLASSES = ("one", "two", "three")
FAST = {
    "extract": {"device": "cpu", "precision": "fp32", "sizes": [64], "flip": False, "splits": ["val", "test"]},
    "refine": {"jobs": 1, "shard_size": 2, "crf": {"iterations": 2}},
    "evaluate": {"jobs": 1},
}
BOTH = {"extract": {"max_classes": 2, "min_probability": 0.1}, "refine": {"min_probability": 0.4}}


@dataclass(frozen=True)
class MadeRun:
    """Where the parts of the run lie."""

    folder: Path
    params: Path
    track: str

    @property
    def arguments(self) -> list[str]:
        """For the command line of the study."""
        return ["--track", self.track, "--params", str(self.params), "--data", str(self.folder / "data")]


def ellipse(seed: int) -> NDArray[np.bool_]:
    """An object somewhere. Shape: SHAPE"""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    center = chance.uniform((16, 20), (32, 44))
    return np.asarray(
        ((y - center[0]) / chance.uniform(8, 14)) ** 2 + ((x - center[1]) / chance.uniform(10, 18)) ** 2 < 1
    )


def cam_of(mask: NDArray[np.bool_], seed: int) -> NDArray[np.float32]:
    """A raw map that knows roughly where the object is. Shape: CELLS"""
    coarse = mask.reshape(CELLS[0], 8, CELLS[1], 8).mean(axis=(1, 3))
    noise = np.random.default_rng(seed).normal(0, 0.15, CELLS)
    return (7 * (coarse + noise) - 2).astype(np.float32)


def stored(
    cams: NDArray[np.float32], classes: list[int], percentile: float, probabilities: list[float]
) -> dict[str, Any]:
    """Arrays of one image as the stage `extract` leaves them."""
    standards = [find_standard(resize(cam, SHAPE), "percentile", percentile) for cam in cams]
    scaled = [apply_standard(cam, standard) for cam, standard in zip(cams, standards, strict=True)]
    return {
        "maps": np.stack(scaled).astype(np.float16),
        "classes": np.array(classes, np.int32),
        "standard": np.array([(s.low, s.unit) for s in standards], np.float32),
        "probabilities": np.array(probabilities, np.float16),
        "predicted": np.array(classes[:1], np.int32),
        "known": np.array([False]),
    }


def _write_image(folder: Path, image_id: str, mask: NDArray[np.bool_], seed: int) -> None:
    chance = np.random.default_rng(seed)
    image = np.where(mask[..., None], (200, 170, 60), (60, 90, 80)) + chance.normal(0, 14, (*SHAPE, 3))
    write_png(folder / f"{image_id}.png", np.clip(image, 0, 255).astype(np.uint8))


def make(folder: Path, track: str, val: int, test: int) -> MadeRun:
    """Write everything that a finished run holds, and its params."""
    rows, items = [], {}
    for number in range(val + test):
        split = "val" if number < val else "test"
        image_id, label = f"{split}_{number}", number % len(CLASSES)
        mask = ellipse(number)
        _write_image(folder / "images", image_id, mask, number)
        if split == "val":
            values = mask * (255 if track == "track3" else label + 1)
            write_png(folder / "images" / f"{image_id}_mask.png", values.astype(np.uint8))
        rows.append(
            {
                "id": image_id,
                "file": f"{image_id}.png",
                "width": SHAPE[1],
                "height": SHAPE[0],
                "labels": [label] if split == "val" else [],
                "split": split,
                "mask": f"{image_id}_mask.png" if split == "val" else None,
                "boxes": None,
                "bytes": 1,
            }
        )
        other = (label + 1) % len(CLASSES)
        cams = np.stack([cam_of(mask, number), cam_of(ellipse(number + 1000), number + 500)])
        probabilities = [0.5 if k == other else 0.9 if k == label else 0.1 for k in range(len(CLASSES))]
        kept = 1 if track == "track3" else 2
        items[image_id] = stored(cams[:kept], [label, other][:kept], 90.0, probabilities)
    data = folder / "data"
    kind = "foreground" if track == "track3" else "labels"
    manifest = from_rows(rows, CLASSES, folder / "images", kind)
    write_manifest(data / "manifest", manifest)
    about = {"classes": list(CLASSES), "scale": "percentile", "percentile": 90.0, "loss": "single_label"}
    for split in SPLITS:
        of_split = {image_id: arrays for image_id, arrays in items.items() if image_id.startswith(split)}
        store = data / "maps" / split
        finish(store, [write_shard(store, 0, of_split)] if of_split else [], about)
    classifier = make_tiny(len(CLASSES))
    save_classifier(classifier, data / "model")
    keep_features(manifest, classifier, data / "features", extract_settings(diagnostic_images=val), get_track(track))
    params = recipe()
    params["tracks"][track] = merge(params["tracks"][track], FAST)
    if track == "track1":
        params["tracks"][track] = merge(params["tracks"][track], BOTH)
    params["tracks"][track] = merge(params["tracks"][track], {"extract": {"scale": "percentile", "percentile": 90.0}})
    write_yaml(folder / "params.yaml", params)
    return MadeRun(folder, folder / "params.yaml", track)
