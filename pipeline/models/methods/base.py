"""What a training method may change: the input image, extra layers, the loss of a batch, and the maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from pipeline.models.classifier import Classifier

Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (N, K) float32 and targets to the mean loss of a batch
Cam = Callable[[Tensor, Tensor, Tensor], Tensor]  # features (N, C, h, w), weights (K, C), wanted (N, P): (N, P, h, w)


@dataclass(frozen=True)
class TrainingMethod:
    """A way to train on image-level labels. As it stands, it is the baseline: each method overrides what it changes.

    The fields of a subclass are its options, set by `train.method_options`. A method has no weights of its own: extra
    layers are part of the classifier, which trains, stores and loads them.

    Attributes:
        uses_pooled_features: whether the loss depends on an image through its pooled features alone. If it does, the
            features of a frozen backbone are computed once for all epochs
    """

    uses_pooled_features: ClassVar[bool] = True

    def extra_layers(self, channels: int, classes: int) -> Mapping[str, nn.Module]:
        """Layers beside the head, by name; they stand in `classifier.extra`.

        Args:
            channels: C of the feature map
            classes: K
        """
        return {}

    def change_image(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Change a training image after it was cropped and mirrored; images of val and test are never changed.

        Args:
            image: RGB, not to be changed in place. Shape: (H, W, 3), uint8
            random: depends on seed, epoch and image alone

        Returns:
            An image of the same shape
        """
        return image

    def logits(self, classifier: "Classifier", features: Tensor) -> Tensor:
        """Class logits of a feature map, in training and afterwards. Shapes: (N, C, h, w) to (N, K), float32"""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = classifier.head(classifier.pool(features))
        return logits

    def loss(self, classifier: "Classifier", images: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        """The mean loss of a batch of training images.

        Args:
            images: (N, 3, H, W), uint8 RGB, on the device
            targets: (N,) class indices, or (N, K) with 0 and 1
            criterion: the loss that `train.loss` names

        Returns:
            A scalar, float32
        """
        return criterion(self.logits(classifier, classifier.features(images)), targets)

    def maps(self, classifier: "Classifier", features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        """Raw maps of the wanted classes.

        Args:
            features: (N, C, h, w), not negative
            wanted: class indices of each image. Shape: (N, P)
            cam: weighs a feature map by the weights of a classifier, clamped or not as `extract.negative_weights` says

        Returns:
            Maps of any range; they are averaged over views and then scaled. Shape: (N, P, h, w), float32
        """
        return cam(features, classifier.head.weight, wanted)
