"""Inverted score maps, and maps that only miss the objects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.submission.inversion import inversion_warning


def _counts(scores: list[int]) -> np.ndarray:
    return np.bincount(np.array(scores, np.int64), minlength=256)


@pytest.mark.parametrize(
    ("inside", "outside", "said"),
    [
        ([200, 100], [0, 50], None),
        ([0, 50], [200, 100], "mean score 25 inside the objects, 150 outside"),
        ([100], [125], None),  # 25 of 255 lower: chance
        ([100], [126], "mean score 100 inside the objects, 126 outside"),
        ([], [255], None),
        ([0], [], None),
    ],
)
def test_lower_scores_inside_are_named(inside: list[int], outside: list[int], said: str | None) -> None:
    found = inversion_warning(_counts(inside), _counts(outside))
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


@given(st.lists(st.integers(0, 255), min_size=1), st.lists(st.integers(0, 255), min_size=1))
def test_maps_and_their_inverse_are_never_both_named(inside: list[int], outside: list[int]) -> None:
    plain, inverse = _counts(inside), _counts(outside)
    found = [inversion_warning(plain, inverse), inversion_warning(plain[::-1].copy(), inverse[::-1].copy())]
    assert None in found
