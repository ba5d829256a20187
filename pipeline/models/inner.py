"""Feature maps inside a backbone: where a level of the network ends, its output as a map, and its output changed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.models.feature_map import FeatureMap

MOST_PREFIX = 16  # tokens of no cell: class, distillation, registers


@dataclass(frozen=True, slots=True)
class Level:
    """A part of a network after which its features are a map.

    Attributes:
        name: of the module, as timm records it
        module: its output is changed by `changed`
        channels: of the map
    """

    name: str
    module: nn.Module
    channels: int


def levels_of(backbone: nn.Module) -> list[Level]:
    """The levels of a network that timm records, the finest first; none where it records none."""
    network = backbone.network if isinstance(backbone, FeatureMap) else backbone
    recorded: Any = getattr(network, "feature_info", [])
    modules = dict(network.named_modules())
    rows = [row for row in (recorded if isinstance(recorded, list) else recorded.info) if row.get("module") in modules]
    return [Level(row["module"], modules[row["module"]], row["num_chs"]) for row in rows]


def choose_level(backbone: nn.Module, name: str, key: str) -> Level:
    """The level of that name; `auto`: the last but one.

    Raises:
        TrainError: naming the levels there are
    """
    levels = levels_of(backbone)
    if name == "auto" and len(levels) > 1:
        return levels[-2]
    found = [level for level in levels if level.name == name]
    if not found:
        known = [*(["auto"] if len(levels) > 1 else []), *(level.name for level in levels)]
        raise TrainError(f"{key}: expected levels of the backbone among {known}, got {name!r}")
    return found[0]


@contextmanager
def changed(level: Level, backbone: nn.Module, images: Tensor, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """In here, the network goes on with what `change` makes of the map of a level.

    Args:
        images: what goes into the network. Shape: (N, 3, H, W)
        change: maps (N, C, h, w) to maps of the same shape; channels of a transformer may be negative
    """

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return _changed_output(output, level, cells_of(backbone, images.shape[2], images.shape[3]), change)

    handle = level.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def cells_of(backbone: nn.Module, height: int, width: int) -> tuple[int, int]:
    """Cells (rows, columns) of a network of tokens for an image; for others nobody asks.

    A network of one size resizes the image to it, others pad it: see `FeatureMap`.
    """
    if not isinstance(backbone, FeatureMap):
        return 0, 0
    layout = backbone.layout
    if layout.fixed:
        return layout.multiple // layout.output_stride, layout.multiple // layout.output_stride
    rows, columns = (
        (side + layout.margin + -side % layout.multiple) // layout.output_stride for side in (height, width)
    )
    return rows, columns


def _changed_output(output: Tensor, level: Level, cells: tuple[int, int], change: Callable[[Tensor], Tensor]) -> Tensor:
    """The output of a level, whatever its layout: (N, C, h, w), (N, h, w, C), or tokens (N, T, C)."""
    if isinstance(output, Tensor) and output.ndim == 4 and output.shape[1] == level.channels:
        return change(output)
    if isinstance(output, Tensor) and output.ndim == 4 and output.shape[3] == level.channels:
        return change(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    prefix = output.shape[1] - cells[0] * cells[1] if isinstance(output, Tensor) and output.ndim == 3 else -1
    if not 0 <= prefix <= MOST_PREFIX:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise TrainError(
            f"train.backbone.name: expected a map of {cells[0]} x {cells[1]} cells after {level.name!r}, got {what}; "
            "likely a network whose inner levels keep no positions: choose another level or another method"
        )
    tokens = output[:, prefix:].transpose(1, 2).unflatten(2, cells)
    result = output.clone()
    result[:, prefix:] = change(tokens).flatten(start_dim=2).transpose(1, 2)
    return result
