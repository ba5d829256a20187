"""A file of weights as trainers write it: tensors by name, below the names of what they were wrapped in.

PyTorch's `compile` and `DataParallel`, Lightning, MoCo and others put their own names in front of every tensor, and
put the tensors into dictionaries beside other things. Known wrappers are taken away as often as they occur.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from pipeline.core.errors import TrainError, sample

State = Mapping[str, Tensor]

# keys of a checkpoint below which the weights may lie, the first one there counts
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "backbone", "weights")
# what stands in front of names; `encoder_q` is MoCo's network that is trained
PREFIXES = frozenset(
    {"module", "_orig_mod", "model", "network", "net", "backbone", "encoder", "encoder_q", "base_encoder"}
)
ALONE = "save the tensors alone where the file was made: `torch.save(model.state_dict(), 'weights.pth')`"
_GLOBAL = re.compile(r"(?:GLOBAL|global) ([\w.]+)")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, outside of the dictionaries they were wrapped in; nothing in it is executed.

    Raises:
        TrainError: if it is no such file, or holds other objects beside the tensors
    """
    if not path.is_file():
        raise TrainError(f"{path}: expected a file of weights, found none")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise many kinds; all mean that this is no such file
        raise TrainError(f"{path}: expected weights that load without executing code, {_cause(error)}") from error
    state = _unwrapped(state)
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        found = type(state).__name__
        if isinstance(state, dict):
            found = f"{sample(key for key, value in state.items() if not isinstance(value, Tensor))} beside or instead"
        raise TrainError(f"{path}: expected a dictionary of tensors by name, got {found}; {ALONE}")
    return state


def _cause(error: Exception) -> str:
    """Why a file does not load: its first line, without the advice to execute what it holds."""
    if named := _GLOBAL.search(str(error)):
        return f"got objects of {named[1]} beside the tensors; {ALONE}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"got {lines[0].partition('. ')[0]}; likely a truncated download, or no file of weights"


def _unwrapped(state: Any) -> Any:
    """What lies below the known keys of a checkpoint, as deep as they go."""
    while isinstance(state, dict):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict | list)), None)
        if inner is None:
            return state
        state = inner
    return state


def candidates(state: State, ours: Collection[str], origin: str) -> Iterator[State]:
    """The weights under the names that a network could know: below the prefix that fits, as they are, and without the
    wrappers that are common to all names.

    Args:
        state: tensors by name
        ours: the names that the network must have
        origin: named in errors

    Raises:
        TrainError: if they fit below a prefix that is no known wrapper, or below several
    """
    fitting = sorted(_fitting(state, ours), key=lambda prefix: (len(prefix), prefix))
    known = [prefix for prefix in fitting if PREFIXES.issuperset(prefix.split(".")[:-1])]
    if "" in fitting:
        known = [""]
    if fitting and len(known) != 1:
        raise TrainError(
            f"{origin}: expected weights without a prefix, got some that fit below {fitting}; save those below one of "
            f"them alone, without it: `{{k.removeprefix({fitting[-1]!r}): v for k, v in state.items()}}`"
        )
    if known:
        yield {name[len(known[0]) :]: value for name, value in state.items() if name.startswith(known[0])}
        return
    yield state
    bare = dict(state)
    while bare and len(first := {name.partition(".")[0] for name in bare}) == 1 and first <= PREFIXES:
        bare = {name.partition(".")[2]: value for name, value in bare.items()}
        yield bare


def _fitting(state: State, ours: Collection[str]) -> Iterator[str]:
    """The prefixes, each with its point, below which the state has a tensor for every name of ours."""
    one = next(iter(ours), "")
    prefixes = {name.removesuffix(one) for name in state if name == one or name.endswith(f".{one}")}
    return (prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in ours))


def check_finite_weights(state: State, origin: str) -> None:
    """Refuse weights that are no numbers.

    Raises:
        TrainError: naming the tensors with NaN or infinity
    """
    bad = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if bad:
        raise TrainError(
            f"{origin}: expected finite weights, got NaN or infinity in {len(bad)} of {len(state)} tensors: "
            f"{sample(bad)}; likely of a training that diverged, or a damaged file"
        )
