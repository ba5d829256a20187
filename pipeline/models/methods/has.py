"""Hide-and-Seek: random patches of a training image are hidden, so that no part of the object is always there."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.models.methods.base import TrainingMethod

SIDE = 224  # pixels; of the crops for which the paper gives its patches


@dataclass(frozen=True)
class Method(TrainingMethod):
    """A grid of square patches, its size drawn for each image; each patch is hidden by itself. One size is 0: such an
    image stays whole.

    Hidden patches have the mean color, so that normalized inputs are 0 there, their expectation. Images of val and test
    are whole.

    Source: Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action
    Localization", ICCV 2017, section 3.1; sizes, "no hiding" among them, as in "HaS-mixed"
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5  # of each patch to be hidden; 0: the baseline
    patches: str = "0 16 32 44 56"  # sides, in pixels of a crop of 224, of others in proportion; 0: nothing is hidden

    def __post_init__(self) -> None:
        words = self.patches.split()
        if not any(word != "0" for word in words) or not all(word.isdecimal() for word in words):
            raise ValueError(
                f"expected sides in pixels with spaces between them, such as '0 16 32', got {self.patches!r}"
            )

    def change_image(
        self, image: NDArray[np.uint8], random: np.random.Generator, color: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        if self.probability == 0:
            return image
        drawn = int(random.choice([int(word) for word in self.patches.split()]))
        if drawn == 0:
            return image
        patch = max(1, round(drawn * max(image.shape[:2]) / SIDE))
        rows, columns = (np.arange(side) // patch for side in image.shape[:2])
        hidden = random.random((rows[-1] + 1, columns[-1] + 1)) < self.probability
        changed: NDArray[np.uint8] = np.where(hidden[rows][:, columns, None], color, image)
        return changed
