"""The segmentation network: a backbone of timm, a decoder of segmentation-models-pytorch, a linear head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.models.backbones import Normalization, build_backbone, normalize
from pipeline.models.fused import example_image, fuse_batch_norms
from pipeline.models.network_files import load_state, read_design, save_network
from pipeline.models.pyramid import pyramid_channels, pyramid_maps
from pipeline.student.settings import COARSEST

STRIDE = 4  # pixels for one cell of the output
MULTIPLE = 32  # pixels; of the sides of an input


@dataclass(frozen=True, slots=True)
class StudentDesign:
    """Everything that rebuilds a network around its weights.

    Attributes:
        outputs: 1 for the foreground of Track 3, K + 1 for background and classes of Track 1
    """

    backbone: str
    output_stride: int
    decoder: str
    width: int
    dropout: float
    outputs: int
    normalization: Normalization


class StudentNetwork(nn.Module):
    """Images to logits of each cell of 4 x 4 pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, design: StudentDesign) -> None:
        super().__init__()
        self.design = design
        self.backbone = build_backbone(design.backbone, design.output_stride, "student.backbone")
        channels = pyramid_channels(self.backbone, design.backbone)
        strides = [STRIDE * 2**level for level in range(len(channels))]
        if strides[-1] not in COARSEST[design.decoder]:
            allowed = " or ".join(map(str, COARSEST[design.decoder]))
            raise TrainError(
                f"student.decoder.name: expected maps of strides up to {allowed} for "
                f"{design.decoder!r}, got {strides} of {design.backbone!r}; see student.backbone.output_stride"
            )
        self.decoder = _make_decoder(design, channels)
        self.head = nn.Conv2d(design.width, design.outputs, 1)
        self.register_buffer("mean", torch.tensor(design.normalization.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(design.normalization.std).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Images (N, 3, H, W), uint8 RGB, sides multiples of 32, to maps of the strides 4, 8, 16, …"""
        return pyramid_maps(self.backbone, normalize(images, self.mean, self.std))

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps to logits (N, L, H / 4, W / 4), float32."""
        count = len(features[0])
        if self.training and count == 1:  # a batch norm over the one cell of a pooled map learns from two at least
            features = [torch.cat([level, level]) for level in features]
        first = features[0]
        unused = [first.new_empty(len(first), 0, 1, 1)] * 2  # strides 1 and 2, which no decoder of ours reads
        logits: Tensor = self.head(self.decoder([*unused, *features]))
        return logits[:count].float()

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 RGB, sides multiples of 32, to logits (N, L, H / 4, W / 4), float32."""
        return self.decode(self.features(images))

    def parameter_count(self) -> int:
        """Trained or loaded numbers; they count beside those of the classifier."""
        return sum(parameter.numel() for parameter in self.parameters())


def _make_decoder(design: StudentDesign, channels: tuple[int, ...]) -> nn.Module:
    every = [3, 0, *channels]  # of the strides 1, 2, 4, …, as the library counts them
    depth = len(channels) + 1
    decoder: nn.Module
    if design.decoder == "upernet":
        decoder = nn.Sequential(UPerNetDecoder(every, depth, design.width), nn.Dropout2d(design.dropout))
    elif design.decoder == "fpn":
        decoder = FPNDecoder(every, depth, design.width, design.width, design.dropout)
    else:
        decoder = DeepLabV3PlusDecoder(
            every,
            depth,
            out_channels=design.width,
            atrous_rates=(6, 12, 18),
            output_stride=16,
            aspp_separable=True,
            aspp_dropout=design.dropout,
        )
    return decoder


def fuse_student(network: StudentNetwork) -> StudentNetwork:
    """A network in mode `eval` with its batch norms fused: the same logits up to rounding, in less time."""
    return fuse_batch_norms(network, example_image(network.mean.device))


def save_student(network: StudentNetwork, folder: Path) -> None:
    """Write `weights.safetensors` and `design.json`; equal weights give equal bytes."""
    save_network(network, network.design, folder)


def load_student(folder: Path) -> StudentNetwork:
    """Read what `save_student` wrote, ready to predict.

    Raises:
        TrainError: if weights and design do not fit each other
    """
    network = StudentNetwork(StudentDesign(**read_design(folder)))
    load_state(network, folder)
    return network.eval().to(memory_format=torch.channels_last)
