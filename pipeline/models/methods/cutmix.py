"""CutMix: a box of another image in every image of a batch, labels mixed by area."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pipeline.models.methods.base import TrainingMethod

Box = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class Method(TrainingMethod):
    """One box and one order of partners for a batch:

        lambda ~ Beta(alpha, alpha), the box has the share 1 - lambda of the image and a center drawn from all pixels
        x' = x outside the box, x of the partner inside; y' = (1 - a) y + a y of the partner

    with a the share of the box after it was cut at the border. A label mixed by area gives the same loss as two losses
    mixed by area: cross entropy is linear in its target, and so is binary cross entropy.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV
    2019, section 3.1 and algorithm A1
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0  # of a batch; 0: the baseline
    alpha: Annotated[float, Field(gt=0)] = 1.0  # of the Beta distribution; 1: all shares are equally likely

    @property
    def uses_pooled_features(self) -> bool:
        return self.probability == 0

    @property
    def changes_batches(self) -> bool:
        return self.probability > 0

    def change_batch(
        self, images: Tensor, targets: Tensor, classes: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        if random.random() >= self.probability:
            return images, targets
        height, width = images.shape[2:]
        partners = torch.from_numpy(random.permutation(len(images)))
        rows, columns = draw_box(height, width, 1 - random.beta(self.alpha, self.alpha), random)
        mixed = images.clone()
        mixed[:, :, rows, columns] = images[partners][:, :, rows, columns]
        share = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        labels = (functional.one_hot(targets, classes) if targets.ndim == 1 else targets).float()
        return mixed, (1 - share) * labels + share * labels[partners]


def draw_box(height: int, width: int, share: float, random: np.random.Generator) -> Box:
    """A box of the proportions of the image and a share of its area, its center at any pixel, cut at the border."""
    ranges = []
    for side in (height, width):
        center, half = int(random.integers(side)), int(side * np.sqrt(share)) // 2
        ranges.append(slice(max(0, center - half), min(side, center + half)))
    return ranges[0], ranges[1]
