"""Attention-based dropout layer: in training, hide the strongest positions of inner maps, or weigh all by attention."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.models.inner import Level, changed, choose_level
from pipeline.models.methods.base import TrainingMethod

if TYPE_CHECKING:
    from pipeline.models.classifier import Classifier

LAST = "last"  # the feature map that the head pools


@dataclass(frozen=True)
class Method(TrainingMethod):
    """For a map F of some layer, with A its mean over channels:

        drop mask = 1(A <= threshold * max A), importance map = sigmoid(A)

    F is multiplied by the drop mask with probability `drop_rate`, else by the importance map, drawn for each batch and
    layer. At test F stays as it is. The paper's F are not negative; of others, the negative part does not count in A.

    Source: Choe and Shim, "Attention-based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019, section
    3
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0  # of a batch and layer to be changed; 0: the baseline
    drop_rate: Annotated[float, Field(ge=0, le=1)] = 0.75  # of the drop mask, else the importance map
    threshold: Annotated[float, Field(gt=0, le=1)] = (
        0.9  # gamma; share of the maximum above which a position is dropped
    )
    layers: str = "auto last"  # levels of the backbone; auto: the last but one; last: the feature map of the head

    @property
    def uses_pooled_features(self) -> bool:
        return self.probability == 0

    @property
    def compiles(self) -> bool:
        return self.probability == 0

    @property
    def level_options(self) -> Mapping[str, Sequence[str]]:
        return {"layers": [name for name in self.layers.split() if name != LAST]}

    def extra_layers(self, classifier: "Classifier") -> Mapping[str, nn.Module]:
        """None; names of levels that the backbone does not have are refused."""
        self._levels(classifier)
        return {}

    def features(self, classifier: "Classifier", images: Tensor) -> Tensor:
        if not classifier.training or self.probability == 0:
            return super().features(classifier, images)
        with ExitStack() as stack:
            for level in self._levels(classifier):
                stack.enter_context(changed(level, classifier.backbone, images, self.weigh))
            features = super().features(classifier, images)
        return self.weigh(features) if LAST in self.layers.split() else features

    def _levels(self, classifier: "Classifier") -> list[Level]:
        names = self.level_options["layers"]
        return [choose_level(classifier.backbone, name, "train.method_options.layers") for name in names]

    def weigh(self, features: Tensor) -> Tensor:
        """A map as training has it. Shape: (N, C, h, w)"""
        attention = features.clamp(min=0).mean(dim=1, keepdim=True)  # (N, 1, h, w)
        kept = (attention <= self.threshold * attention.amax(dim=(2, 3), keepdim=True)).to(features.dtype)
        is_changed, drops = torch.rand(2, device=features.device) < torch.tensor(
            [self.probability, self.drop_rate], device=features.device
        )
        mask = torch.where(drops, kept, attention.sigmoid())
        return torch.where(is_changed, features * mask, features)
