"""Figures: equal numbers give equal bytes, and what is drawn is what was given."""

from xml.etree import ElementTree

from pipeline.report.figures import bars, curves

LINES = [("baseline", [[0.1, 0.5, 0.2], [0.1, 0.7, 0.3]]), ("full method", [[0.2, 0.8, 0.4]])]


def shapes(svg: bytes) -> int:
    return sum(element.tag.endswith("path") for element in ElementTree.fromstring(svg).iter())


def test_equal_numbers_give_equal_bytes_and_others_do_not() -> None:
    assert curves(LINES) == curves(LINES)
    assert curves(LINES) != curves([("baseline", [[0.1, 0.5, 0.2], [0.1, 0.7, 0.31]]), LINES[1]])
    assert bars([("a", [0.5, 0.6])], "peak IoU") == bars([("a", [0.5, 0.6])], "peak IoU")
    assert bars([("a", [0.5, 0.6])], "peak IoU") != bars([("a", [0.5, 0.61])], "peak IoU")


def test_a_row_more_is_drawn_as_more_shapes() -> None:
    assert shapes(curves(LINES)) > shapes(curves(LINES[:1]))
    assert shapes(bars([("a", [0.5]), ("b", [0.6])], "mIoU")) > shapes(bars([("a", [0.5])], "mIoU"))
