"""A trained network as files: `weights.safetensors`, and `design.json`, which rebuilds it around them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from pipeline.core.errors import TrainError
from pipeline.core.files import read_json, write_bytes, write_json
from pipeline.models.backbones import Normalization
from pipeline.models.weight_files import check_finite_weights

WEIGHTS, DESIGN = "weights.safetensors", "design.json"


def save_network(network: nn.Module, design: Any, folder: Path) -> None:
    """Write both files; equal weights give equal bytes. `design` is a dataclass."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(folder / WEIGHTS, safetensors.torch.save(state))
    write_json(folder / DESIGN, asdict(design))


def read_design(folder: Path) -> dict[str, Any]:
    """The fields of the design by name; `normalization` is one."""
    values: dict[str, Any] = read_json(folder / DESIGN)
    recorded = values["normalization"]
    return {**values, "normalization": Normalization(tuple(recorded["mean"]), tuple(recorded["std"]))}


def load_state(network: nn.Module, folder: Path) -> None:
    """Fill a network that was built from the design.

    Raises:
        TrainError: if weights and design do not fit each other, or a weight is NaN or infinite
    """
    try:
        state = safetensors.torch.load_file(folder / WEIGHTS)
        network.load_state_dict(state)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise TrainError(f"{folder}: expected weights that fit {DESIGN}, got {error}") from error
    check_finite_weights(state, str(folder / WEIGHTS))
