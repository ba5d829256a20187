"""A toy method with a second head on features of its own: both are trained, and the maps are the larger of the two."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.classifier import Classifier
from pipeline.models.methods.base import Cam, Criterion, TrainingMethod


@dataclass(frozen=True)
class Method(TrainingMethod):
    """Logits of the head, the loss of both, M = max(M of the head, M of the second head)."""

    weight: float = 1.0  # of the second loss

    @property
    def uses_pooled_features(self) -> bool:
        return False

    def extra_layers(self, classifier: Classifier) -> Mapping[str, nn.Module]:
        channels, classes = classifier.head.in_features, classifier.head.out_features
        return {"mix": nn.Conv2d(channels, channels, 1), "second": nn.Linear(channels, classes)}

    def loss(self, classifier: Classifier, images: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        features = classifier.features(images)
        first = criterion(self.logits(classifier, features), targets)
        second = classifier.extra["second"](classifier.pool(self._mixed(classifier, features)))
        return first + self.weight * criterion(second.float(), targets)

    def maps(self, classifier: Classifier, features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        second = classifier.extra["second"]
        assert isinstance(second, nn.Linear)
        ours = cam(self._mixed(classifier, features), second.weight, wanted)
        return torch.maximum(super().maps(classifier, features, wanted, cam), ours)

    def _mixed(self, classifier: Classifier, features: Tensor) -> Tensor:
        mixed: Tensor = classifier.extra["mix"](features.float()).relu()
        return mixed
