"""Images with instances for the formats: by hand, and of random masks."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.export.images import ExportImage, Named, segmented

NAMES = ("ant", "honey bee", "cow")
# ant with a hole; one pixel and a line of honey bee that touch nothing; a cow at the border
LABELS = np.array(
    [
        [1, 1, 1, 0, 2, 0, 0],
        [1, 0, 1, 0, 0, 0, 3],
        [1, 1, 1, 0, 2, 0, 3],
        [0, 0, 0, 0, 2, 0, 0],
    ],
    np.uint8,
)


def by_hand() -> ExportImage:
    """`LABELS` as an image, 7 x 4 (width x height)."""
    return make_image(LABELS)


def make_image(label_map: NDArray[np.uint8], name: str = "a", file_name: str = "deep/a.jpg") -> ExportImage:
    """A label map as an image, with the probabilities 0.5, 0.25 and 1."""
    return segmented(Named(name, file_name), label_map, np.array([0.5, 0.25, 1], np.float32), NAMES)


def label_maps(most: int = 12) -> st.SearchStrategy[NDArray[np.uint8]]:
    """Random label maps of many small parts, height and width 1 to `most`, at least one pixel of a class."""

    def draw(given: tuple[int, int, int, float]) -> NDArray[np.uint8]:
        seed, height, width, share = given
        chance = np.random.default_rng(seed)
        found = (chance.integers(1, 4, (height, width)) * (chance.random((height, width)) < share)).astype(np.uint8)
        found.flat[chance.integers(found.size)] = 1
        return found

    sides = st.integers(1, most)
    return st.tuples(st.integers(0, 10**6), sides, sides, st.floats(0.05, 1)).map(draw)


def union(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of any of the masks."""
    whole = np.zeros(shape, np.bool_)
    for mask in masks:
        whole |= mask
    return whole
