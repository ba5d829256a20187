"""The classifier: backbone, pooling, linear head; and its files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.core.errors import TrainError
from pipeline.models.backbones import Normalization, build_backbone, normalize, stride_of
from pipeline.models.cell_offset import Offset
from pipeline.models.feature_map import count_channels
from pipeline.models.methods import make_method
from pipeline.models.methods.base import Cam, Criterion
from pipeline.models.network_files import DESIGN, load_state, read_design, save_network
from pipeline.models.parts import in_parts
from pipeline.models.pooling import make_pool
from pipeline.models.settings import Pooling

Loss = Literal["single_label", "multi_label"]


@dataclass(frozen=True, slots=True)
class Design:
    """Everything that rebuilds a classifier around its weights."""

    backbone: str
    output_stride: int
    pooling: Pooling
    tap_threshold: float
    classes: int
    loss: Loss
    normalization: Normalization
    offset: Offset = (0.0, 0.0)  # cells; (y, x): of a cell from an even grid, as measured after training
    method: str = "baseline"  # `train.method`
    method_options: dict[str, Any] = field(default_factory=dict)


class Classifier(nn.Module):
    """Images to class logits by way of a feature map that is never negative.

    The classifier weights of the paper are `head.weight`, (K, C); its feature map is what `features` returns. What
    depends on the training method (features, loss, logits, maps, extra layers) is asked of it. The output stride of
    `design` becomes that of the backbone, where it cannot have the one asked for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.backbone = build_backbone(design.backbone, design.output_stride)
        self.design = replace(design, output_stride=stride_of(self.backbone))
        self.pool = make_pool(design.pooling, design.tap_threshold)
        self.method = make_method(design.method, design.method_options)
        channels = count_channels(self.backbone)
        self.head = nn.Linear(channels, design.classes)
        # zeros: the first logits are equal for all classes, whatever the number of channels
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.extra = nn.ModuleDict(dict(self.method.extra_layers(self)))
        self.register_buffer("mean", torch.tensor(design.normalization.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(design.normalization.std).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 RGB, to features (N, C or more, h, w), not negative, as the method has them.

        The first C channels are those of the head.
        """
        return self.method.features(self, images)

    def backbone_features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 RGB, to the features of the backbone (N, C, h, w), not negative."""
        return self.run_backbone(self.backbone, images)

    def run_backbone(self, backbone: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """As `backbone_features`, with any backbone that wants the same normalization.

        The ReLU changes nothing where the network ends in one; elsewhere, as in transformers, it gives the F >= 0 that
        the formulas want.
        """

        def run(part: Tensor) -> Tensor:
            return functional.relu(backbone(normalize(part, self.mean, self.std)))

        return run(images) if self.training else in_parts(run, images)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 RGB, to logits (N, K), float32."""
        return self.logits(self.features(images))

    def logits(self, features: Tensor) -> Tensor:
        """Features (N, C or more, h, w) to logits (N, K), in float32 whatever the precision of the backbone."""
        return self.method.logits(self, features)

    def loss(self, images: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        """The mean loss of a batch of training images, as the method defines it; a scalar."""
        return self.method.loss(self, images, targets, criterion)

    def maps(self, features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        """Raw maps of the wanted classes (N, P), as the method defines them. Shape: (N, P, h, w)"""
        return self.method.maps(self, features, wanted, cam)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over classes (single label) or a sigmoid each (multi label). Shape: (N, K)"""
        return logits.softmax(dim=1) if self.design.loss == "single_label" else logits.sigmoid()

    def parameter_count(self) -> int:
        """Trained or loaded numbers; the challenge allows under 150 million."""
        return sum(parameter.numel() for parameter in self.parameters())


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write `weights.safetensors` and `design.json`; equal weights give equal bytes."""
    save_network(classifier, classifier.design, folder)


def classifier_digest(classifier: Classifier) -> str:
    """A digest of design and weights: classifiers with the same one make the same maps."""
    digest = hashlib.sha256(json.dumps(asdict(classifier.design), sort_keys=True).encode())
    for name, value in sorted(classifier.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_classifier(folder: Path) -> Classifier:
    """Read what `save_classifier` wrote, ready to predict.

    Raises:
        TrainError: if weights and design do not fit each other, or the design has no offset of the cells
    """
    values = read_design(folder)
    if "offset" not in values:
        raise TrainError(
            f"{folder / DESIGN}: expected the key 'offset', found none; likely an older version's: train again"
        )
    y, x = values["offset"]
    classifier = Classifier(Design(**{**values, "offset": (y, x)}))
    load_state(classifier, folder)
    return classifier.eval().to(memory_format=torch.channels_last)
