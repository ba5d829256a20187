"""Mean times of calls."""

import itertools

import pytest

from pipeline.core import stopwatch
from pipeline.core.stopwatch import mean_seconds


@pytest.mark.parametrize(
    ("times", "budget", "mean"),
    [
        ([5.0], 4.0, 5.0),  # the first one takes longer than all that there is
        ([4.0, 1.0], 4.0, 1.0),  # the first one only warms up, and at least one more counts
        ([4.0, 1.0, 3.0], 8.0, 2.0),
    ],
)
def test_the_mean_leaves_out_the_first_call_if_there_is_time_for_a_second(
    monkeypatch: pytest.MonkeyPatch, times: list[float], budget: float, mean: float
) -> None:
    calls: list[int] = []
    taken = iter(times)
    monkeypatch.setattr(stopwatch, "timeit", lambda call, number: call() or next(taken))
    assert mean_seconds(lambda: calls.append(1), budget) == mean
    assert len(calls) == len(times)


def test_a_call_is_timed() -> None:
    assert mean_seconds(lambda: sum(itertools.repeat(1, 1000)), 0.001) > 0
