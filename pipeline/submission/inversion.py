"""Score maps that are high where no object is: a mistake that no check without the truth can see."""

import numpy as np
from numpy.typing import NDArray

CLEARLY = 0.1 * 255  # by how much the mean score has to be lower inside; maps that only miss the objects differ less


def inversion_warning(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> str | None:
    """Say so if the mean score is clearly lower inside the objects than outside.

    Args:
        inside: pixels of objects for each score 0..255. Shape: (256,)
        outside: the same of the background

    >>> inside, outside = np.zeros(256, np.int64), np.zeros(256, np.int64)
    >>> inside[55], outside[255] = 4, 8
    >>> inversion_warning(inside, outside)
    'mean score 55 inside the objects, 255 outside: lower where the objects are; likely inverted, 255 - score'
    """
    if not inside.any() or not outside.any():
        return None
    scores = np.arange(256)
    within, around = (float((scores * pixels).sum() / pixels.sum()) for pixels in (inside, outside))
    if around - within < CLEARLY:
        return None
    return (
        f"mean score {within:.0f} inside the objects, {around:.0f} outside: lower where the objects are; "
        "likely inverted, 255 - score"
    )
