"""Small builders that several tests share: settings of a recipe with a few keys changed, folders of tiny images,
networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.device import Hardware
from pipeline.core.files import write_bytes
from pipeline.core.images import encode_png
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.settings import build, read_params
from pipeline.extract.settings import ExtractSettings
from pipeline.models.backbones import normalization
from pipeline.models.classifier import Classifier, Design
from pipeline.refine.settings import RefineSettings
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "folder.yaml"
CPU = Hardware(torch.device("cpu"), "fp32")
TINY = "test_resnet"  # timm's smallest residual network: 96 channels, random weights
SMALL = "tf_efficientnet_lite0"  # the one with weights in an installed package

T = TypeVar("T")
Values = dict[str, Any]


def merge(values: Values, changes: Mapping[str, Any]) -> Values:
    """`values` with the nested `changes` put in; a new dictionary."""
    merged = dict(values)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


PINNED: Values = {  # what tests rely on, whatever the recipe is tuned to
    "preprocess": {
        "source": {"name": "folder", "root": "data/raw/folder", "masks": "auto"},
        "watch": "", "check": "decode", "on_bad_image": "error", "jobs": -1,
        "parallel": {"backend": "loky", "address": ""},
    },
    "train": {
        "pooling": "tap", "tap_threshold": 0.05, "loss": "single_label", "label_choice": "rarest",
        "label_smoothing": 0.0, "class_weights": "none", "unsure_classes": {}, "class_folds": 0,
        "asymmetric": {"gamma_positive": 0.0, "gamma_negative": 0.0, "margin": 0.0},
        "sampling": "uniform", "resize": 384, "crop": 336, "flip": True, "accumulation_steps": 1, "head_epochs": 0,
        "checkpoint": "val_accuracy", "seed": 0, "compile": "auto",
        "backbone": {"name": SMALL, "output_stride": 16, "weights": "wheel", "weights_from": None, "trained": False,
                     "batch_norm": "frozen"},
        "optimizer": {"name": "sgd", "learning_rate": 0.002, "head_multiplier": 10.0, "momentum": 0.9,
                      "weight_decay": 1e-4,
                      "gradient_clip": 0.0},
        "schedule": {"name": "cosine", "warmup": 0.05, "steps": []},
    },
    "extract": {
        "batch_size": 16, "splits": ["val", "test"], "resize": "long_side", "sizes": [320, 448],
        "placement": "receptive_field",
        "flip": True, "map": "cam", "map_levels": [], "negative_weights": "clamp",
        "classes": "prediction", "max_classes": 1, "min_probability": 0.0,
        "class_thresholds": "fixed", "min_first_probability": 0.0, "class_crops": "none",
        "scale": "percentile", "percentile": 90.0, "diagnostic_images": 6, "train_images": 0,
    },
    "refine": {
        "output": "score_map", "shape": "free", "exponent": 0.7, "background": 0.45, "background_exponent": 0.0,
        "target_backgrounds": [], "min_probability": 0.4, "affinity": {"iterations": 0, "dilations": [1, 2]},
        "crf": {"enabled": True, "backend": "auto", "scale": 1.0, "iterations": 10,
                "gaussian": {"spatial_std": 3.0, "compat": 3.0},
                "bilateral": {"spatial_std": 60.0, "color_std": 8.0, "compat": 6.0}},
        "parallel": {"backend": "loky", "address": ""},
    },
    "student": {
        "enabled": False, "rounds": 1, "seed": 0, "decoder": {"name": "fpn", "width": 32, "dropout": 0.1},
        "backbone": {"name": SMALL, "output_stride": 32, "weights": "wheel", "weights_from": None, "trained": False,
                     "batch_norm": "frozen"},
        "targets": {"soft": True, "low": 0.5, "high": 0.5},
        "random_walk": {"enabled": False, "width": 16, "radius": 3, "exponent": 8.0, "steps": 4, "scale": "max",
                        "epochs": 4},
        "views": {"size": 64, "min_area": 0.4, "flip": True, "color": 0.3, "count": 2},
        "epochs": 12, "batch_size": 16, "accumulation_steps": 1,
        "optimizer": {"name": "adamw", "learning_rate": 0.001, "head_multiplier": 1.0, "momentum": 0.0,
                      "weight_decay": 0.01, "gradient_clip": 1.0},
        "schedule": {"name": "cosine", "warmup": 0.05, "steps": []},
        "resize": "long_side", "sizes": [96], "flip": True, "exponent": 0.6, "min_probability": 0.2, "min_share": 0.02,
        "shape": "free",
        "crf": {"enabled": True, "backend": "auto", "scale": 1.0, "iterations": 10,
                "gaussian": {"spatial_std": 3.0, "compat": 3.0},
                "bilateral": {"spatial_std": 60.0, "color_std": 8.0, "compat": 3.0}},
    },
    "package": {"split": "test"},
}  # fmt: skip
TRACK1: Values = {
    "train": {"loss": "multi_label", "checkpoint": "val_loss"},
    "extract": {"max_classes": 5, "min_probability": 0.2},
    "refine": {"output": "label_map"},
}


def recipe() -> Values:
    """A whole params file that is right, as plain values: the keys of the recipe, with values that do not move."""
    return merge(read_params(RECIPE), {"tracks": {"track1": merge(PINNED, TRACK1), "track3": PINNED}})


def _settings(kind: type[T], section: str, changes: Mapping[str, Any], fast: Mapping[str, Any]) -> T:
    values = merge(merge(recipe()["tracks"]["track3"][section], fast), changes)
    return build(kind, values, RECIPE, f"tracks.track3.{section}")


def train_settings(**changes: Any) -> TrainSettings:
    """`tracks.track3.train` of the recipe on the CPU in float32 with tiny images, and with `changes`."""
    fast = {"device": "cpu", "precision": "fp32", "resize": 64, "crop": 48, "views": 2, "epochs": 8, "batch_size": 4}
    return _settings(TrainSettings, "train", changes, fast)


def extract_settings(**changes: Any) -> ExtractSettings:
    """`tracks.track3.extract` of the recipe on the CPU in float32 with one tiny scale, and with `changes`."""
    fast = {"device": "cpu", "precision": "fp32", "sizes": [64], "splits": ["val"]}
    return _settings(ExtractSettings, "extract", changes, fast)


def refine_settings(**changes: Any) -> RefineSettings:
    """`tracks.track3.refine` of the recipe in this process, and with `changes`."""
    return _settings(RefineSettings, "refine", changes, {"jobs": 1, "shard_size": 2})


def student_settings(**changes: Any) -> StudentSettings:
    """`tracks.track3.student` of the recipe on the CPU in float32, switched on, in this process, and with `changes`."""
    fast = {"enabled": True, "device": "cpu", "precision": "fp32", "batch_size": 4, "jobs": 1, "workers": 0}
    fast["exponent"] = 1.0  # probabilities as they are
    return _settings(StudentSettings, "student", changes, fast)


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    """Activations after a ReLU: about half of them zero."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Images of blurred noise, uint8. Shape: (N, 3, H, W)"""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((*shape[:2], 5, 4), generator=generator)
    return (torch.nn.functional.interpolate(coarse, size=shape[2:], mode="bilinear") * 255).to(torch.uint8)


