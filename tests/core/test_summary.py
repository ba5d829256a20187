"""Numbers over several runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.summary import Summary, summarize


def test_a_single_seed_has_no_spread() -> None:
    assert summarize([0.25]) == Summary(0.25, None, (0.25,))


def test_spread_is_the_sample_standard_deviation() -> None:
    assert summarize([1, 3, 8]).spread == pytest.approx(((9 + 1 + 16) / 2) ** 0.5)
    assert summarize([1, 3, 8]).mean == 4


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=5), st.floats(-1, 1))
def test_moving_every_value_moves_the_mean_and_no_spread(values: list[float], step: float) -> None:
    before, after = summarize(values), summarize([value + step for value in values])
    assert after.mean == pytest.approx(before.mean + step, abs=1e-12)
    assert after.spread == pytest.approx(before.spread, abs=1e-6)


def test_the_sum_is_exact() -> None:
    assert summarize([1e16, 1.0, -1e16]).mean == pytest.approx(1 / 3)  # a plain sum gives 0
