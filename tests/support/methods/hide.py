"""A toy method that changes the input: it hides one half of every training image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.methods.base import TrainingMethod


@dataclass(frozen=True)
class Method(TrainingMethod):
    """Sets the left or the right half to one gray level."""

    level: int = 0

    def change_image(
        self, image: NDArray[np.uint8], random: np.random.Generator, color: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        hidden, half = image.copy(), image.shape[1] // 2
        side = slice(None, half) if random.integers(2) else slice(half, None)
        hidden[:, side] = self.level
        return hidden
