"""Adversarial erasing: networks trained one after the other, each without the regions that those before have found."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.models.methods.base import Cam, TrainingMethod
from pipeline.models.regions import erase_batch, label_maps, largest_of_labels, share_of_maximum

if TYPE_CHECKING:
    from pipeline.models.classifier import Classifier


class Round(nn.Module):
    """Backbone and head of a round after the first."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head


@dataclass(frozen=True)
class Method(TrainingMethod):
    """With M_r the map of round r, the region of a train image is {M_r > threshold * max M_r} for its labels; it is
    filled with the mean color for all later rounds. Maps: the largest of max(M_r, 0) / max M_r over the rounds.

    Each round is a network of its own, trained as the baseline from the same start. The first classifies. An image
    whose map is wanted is erased as train images are, by the classes that the first round predicts: the most probable
    one, with several labels an image all that are more likely than not.

    Source: Wei et al., "Object Region Mining with Adversarial Erasing: A Simple Classification to Semantic Segmentation
    Approach", CVPR 2017, section 3.1; without its second part, the online prohibitive segmentation learning
    """

    rounds: Annotated[int, Field(ge=1)] = 2  # 1: the baseline
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.8  # of the map's maximum; the paper's "top 20 %"

    def extra_layers(self, classifier: "Classifier") -> Mapping[str, nn.Module]:
        parts = (classifier.backbone, classifier.head)
        return {f"round_{n}": Round(*copy.deepcopy(parts)) for n in range(2, self.rounds + 1)}

    def features(self, classifier: "Classifier", images: Tensor) -> Tensor:
        """Of all rounds, one after the other: (N, R C, h, w)."""
        features = super().features(classifier, images)
        found, head = [features], classifier.head
        if self.rounds == 1:
            return features
        labels = _likely(classifier, self.logits(classifier, features))
        color = (255 * classifier.mean.view(3)).round().to(torch.uint8)
        erased: Tensor | None = None
        for part in self._rounds(classifier):
            cells = self._region(found[-1], head.weight, labels)
            erased = cells if erased is None else erased | cells
            found.append(classifier.run_backbone(part.backbone, erase_batch(images, erased, color)))
            head = part.head
        return torch.cat(found, dim=1)

    def maps(self, classifier: "Classifier", features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        if self.rounds == 1:
            return super().maps(classifier, features, wanted, cam)
        heads = [classifier.head, *(part.head for part in self._rounds(classifier))]
        each = zip(features.chunk(self.rounds, dim=1), heads, strict=True)
        maps = [share_of_maximum(cam(part, head.weight, wanted)) for part, head in each]
        return torch.stack(maps).amax(dim=0)

    def find_regions(self, classifier: "Classifier", features: Tensor, targets: Tensor) -> Tensor:
        return self._region(features, classifier.head.weight, targets)

    def join_rounds(self, classifier: "Classifier", trained: Sequence["Classifier"]) -> None:
        parts = [(classifier.backbone, classifier.head), *((p.backbone, p.head) for p in self._rounds(classifier))]
        for (backbone, head), one in zip(parts, trained, strict=True):
            backbone.load_state_dict(one.backbone.state_dict())
            head.load_state_dict(one.head.state_dict())

    def _region(self, features: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
        maps, are_labels = label_maps(features, weights, targets)
        return largest_of_labels(share_of_maximum(maps), are_labels)[:, 0] > self.threshold

    def _rounds(self, classifier: "Classifier") -> list[Round]:
        return [part for part in classifier.extra.values() if isinstance(part, Round)]


def _likely(classifier: "Classifier", logits: Tensor) -> Tensor:
    """The classes of an image as predicted: the most probable, and with several labels all above one half."""
    best = logits.argmax(dim=1)
    if classifier.design.loss == "single_label":
        return best
    return (logits > 0).scatter(1, best[:, None], True)
