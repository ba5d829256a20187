"""What a training method may change: images, batches, extra layers, features, the loss of a batch, rounds, and maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    layers are part of the classifier, which trains, stores and loads them. It keeps nothing between two batches, so a
    training that was stopped goes on without knowing of it.
    """

    @property
    def uses_pooled_features(self) -> bool:
        """Whether the loss depends on each image by itself, through the pooled features of the backbone alone. If it
        does, those of a frozen backbone are computed once for all epochs, and `features` and `loss` are not called."""
        return True

    @property
    def changes_batches(self) -> bool:
        """Whether `change_batch` does anything. If it does, several ranks exchange the images of each batch."""
        return False

    @property
    def compiles(self) -> bool:
        """Whether the loss can be compiled; else `train.compile` is not read."""
        return True

    @property
    def rounds(self) -> int:
        """How many networks are trained one after the other, each without the regions that those before have found."""
        return 1

    @property
    def reads_weights(self) -> bool:
        """Whether the maps are made with the weights of the head; else `extract.negative_weights` is not read."""
        return True

    @property
    def level_options(self) -> Mapping[str, Sequence[str]]:
        """Names of the levels of the backbone that are changed or read, by the option that has them."""
        return {}

    def extra_layers(self, classifier: "Classifier") -> Mapping[str, nn.Module]:
        """Layers beside backbone and head, by name; they stand in `classifier.extra`.

        Args:
            classifier: with its backbone and head, whose weights are not loaded yet
        """
        return {}

    def head_trained(self, classifier: "Classifier") -> None:
        """The head has been trained alone (`train.head_epochs`), by the baseline's loss: extra layers may start from
        it."""

    def change_image(
        self, image: NDArray[np.uint8], random: np.random.Generator, color: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Change a training image after it was cropped and mirrored; images of val and test are never changed.

        Args:
            image: RGB, not to be changed in place. Shape: (H, W, 3), uint8
            random: depends on seed, epoch and image alone
            color: the mean color, which normalization brings to 0. Shape: (3,), uint8

        Returns:
            An image of the same shape
        """
        return image

    def change_batch(
        self, images: Tensor, targets: Tensor, classes: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change a batch of training images together with their targets.

        Args:
            images: not to be changed in place. Shape: (N, 3, H, W), uint8
            targets: (N,) class indices, or (N, K) with 0 and 1
            classes: K
            random: depends on seed, epoch and position in the epoch alone

        Returns:
            Images of the same shape, and targets: as they were, or (N, K), float32, from 0 to 1
        """
        return images, targets

    def features(self, classifier: "Classifier", images: Tensor) -> Tensor:
        """Features of images, in training and afterwards.

        Args:
            images: (N, 3, H, W), uint8 RGB, on the device

        Returns:
            (N, C or more, h, w), not negative; the first C channels are those of the head, further ones for the maps
        """
        return classifier.backbone_features(images)

    def head_features(self, classifier: "Classifier", features: Tensor) -> Tensor:
        """What the head pools and weighs: the first C channels. Shape: (N, C or more, h, w) to (N, C, h, w)"""
        return features[:, : classifier.head.in_features]

    def logits(self, classifier: "Classifier", features: Tensor) -> Tensor:
        """Class logits of features, in training and afterwards. Shapes: (N, C or more, h, w) to (N, K), float32"""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = classifier.head(classifier.pool(self.head_features(classifier, features)))
        return logits

    def loss(self, classifier: "Classifier", images: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        """The mean loss of a batch of training images.

        Args:
            images: (N, 3, H, W), uint8 RGB, on the device
            targets: (N,) class indices, or (N, K) from 0 to 1
            criterion: the loss that `train.loss` names

        Returns:
            A scalar, float32
        """
        return criterion(self.logits(classifier, classifier.features(images)), targets)

    def maps(self, classifier: "Classifier", features: Tensor, wanted: Tensor, cam: Cam) -> Tensor:
        """Raw maps of the wanted classes.

        Args:
            features: (N, C or more, h, w), not negative
            wanted: class indices of each image. Shape: (N, P)
            cam: weighs a feature map by the weights of a classifier, clamped or not as `extract.negative_weights` says

        Returns:
            Maps of any range; they are averaged over views and then scaled. Shape: (N, P, h, w), float32
        """
        return cam(self.head_features(classifier, features), classifier.head.weight, wanted)

    def find_regions(self, classifier: "Classifier", features: Tensor, targets: Tensor) -> Tensor:
        """Which cells of training images the next round does not see, with more than one round.

        Args:
            classifier: of the round that has ended: the baseline's
            features: (N, C, h, w)
            targets: (N,) class indices, or (N, K) with 0 and 1

        Returns:
            (N, h, w), bool
        """
        raise NotImplementedError(f"{type(self).__module__}: rounds is {self.rounds}, and no regions are found")

    def join_rounds(self, classifier: "Classifier", trained: Sequence["Classifier"]) -> None:
        """Take over the weights of all rounds, with more than one round.

        Args:
            classifier: takes them
            trained: the baseline's classifier of each round, in order
        """
        raise NotImplementedError(f"{type(self).__module__}: rounds is {self.rounds}, and no weights are taken over")
