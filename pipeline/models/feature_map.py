"""Networks of timm whose output is not a map of any image yet: transformers, channels last, inputs of certain sizes."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.core.errors import TrainError

# what different networks raise where they cannot be built without pooling, or cannot take an image of this size
REFUSALS = (
    AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError
)  # fmt: skip
# how timm's transformers are told to take images of any size; others need no telling
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
# the first that gives a map; the others where timm cannot take the pooling away, or puts tokens of no cell there only
METHODS = ("forward", "forward_features", "forward_intermediates")
SIDES = (224, 128)  # pixels; whole multiples of all usual output strides: 4, 7, 8, 14, 16, 28, 32; 64


class RefusedError(TrainError):
    """Why a network gives no feature map."""


def count_channels(network: nn.Module) -> int:
    """C, the number of channels of the features, as timm records it."""
    # MobileNets widen their features before the classifier
    channels = getattr(network, "head_hidden_size", network.num_features)
    assert isinstance(channels, int)  # of every timm model
    return channels


@dataclass(frozen=True, slots=True)
class Layout:
    """How images go into a network, and how its output becomes a map."""

    method: str  # of timm's network; one of METHODS
    output_stride: int  # pixels
    multiple: int  # pixels; of the sides of the images that the network takes
    margin: int  # pixels; what is lost along an axis, both sides together, because the network pads nothing
    prefix: int  # tokens that belong to no cell (class, distillation, register), before the others
    channels_last: bool  # (N, h, w, C) rather than (N, C, h, w)
    channels: int
    fixed: bool  # the network takes images of multiple x multiple pixels only


class FeatureMap(nn.Module):
    """A network with its layout: images of any size in, a map out.

    With s the output stride, an image of H x W pixels has ceil(H / s) x ceil(W / s) cells, and cell (i, j) covers the
    pixels from (i s, j s) to ((i + 1) s, (j + 1) s). The image is padded with zeros, the mean color, on the right and
    below, to sides that the network takes; cells outside the image are cut away. A network of one size sees the image
    resized to it, bilinear with antialiasing, and its features are resized to the cells of the image.
    """

    def __init__(self, network: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.network, self.layout = network, layout
        self.num_features, self.output_stride = layout.channels, layout.output_stride  # as timm's networks have them

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), normalized, to features (N, C, ceil(H / s), ceil(W / s))."""
        height, width = (math.ceil(side / self.output_stride) for side in images.shape[2:])
        side = self.layout.multiple
        if self.layout.fixed:
            images = functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
            return functional.interpolate(self._map(images), (height, width), mode="bilinear")
        before, after = self.layout.margin // 2, self.layout.margin - self.layout.margin // 2
        right, below = (after + -length % side for length in (images.shape[3], images.shape[2]))
        return self._map(functional.pad(images, (before, right, before, below)))[:, :, :height, :width]

    def _map(self, images: Tensor) -> Tensor:
        output: Tensor = _call(self.network, self.layout.method, images)
        if output.ndim == 3:
            cells = tuple(side // self.output_stride for side in images.shape[2:])
            output = output[:, self.layout.prefix :].transpose(1, 2).reshape(len(output), -1, *cells)
        return output.permute(0, 3, 1, 2) if self.layout.channels_last else output


def make_feature_map(name: str) -> FeatureMap:
    """Build a network of timm as a feature map.

    Its features are what its classifier would get if nothing were pooled: a final norm is applied to every cell. Where
    timm cannot take the pooling away, they are the output of `forward_features`, or of the last block.

    Raises:
        RefusedError: with the reason, if its output is no map of the image
    """
    config = timm.get_pretrained_cfg(name)
    own = config.input_size[-1] if config else SIDES[0]
    for network in _networks(name):
        for side in dict.fromkeys((*SIDES[:1], own, *SIDES[1:])):
            with suppress(RefusedError):
                return FeatureMap(network, _finest(network, _measure(network, side, 2 * side)))
    return FeatureMap(network, _measure(network, own, own))


def _networks(name: str) -> Iterator[nn.Module]:
    """The network, told in every way that it knows to take images of any size; as it is last."""
    for option in ANY_SIZE:
        with suppress(*REFUSALS):  # mostly: it has no such argument
            yield _build(name, option)
    yield _build(name, {})


def _build(name: str, option: dict[str, Any]) -> nn.Module:
    # first with its usual pooling, which decides where some have their final norm, so that the weights fit
    network: nn.Module = timm.create_model(name, num_classes=0, **option).to(memory_format=torch.channels_last)
    with suppress(*REFUSALS):  # where the pooling cannot be taken away, forward gives no map
        network.reset_classifier(0, "")  # type: ignore[operator]
    return network.eval()


def _measure(network: nn.Module, height: int, width: int) -> Layout:
    """The layout of a network that takes images of this shape: of any size if it is twice as wide as high."""
    reasons = []
    for method in METHODS:
        try:
            return _read_layout(network, method, height, width)
        except RefusedError as error:
            reasons.append(str(error))
    raise RefusedError(reasons[-1])


def _read_layout(network: nn.Module, method: str, height: int, width: int) -> Layout:
    output, fixed = _run(network, method, height, width), height == width
    shape, prefix = tuple(output.shape), 0
    if len(shape) == 3:  # tokens (1, T, C): as many cells as a square, or two of them, can have
        rows = math.isqrt(shape[1] // (width // height))
        columns, channels = rows * (width // height), shape[2]
        prefix = shape[1] - rows * columns
    elif len(shape) == 4:
        last = shape[1] != count_channels(network) == shape[3]
        (rows, columns), channels = (shape[1:3], shape[3]) if last else (shape[2:], shape[1])
    if len(shape) not in (3, 4) or rows * columns < 2 or not (rows if fixed else columns - rows):
        raise RefusedError(f"its output for {height} x {width} pixels has the shape {shape}, which is no map of them")
    # by the difference: cells that are lost at the rim are lost along both axes
    stride, rest = divmod(height, rows if fixed else columns - rows)
    if rest:
        raise RefusedError(f"it has {rows} x {columns} cells for {height} x {width} pixels, no whole output stride")
    margin = max(0, height // stride - rows) * stride
    return Layout(method, stride, height, margin, prefix, len(shape) == 4 and last, channels, fixed)


def _call(network: nn.Module, method: str, images: Tensor) -> Any:
    if method == "forward_intermediates":
        return network.forward_intermediates(images, indices=1, intermediates_only=True)[0]  # type: ignore[operator]
    return getattr(network, method)(images)


@torch.no_grad()  # not inference mode: what a network keeps of this run is used in training, too
def _run(module: nn.Module, method: str, height: int, width: int) -> Tensor:
    try:
        output = _call(module, method, torch.zeros(1, 3, height, width))
    except REFUSALS as error:
        raise RefusedError(" ".join(str(error).split()) or f"a {type(error).__name__}") from error
    if not isinstance(output, Tensor):
        raise RefusedError(f"its output is a {type(output).__name__}, not one map")
    return output


def _finest(network: nn.Module, layout: Layout) -> Layout:
    """The layout with the output stride as multiple, where the network takes such images: less padding.

    Raises:
        RefusedError: if an image of 9 x 10 output strides has other cells: the stride was an accident of rounding
    """
    finer, stride = replace(layout, multiple=layout.output_stride), layout.output_stride
    try:
        features = _run(FeatureMap(network, finer), "forward", 9 * stride, 10 * stride)
    except RefusedError:
        return layout
    if features.shape != (1, layout.channels, 9, 10):
        raise RefusedError(f"its cells for {9 * stride} x {10 * stride} pixels are not {stride} pixels apart")
    return finer
