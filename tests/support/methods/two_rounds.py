"""A toy method of two rounds: the second does not see the left half of the images, and its head gives the maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.classifier import Classifier
from pipeline.models.methods.base import Cam, TrainingMethod


@dataclass(frozen=True)
class Method(TrainingMethod):
    """Features and logits of the first round, maps of the second head."""

    @property
    def rounds(self) -> int:
        return 2

    def extra_layers(self, classifier: Classifier) -> Mapping[str, nn.Module]:
        return {"second": nn.Linear(classifier.head.in_features, classifier.head.out_features)}

    def maps(self, classifier: Classifier, features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        second = classifier.extra["second"]
        assert isinstance(second, nn.Linear)
        return cam(features, second.weight, wanted)

    def find_regions(self, classifier: Classifier, features: Tensor, targets: Tensor) -> Tensor:
        cells = torch.zeros(features.shape[0], *features.shape[2:], dtype=torch.bool)
        cells[:, :, : cells.shape[2] // 2] = True
        return cells

    def join_rounds(self, classifier: Classifier, trained: Sequence[Classifier]) -> None:
        classifier.backbone.load_state_dict(trained[0].backbone.state_dict())
        classifier.head.load_state_dict(trained[0].head.state_dict())
        classifier.extra["second"].load_state_dict(trained[1].head.state_dict())
