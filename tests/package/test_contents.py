"""What predictions hold together, and when it cannot be meant."""

import numpy as np
import pytest

from pipeline.core.tracks import get_track
from pipeline.package.contents import Contents, content_problems, content_warnings


def _contents(*images: list[int]) -> Contents:
    contents = Contents()
    for number, values in enumerate(images):
        contents.add(np.array([values], np.uint8), f"image{number}")
    return contents


def test_values_are_counted() -> None:
    contents = _contents([0, 0, 3], [2, 2, 2], [0, 0, 0])
    assert contents.values[:4].tolist() == [5, 0, 3, 1]
    assert (contents.images, contents.without_foreground, contents.constant) == (3, 1, ["image1", "image2"])
    assert contents.summarize(get_track("track3"))["constant_images"] == 2


def test_parts_together_hold_what_all_do() -> None:
    parts, whole = _contents([0, 0, 3]), _contents([0, 0, 3], [2, 2, 2])
    second = Contents()
    second.add(np.array([[2, 2, 2]], np.uint8), "image1")
    parts.merge(second)
    assert parts.values.tolist() == whole.values.tolist()
    assert parts.summarize(get_track("track1")) == whole.summarize(get_track("track1"))
    assert parts.constant == ["image1"]


@pytest.mark.parametrize(
    ("images", "track", "said"),
    [
        ([[0, 0], [0, 0]], "track1", "got only 0 in all 2"),
        ([[0, 0], [0, 0]], "track3", "got only 0 in all 2"),
        ([[9, 9], [0, 0]], "track1", "got one value each in all 2"),
        ([[255, 255]], "track3", None),  # one object that fills its image
        ([[0, 1], [1, 1]], "track3", "got only 0 and 1 in all 2"),
        ([[0, 1], [1, 1]], "track1", None),  # class 1 and background
        ([[0, 2], [1, 1]], "track3", None),
        ([[0, 0], [0, 1]], "track1", None),  # one image without foreground
        ([], "track1", None),
    ],
)
def test_what_says_nothing(images: list[list[int]], track: str, said: str | None) -> None:
    found = content_problems(_contents(*images), get_track(track), "x.zip")
    assert len(found) == (said is not None)
    assert all(line.startswith("x.zip: ") and said and said in line and "; likely " in line for line in found)


def test_some_constant_predictions_are_a_warning() -> None:
    (line,) = content_warnings(_contents([0, 1], [5, 5], [0, 0]))
    assert line.startswith("2 of 3 predictions hold one value only: ['image1', 'image2']; likely ")
    assert (
        content_warnings(_contents([0, 1])) == content_warnings(_contents([1, 1])) == content_warnings(Contents()) == []
    )
