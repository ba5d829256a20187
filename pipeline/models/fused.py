"""Batch norms as a part of the convolutions before them: the same features up to rounding, in less time.

In a network that predicts, a batch norm has the mean m, variance v, scale g and shift b of each channel. With
s = g / sqrt(v + eps), the norm of a convolution is a convolution, too:

    (w * x + c - m) s + b = (w s) * x + (c - m) s + b

It saves the pass over every map that the norm takes: a fifth (float32) to a quarter (bfloat16) of the time of
EfficientNet-Lite0 on a CPU.

Which norm follows which convolution is seen in a pass of the network, and the new network is compared with the old one:
where they differ, as where weights are changed before each pass, the old one stays as a whole.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.models.backbones import normalize
from pipeline.models.classifier import Classifier

SIDE = 128  # pixels of the image of the pass: what the networks of students, of stride 32 at most, can take
TOLERANCE = 1e-3  # of the largest output; float32 differs by some 1e-6
NORMS = (nn.BatchNorm2d, BatchNormAct2d)
Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def fused_backbone(classifier: Classifier) -> Iterator[None]:
    """Within, the backbone of a classifier in mode `eval` is fused; afterwards it is the usual one, as it is saved."""
    whole = classifier.backbone
    classifier.backbone = fuse_backbone(classifier)
    try:
        yield
    finally:
        classifier.backbone = whole


def fuse_backbone(classifier: Classifier) -> nn.Module:
    """The backbone of a classifier in mode `eval`, fused."""
    image = example_image(classifier.mean.device)
    return fuse_batch_norms(classifier.backbone, normalize(image, classifier.mean, classifier.std))


@torch.inference_mode(False)
@torch.no_grad()
def fuse_batch_norms(network: Network, example: Tensor) -> Network:
    """A copy of a network in which the batch norms behind convolutions are parts of these; or the network itself.

    Args:
        network: in mode `eval`; what it gives for `example` is one tensor
        example: an input; not of zeros, which would not show every difference
    """
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # 10 bits would hide what is compared
        pairs = _pairs(network, example)
        if not pairs:
            return network
        fused = deepcopy(network)
        for convolution, norm in pairs.items():
            _fuse_pair(fused, convolution, norm)
        expected, found = network(example), fused(example)
        same = bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
    return fused if same else network


def example_image(device: torch.device) -> Tensor:
    """An image of noise, always the same one; draws from no state of others. Shape: (1, 3, S, S), uint8"""
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (1, 3, SIDE, SIDE), dtype=torch.uint8, generator=random).to(device)


def _fuse_pair(network: nn.Module, convolution: str, norm: str) -> None:
    """Put a norm into a convolution, both given by their names; what timm's norms do after it stays."""
    before, after = network.get_submodule(convolution), network.get_submodule(norm)
    assert isinstance(before, nn.Conv2d)
    assert isinstance(after, nn.BatchNorm2d)
    _put(network, convolution, fuse_conv_bn_eval(before, after))
    _put(network, norm, nn.Sequential(after.drop, after.act) if isinstance(after, BatchNormAct2d) else nn.Identity())


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of another one."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def _pairs(network: nn.Module, example: Tensor) -> dict[str, str]:
    """Names of the convolutions whose output goes into a batch norm, with the name of the norm; each runs once."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor, too: as long as it is there, no other one has its number
    pairs, runs = dict[str, str](), Counter[str]()

    def watch(name: str, module: nn.Module) -> None:
        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            runs[name] += 1
            if isinstance(module, nn.Conv2d):
                made[id(output)] = (name, output)
            elif id(inputs[0]) in made:
                pairs[made[id(inputs[0])][0]] = name

        handles.append(module.register_forward_hook(after))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) or type(module) in NORMS:
            watch(name, module)
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    return {convolution: norm for convolution, norm in pairs.items() if runs[convolution] == runs[norm] == 1}
