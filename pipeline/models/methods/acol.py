"""Adversarial complementary learning: a second classifier learns from what the first does not look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.models.methods.base import Cam, Criterion, TrainingMethod
from pipeline.models.regions import label_maps, largest_of_labels, scale_to_unit

if TYPE_CHECKING:
    from pipeline.models.classifier import Classifier

FIRST, SECOND, HEAD = "first_branch", "second_branch", "second_head"


class Branch(nn.Module):
    """Two 3 x 3 convolutions, added to their input: F + conv(relu(conv(F))), cut at 0; at first, F itself."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1)
        )
        last = self.layers[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = features + self.layers(features)
        return added.relu()


@dataclass(frozen=True)
class Method(TrainingMethod):
    """Two branches, each with its own layers and classifier. The second gets F without the peak region of the first:

        F' = F * 1(M < threshold), M the map of the label of the first branch, scaled to [0, 1]
        loss = loss of the first + weight * loss of the second; map = max of both maps, each scaled to [0, 1]

    The erased region is a constant for the gradient. Of several labels, the largest map counts. The first branch
    classifies. In the paper, the two convolutions of each branch have 1024 channels and are not added to their input;
    here they are, so that both classifiers can start from a head that was trained alone (`train.head_epochs`). Without
    convolutions, the default, both are linear on the features of the backbone, which needs no smaller rate of learning.

    Source: Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018,
    section 3.2
    """

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.6  # delta; of the first map's range
    weight: Annotated[float, Field(ge=0)] = 1.0  # of the second loss; 0: the baseline, without any branch
    width: Annotated[int, Field(ge=0)] = 0  # channels between the convolutions of a branch; 0: no convolutions

    @property
    def uses_pooled_features(self) -> bool:
        return self.weight == 0

    def extra_layers(self, classifier: "Classifier") -> Mapping[str, nn.Module]:
        if self.weight == 0:
            return {}
        channels, classes = classifier.head.in_features, classifier.head.out_features
        second = nn.Linear(channels, classes)
        nn.init.zeros_(second.weight)
        nn.init.zeros_(second.bias)
        branches = [Branch(channels, self.width) if self.width else nn.Identity() for _ in range(2)]
        return {FIRST: branches[0], SECOND: branches[1], HEAD: second}

    def head_trained(self, classifier: "Classifier") -> None:
        if self.weight:
            classifier.extra[HEAD].load_state_dict(classifier.head.state_dict())

    def head_features(self, classifier: "Classifier", features: Tensor) -> Tensor:
        return self._branch(classifier, FIRST, features)

    def loss(self, classifier: "Classifier", images: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        if self.weight == 0:
            return super().loss(classifier, images, targets, criterion)
        features = classifier.features(images)
        first = self._branch(classifier, FIRST, features)
        rest = self._branch(classifier, SECOND, self.erase(classifier, features, first, targets))
        with torch.autocast(features.device.type, enabled=False):
            logits, others = (classifier.head(classifier.pool(first)), classifier.extra[HEAD](classifier.pool(rest)))
            return criterion(logits, targets) + self.weight * criterion(others, targets)

    def maps(self, classifier: "Classifier", features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        if self.weight == 0:
            return super().maps(classifier, features, wanted, cam)
        first, second = self._branch(classifier, FIRST, features), classifier.extra[HEAD]
        assert isinstance(second, nn.Linear)
        of_class = []
        for column in wanted.T:  # what is erased differs from class to class
            rest = self._branch(classifier, SECOND, self.erase(classifier, features, first, column))
            of_class.append(cam(rest, second.weight, column[:, None]))
        ours = cam(first, classifier.head.weight, wanted)
        return torch.maximum(scale_to_unit(ours), scale_to_unit(torch.cat(of_class, dim=1)))

    @torch.no_grad()
    def _peaks(self, classifier: "Classifier", first: Tensor, targets: Tensor) -> Tensor:
        maps, are_labels = label_maps(first, classifier.head.weight, targets)
        return largest_of_labels(scale_to_unit(maps), are_labels) >= self.threshold

    def erase(self, classifier: "Classifier", features: Tensor, first: Tensor, targets: Tensor) -> Tensor:
        """The features that the second branch gets. Shape: (N, C, h, w), as of `first`, what the first branch made"""
        return features.masked_fill(self._peaks(classifier, first, targets), 0.0)

    def _branch(self, classifier: "Classifier", name: str, features: Tensor) -> Tensor:
        """What a branch makes of features, of any precision outside autocast."""
        if self.weight == 0:
            return features
        branched: Tensor = classifier.extra[name](features.float())
        return branched
