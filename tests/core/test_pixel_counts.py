"""Counts of values and of pairs, against NumPy."""

import numpy as np
import pytest

from pipeline.core import pixel_counts


@pytest.mark.parametrize("exact", [pixel_counts.EXACT, 7])
def test_values_are_counted_as_by_bincount(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_counts, "EXACT", exact)
    pixels = np.random.default_rng(0).integers(0, 256, (13, 18), dtype=np.uint8)
    for shown in (pixels, pixels[:, ::2], pixels[:0], np.full((5, 5), 255, np.uint8)):
        assert pixel_counts.value_counts(shown).tolist() == np.bincount(shown.ravel(), minlength=256).tolist()
        pairs = pixel_counts.pair_counts(shown, shown[::-1], (256, 256))
        expected = np.zeros((256, 256), np.int64)
        np.add.at(expected, (shown.ravel(), shown[::-1].ravel()), 1)
        assert np.array_equal(pairs, expected)