def make_tiny(
    classes: int = 3,
    pooling: str = "tap",
    loss: str = "single_label",
    stride: int = 16,
    name: str = TINY,
    method: str = "baseline",
    method_options: Values | None = None,
) -> Classifier:
    """A classifier whose backbone and head are random, the same at every call."""
    torch.manual_seed(0)
    design = Design(
        name,
        stride,
        cast(Any, pooling),
        0.05,
        classes,
        cast(Any, loss),
        normalization(name),
        method=method,
        method_options=method_options or {},
    )
    classifier = Classifier(design)
    torch.nn.init.normal_(classifier.head.weight, std=0.3)
    torch.nn.init.normal_(classifier.head.bias)
    return classifier.eval()


def write_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write pixels as a PNG."""
    write_bytes(path, encode_png(pixels))
    return path


def striped_ramp() -> NDArray[np.uint8]:
    """Every fourth row 100 brighter, columns rising by 6 levels; as a square it shrinks along one axis only."""
    rows, columns = np.indices((256, 20))
    return np.repeat((6 * columns + 100 * (rows % 4 == 0)).astype(np.uint8)[:, :, None], 3, axis=2)


def squared_ramp(side: int) -> NDArray[np.float64]:
    """`striped_ramp` as a square of that side, a divisor of 64: stripes averaged to 25, the ramp without steps."""
    places = ((np.arange(side) + 0.5) * 20 / side - 0.5).clip(0, 19)
    return np.broadcast_to((25 + 6 * places)[None, :, None], (side, side, 3))


COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 230)}
SHAPE = (40, 56)  # never square


def color_image(color: Sequence[int], seed: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """One color with some noise: a class that any network can tell."""
    noise = np.random.default_rng(seed).normal(0, 12, (*shape, 3))
    return np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)


def row(image_id: str, file: str, labels: Sequence[int], split: str, shape: tuple[int, int] = SHAPE) -> Values:
    """One row of a manifest, without mask and boxes."""
    size = {"width": shape[1], "height": shape[0]}
    return {
        "id": image_id,
        "file": file,
        **size,
        "labels": list(labels),
        "split": split,
        "mask": None,
        "boxes": None,
        "bytes": 0,
    }


def color_set(root: Path, train: int = 6, val: int = 2) -> Manifest:
    """A folder of images of one color each; the color is the class."""
    rows = []
    for split, count in (("train", train), ("val", val)):
        for k, (name, color) in enumerate(COLORS.items()):
            for n in range(count):
                image_id = f"{split}_{name}_{n}"
                write_png(root / f"{image_id}.png", color_image(color, seed=len(rows)))
                rows.append(row(image_id, f"{image_id}.png", [k], split))
    return from_rows(rows, list(COLORS), root, "labels")
