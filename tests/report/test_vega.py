"""Charts: specifications that Vega-Lite accepts, with what counts in them; and the library inside the page."""

import json

import pytest
import vl_convert

from pipeline.report.vega import Chart, Line, bar_chart, heat_chart, histogram_points, line_chart, vega_script

CHARTS = [
    line_chart(
        "t", "x", "y", [Line("a", [(0, 0.5), (1, 0.25)], dots=[(0, 0.5)]), Line("b", [(0, 1.0)], mark="dotted")]
    ),
    line_chart("t", "x", "y", [Line("a", [(0, 0.5), (1, 0.25)])], (0, 255), (0, 1)),
    bar_chart("t", "x", "y", [("1\n2 images", 0.5, (0.25, 0.75)), ("2\n1 image", 0.25, None)]),
    heat_chart(
        "t", "x", "y", "images", [{"row": "a", "column": "b", "share": 0.5, "text": "3", "pair": [1, 2]}], ["a", "b"]
    ),
]


@pytest.mark.parametrize("chart", CHARTS)
def test_vega_lite_draws_the_chart(chart: Chart | None) -> None:
    assert chart is not None
    drawn = vl_convert.vegalite_to_svg({**chart.spec, "width": 400})
    assert drawn.startswith("<svg")
    assert ">x</text>" in drawn
    assert ">y</text>" in drawn


def test_lines_have_their_points_and_dots() -> None:
    chart = line_chart("t", "x", "y", [Line("a", [(0, 0.5), (1, 0.25)], dots=[(0, 0.5)]), Line("b", [(3, 1.0)])])
    assert chart is not None
    assert chart.spec["data"]["values"][2] == {"line": "b", "x": 3, "y": 1.0}
    assert chart.spec["layer"][1]["data"]["values"] == [
        {"line": "a", "x": 0, "y": 0.5},
        {"line": "b", "x": 3, "y": 1.0},
    ]
    assert [key.name for key in chart.legend] == ["a", "b"]


def test_nothing_to_draw_is_no_chart() -> None:
    assert line_chart("t", "x", "y", [Line("a", [])]) is None
    assert bar_chart("t", "x", "y", []) is None
    assert heat_chart("t", "x", "y", "images", [], []) is None
    assert histogram_points([0.0, 1.0], [0]) == []


def test_letters_do_not_shrink_with_the_chart() -> None:
    """The drawing takes the width of the page; nothing scales it."""
    for chart in CHARTS:
        assert chart is not None
        assert chart.spec["width"] == "container"
        assert "fontSize" not in json.dumps(chart.spec)


def test_the_script_is_the_same_every_time_and_ends_no_tag() -> None:
    first = vega_script()
    vega_script.cache_clear()
    assert vega_script() == first
    assert "</script" not in first
    assert "window.vegaEmbed" in first
