"""Painting: exact codes, mixed colors, and colors that everybody can tell apart."""

from itertools import combinations

import numpy as np

from pipeline.report.overlays import (
    FALSE,
    HEAT,
    HIT,
    IGNORED,
    MISSED,
    OVERLAP_COLORS,
    PAINT,
    class_colors,
    cut_out,
    overlap,
    paint,
    paint_heat,
    shrink,
)


def test_overlap_exact_codes() -> None:
    truth = np.array([[0, 0, 1, 1, 1, 1]], np.uint8)
    prediction = np.array([[0, 2, 0, 1, 2, 1]], np.uint8)
    ignored = np.array([[0, 0, 0, 0, 0, 1]], bool)
    assert overlap(truth, prediction, ignored).tolist() == [[0, FALSE, MISSED, HIT, FALSE, IGNORED]]


def test_paint_mixes_grey_and_color() -> None:
    image = np.array([[[100, 100, 100], [255, 0, 0]]], np.uint8)
    painted = paint(image, np.array([[1, 0]], np.uint8), np.array([(0, 0, 0), OVERLAP_COLORS["missed"]], np.uint8))
    expected = [100 * (1 - PAINT) + part * PAINT for part in OVERLAP_COLORS["missed"]]
    np.testing.assert_allclose(painted[0, 0], expected, atol=0.5)
    np.testing.assert_array_equal(painted[0, 1], [76, 76, 76])  # luma of red, 0.299 * 255


def test_heat_follows_the_score() -> None:
    image = np.full((1, 3, 3), 128, np.uint8)
    painted = paint_heat(image, np.array([[0.0, 0.5, 1.0]], np.float32)).astype(float)
    for place, value in enumerate((0, 128, 255)):
        np.testing.assert_allclose(painted[0, place], 128 * (1 - PAINT) + HEAT[value] * PAINT, atol=0.5)
    assert HEAT.shape == (256, 3)
    assert HEAT[255, 0] > HEAT[255, 2]  # RGB: the top of the scale is yellow, not blue


def test_cut_out_keeps_the_foreground_only() -> None:
    image = np.full((1, 3, 3), 200, np.uint8)
    cut = cut_out(image, np.array([[1, 0, 0]], bool), np.array([[0, 0, 1]], bool))
    assert cut[0, 0].tolist() == [200, 200, 200]
    assert cut[0, 1].tolist() == [50, 50, 50]
    assert cut[0, 2].tolist() == list(OVERLAP_COLORS["ignored"])


def test_overlap_colors_differ_in_lightness_alone() -> None:
    """Whoever sees no hue at all still tells hit, missed and false apart."""
    light = [float(np.dot((0.299, 0.587, 0.114), OVERLAP_COLORS[name])) for name in ("hit", "missed", "false")]
    assert min(abs(a - b) for a, b in combinations(light, 2)) > 25  # of 255


def test_class_colors_differ_from_each_other() -> None:
    colors = class_colors().astype(int)
    first = colors[1:13]
    assert min(np.abs(a - b).max() for a, b in combinations(first, 2)) >= 40
    assert len(np.unique(colors[1:201], axis=0)) == 200
    assert colors[255].tolist() == list(OVERLAP_COLORS["ignored"])


def test_shrink_keeps_the_aspect_and_never_enlarges() -> None:
    assert shrink(np.zeros((300, 600, 3), np.uint8), 200).shape == (100, 200, 3)
    assert shrink(np.zeros((600, 3, 3), np.uint8), 200).shape == (200, 1, 3)
    assert shrink(np.zeros((30, 60, 3), np.uint8), 200).shape == (30, 60, 3)
