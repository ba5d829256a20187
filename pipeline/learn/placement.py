"""Where the cells of a feature map look: the offset of their receptive fields from an even division of the image."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import padding

Offset = tuple[float, float]  # y, x
_PADS = (padding._ConstantPadNd, padding._ReflectionPadNd, padding._ReplicationPadNd)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer with a window, as the image passed it, along one axis.

    Attributes:
        jump: distance of its input's neighbors, in pixels of the image
        source, target: length of its input and output
        shift: from an even division of the input to the centers of the windows, in input positions
        share: 1 over the number of layers that read the same input
    """

    jump: int
    source: int
    target: int
    shift: float
    share: float


def cell_offset(backbone: nn.Module, output_stride: int) -> Offset:
    """Offset (y, x) of each cell's receptive field from the cell's even share of the image, in pixels of the input.

    Cell i of n, of stride s, is centered on pixel (i + 0.5) s - 0.5 + offset. Every layer with a window adds

        jump * ((k - 1) / 2 - p - (stride - 1) / 2)

    where k is the window with its dilation, p the padding before the first position, jump the distance of the layer's input
    positions in pixels. Layers that reduce the same length to the same length stand side by side (a shortcut and what it cuts
    short) and count together, with their mean. So padding on both sides gives a ResNet -7.5 px at stride 16, TensorFlow's
    padding on the right +7.5 px, and patches without padding 0.

    Found with one forward pass of zeros in evaluation mode. Sides of the image are multiples of the output stride, as they
    are here: padding that depends on the length may differ at others.

    Source: the arithmetic of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4
    """
    side = 4 * output_stride
    passed = _pass_through(backbone, side)
    return _sum_of_levels(list(_layers(passed, side, 0))), _sum_of_levels(list(_layers(passed, side, 1)))


def _pass_through(backbone: nn.Module, side: int) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Layers with a window in the order of a forward pass, with input and output; those of other data than maps left out."""
    passed: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == inputs[0].ndim == 4:
            passed.append((module, inputs[0], output))  # held, so that no other tensor gets the same identity

    hooks = [module.register_forward_hook(note) for module in backbone.modules() if _has_window(module)]
    try:
        with torch.inference_mode():
            backbone.eval()(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return passed


def _has_window(module: nn.Module) -> bool:
    window = hasattr(module, "stride") and (hasattr(module, "kernel_size") or hasattr(module, "filt_size"))
    return (window and not any(module.children())) or isinstance(module, _PADS)


def _layers(passed: list[tuple[nn.Module, Tensor, Tensor]], side: int, axis: int) -> Iterator[_Layer]:
    readers = Counter(id(source) for _, source, _ in passed)
    for module, source, output in passed:
        length = source.shape[2 + axis]
        jump = 2 ** round(math.log2(side / length))  # a padded input is a little longer than its share
        yield _Layer(jump, length, output.shape[2 + axis], _shift(module, length, axis), 1 / readers[id(source)])


def _shift(module: nn.Module, length: int, axis: int) -> float:
    if isinstance(module, _PADS):
        return -float(_before(module.padding, axis))
    kernel = int(_before(getattr(module, "kernel_size", None) or getattr(module, "filt_size", 1), axis))
    stride = int(_before(module.stride, axis))
    reach = int(_before(getattr(module, "dilation", 1), axis)) * (kernel - 1)
    return reach / 2 - _padding(module, length, stride, reach, axis) - (stride - 1) / 2


def _padding(module: nn.Module, length: int, stride: int, reach: int, axis: int) -> int:
    if _pads_like_tensorflow(module):
        return max((math.ceil(length / stride) - 1) * stride + reach + 1 - length, 0) // 2
    if isinstance(module.padding, str):
        return reach // 2 if module.padding == "same" else 0
    return int(_before(module.padding, axis))


def _pads_like_tensorflow(module: nn.Module) -> bool:
    """Whether one of timm's layers pads by the length of its input, the odd pixel on the right."""
    told = getattr(module, "same_pad", getattr(module, "dynamic_padding", None))
    return bool(told) if told is not None else "Same" in type(module).__name__


def _before(value: Any, axis: int) -> Any:
    """The entry for the start of an axis: of one number, of (y, x), or of (left, right, top, bottom)."""
    if isinstance(value, (tuple, list)):
        return value[axis] if len(value) == 2 else value[2 - 2 * axis]
    return value


def _sum_of_levels(layers: list[_Layer]) -> float:
    levels: dict[tuple[int, int], list[float]] = defaultdict(list)
    for layer in layers:
        if layer.target < layer.source:
            levels[layer.source, layer.target].append(layer.jump * layer.shift)
    kept = sum(layer.share * layer.jump * layer.shift for layer in layers if layer.target >= layer.source)
    return kept + sum(sum(shifts) / len(shifts) for shifts in levels.values())
