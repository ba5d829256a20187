"""Charts: points at the right place, ticks that cover the range."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.charts import FRAME, Series, draw_chart, nice_ticks


def test_points_are_placed_in_the_frame() -> None:
    chart = draw_chart("", "x", [Series("a", "after", [(0, 0), (10, 0.5), (20, 1)], [(20, 1)], "text")])
    left, top, right, bottom = FRAME
    assert chart is not None
    assert chart.lines[0].path == f"M{left} {bottom}L{(left + right) // 2} {(top + bottom) // 2}L{right} {top}"
    assert chart.lines[0].marks == [(right, top, "a: 1.000 at 20")]
    assert chart.y_ticks[0] == (bottom, "0")
    assert chart.y_ticks[-1] == (top, "1")
    assert [label for _, label in chart.x_ticks] == ["0", "5", "10", "15", "20"]


def test_a_single_point_and_zeros_can_be_drawn() -> None:
    chart = draw_chart("", "", [Series("a", "", [(1, 0.0)]), Series("b", "", [])])
    assert chart is not None
    assert len(chart.lines) == 1
    assert len(chart.lines[0].marks) == 1  # else it could not be seen
    assert draw_chart("", "", [Series("b", "", [])]) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_cover_the_range(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= 8
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6, atol=1e-9)
    slack = 1e-6 * steps[0] + 1e-9
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
