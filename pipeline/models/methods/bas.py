"""Background activation suppression: a generator learns a foreground map, behind which no activation of the class is
left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from pipeline.models.inner import Level, changed, choose_level
from pipeline.models.methods.base import Cam, Criterion, TrainingMethod
from pipeline.models.regions import label_maps, largest_of_labels

if TYPE_CHECKING:
    from pipeline.models.classifier import Classifier

GENERATOR = "generator"
EPSILON = 1e-8


@dataclass(frozen=True)
class Method(TrainingMethod):
    """After an inner level of the backbone, with X its features and G_k = sigmoid(conv3x3(X)_k) the map of class k:

        loss = loss of the whole image
             + strength * (S_b / S + area * mean(G_k) + foreground * loss of the final features times G_k)

    for the label k. S is the activation of class k, the mean over positions of max(CAM_k, 0); S_b is the same behind
    (1 - G_k) X. S_b / S counts as 0 where S_b >= S. It teaches the generator, and through its input what stands before
    the level; the rest of the backbone, the head, the masked X and S are constants there. Of several labels, the
    foreground is the largest G_k, and the ratio is averaged. The map of a class is G_k.

    Source: Wu et al., "Background Activation Suppression for Weakly Supervised Object Localization", CVPR 2022, section
    3; weights of the terms and what is constant: the authors' published code for CUB-200-2011
    """

    strength: Annotated[float, Field(ge=0)] = 1.0  # 0: the baseline, without a generator
    area: Annotated[float, Field(ge=0)] = 1.5  # weight of the mean of the map
    foreground: Annotated[float, Field(ge=0)] = 0.5  # weight of the loss of the foreground
    level: str = "auto"  # of the backbone, after which the generator stands; auto: the last but one

    @property
    def uses_pooled_features(self) -> bool:
        return self.strength == 0

    @property
    def compiles(self) -> bool:
        return self.strength == 0

    @property
    def reads_weights(self) -> bool:
        return self.strength == 0

    @property
    def level_options(self) -> Mapping[str, Sequence[str]]:
        return {"level": [self.level]} if self.strength else {}

    def extra_layers(self, classifier: "Classifier") -> Mapping[str, nn.Module]:
        if self.strength == 0:
            return {}
        channels = self._level(classifier).channels
        return {GENERATOR: nn.Conv2d(channels, classifier.head.out_features, 3, padding=1)}

    def features(self, classifier: "Classifier", images: Tensor) -> Tensor:
        """Those of the backbone, and after training the maps of all classes, on the same cells: (N, C + K, h, w)."""
        if classifier.training or self.strength == 0:
            return super().features(classifier, images)
        features, inner = self._look(classifier, images)
        maps = functional.interpolate(self._generate(classifier, inner), features.shape[2:], mode="bilinear")
        return torch.cat([features, maps.to(features.dtype)], dim=1)

    def loss(self, classifier: "Classifier", images: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        if self.strength == 0:
            return super().loss(classifier, images, targets, criterion)
        features, inner = self._look(classifier, images)
        foreground = self._foreground(classifier, inner, targets)
        behind = self._behind(classifier, images, inner, foreground)
        seen = features * functional.interpolate(foreground, features.shape[2:], mode="bilinear")
        guided = criterion(self.logits(classifier, seen), targets)
        ratio = background_ratio(features, behind, classifier.head.weight, targets)
        added = ratio + self.area * foreground.mean() + self.foreground * guided
        return criterion(self.logits(classifier, features), targets) + self.strength * added

    def maps(self, classifier: "Classifier", features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        if self.strength == 0:
            return super().maps(classifier, features, wanted, cam)
        generated = features[:, classifier.head.in_features :].float()
        return generated.take_along_dim(wanted[:, :, None, None], dim=1)

    def _level(self, classifier: "Classifier") -> Level:
        return choose_level(classifier.backbone, self.level, "train.method_options.level")

    def _look(self, classifier: "Classifier", images: Tensor) -> tuple[Tensor, Tensor]:
        """Final features, and those of the level. Shapes: (N, C, h, w), (N, D, h', w')"""
        inner: list[Tensor] = []

        def keep(maps: Tensor) -> Tensor:
            inner.append(maps)
            return maps

        with changed(self._level(classifier), classifier.backbone, images, keep):
            features = classifier.backbone_features(images)
        return features, torch.cat(inner)  # a batch may go through the backbone in parts

    def _generate(self, classifier: "Classifier", inner: Tensor) -> Tensor:
        generated: Tensor = classifier.extra[GENERATOR](inner)
        return generated.float().sigmoid()

    def _foreground(self, classifier: "Classifier", inner: Tensor, targets: Tensor) -> Tensor:
        """The map of the label, the largest of several. Shape: (N, 1, h', w')"""
        generated = self._generate(classifier, inner)
        if targets.ndim == 1:
            return generated.take_along_dim(targets[:, None, None, None], dim=1)
        return largest_of_labels(generated, targets > 0)

    def _behind(self, classifier: "Classifier", images: Tensor, inner: Tensor, foreground: Tensor) -> Tensor:
        """Final features of the background; nothing but the foreground gets a gradient. Shape: (N, C, h, w)"""
        backbone = classifier.backbone
        constant = {name: value.detach() for name, value in backbone.named_parameters()}
        # copies: with batch norms that are trained, only the whole images count
        constant |= {name: value.clone() for name, value in backbone.named_buffers()}
        rest = inner.detach() * (1 - foreground).to(inner.dtype)
        with changed(self._level(classifier), backbone, images, lambda _: rest):
            return classifier.run_backbone(partial(functional_call, backbone, constant), images)


def background_ratio(features: Tensor, behind: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """S_b / S of the labels, the mean over the labels of an image and over images with a label; 0 without one.

    Args:
        features: of the whole image. Shape: (N, C, h, w)
        behind: of its background
        weights: of the head. Shape: (K, C)
        targets: (N,) class indices, or (N, K) with 0 and 1

    Returns:
        A scalar in [0, 1]; its gradient goes to `behind` alone
    """
    maps, are_labels = label_maps(features.detach(), weights.detach(), targets)
    of_whole = maps.clamp(min=0).mean(dim=(2, 3))  # (N, L)
    of_background = label_maps(behind, weights.detach(), targets)[0].clamp(min=0).mean(dim=(2, 3))
    ratios = torch.where(of_background < of_whole, of_background / (of_whole + EPSILON), 0.0) * are_labels
    counts = are_labels.sum(dim=1)
    return (ratios.sum(dim=1) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
