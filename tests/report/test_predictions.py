"""Predictions as images: the right threshold, the right colors against the truth."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.report_data import HEIGHT, WIDTH, make_results

from pipeline.report.overlays import OVERLAP_COLORS, PAINT
from pipeline.report.predictions import draw_localization, draw_segmentation, peak_threshold, scaled_map
from pipeline.report.results import Results


def test_a_map_is_resized_before_it_is_clipped() -> None:
    maps = np.array([[[0.0, 4.0]]], np.float16)  # clipped first, the middle would be 0.5
    assert scaled_map(maps, (1, 3, 3)).tolist() == [[0.0, 1.0, 1.0]]


@pytest.mark.parametrize(("comparison", "is_hit"), [(">=", True), (">", False)])
def test_the_overlap_stands_at_the_peak_threshold(comparison: str, is_hit: bool, track3: Results) -> None:
    results = dataclasses.replace(track3, metrics={**track3.metrics, "comparison": comparison})
    record = next(iter(results.manifest))
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    prediction = np.full((HEIGHT, WIDTH), 90, np.uint8)
    drawn = dict(draw_localization(results, record, image, prediction, peak_threshold(results)).tiles)["overlap"]
    inside, outside = drawn[HEIGHT // 2, WIDTH // 2], drawn[0, 0]
    expected = OVERLAP_COLORS["hit" if is_hit else "missed"]
    np.testing.assert_allclose(inside, [128 * (1 - PAINT) + part * PAINT for part in expected], atol=0.5)
    rest = [128 * (1 - PAINT) + part * PAINT for part in OVERLAP_COLORS["false"]] if is_hit else [128] * 3
    np.testing.assert_allclose(outside, rest, atol=0.5)


def test_another_class_is_false_and_named(tmp_path: Path) -> None:
    results = make_results(tmp_path / "images", "track1")
    record = next(iter(results.manifest))  # truth: class id 1 in the middle
    prediction = np.full((HEIGHT, WIDTH), 3, np.uint8)
    drawn = draw_segmentation(results, record, np.full((HEIGHT, WIDTH, 3), 128, np.uint8), prediction, 0)
    middle = dict(drawn.tiles)["overlap"][HEIGHT // 2, WIDTH // 2]
    np.testing.assert_allclose(middle, [128 * (1 - PAINT) + part * PAINT for part in OVERLAP_COLORS["false"]], atol=0.5)
    assert (drawn.predicted, drawn.true) == ([2], [0])


def test_the_threshold_of_the_overlap_is_the_one_of_per_image_csv(track3: Results) -> None:
    assert peak_threshold(track3) == 90
    mean = {
        **track3.metrics,
        "average": "mean",
        "peak_threshold": 17,
    }  # images are scored at the pooled peak nevertheless
    assert peak_threshold(dataclasses.replace(track3, metrics=mean)) == 90
