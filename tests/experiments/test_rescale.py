"""Other scales from stored maps, against scaling the raw maps themselves."""

import numpy as np
import pytest
from support.finished_run import CELLS, SHAPE, cam_of, ellipse, stored

from pipeline.core.images import resize, score_to_uint8
from pipeline.experiments.rescale import raw_maps, rescale_arrays
from pipeline.extract.scale import apply_standard, find_standard


def _scores(maps):
    return [score_to_uint8(np.clip(resize(cam.astype(np.float32), SHAPE), 0.0, 1.0)) for cam in maps]


def _arrays(percentile, count=20):
    cams = np.stack([cam_of(ellipse(seed), seed) for seed in range(count)])
    return cams, stored(cams, list(range(count)), percentile, [0.5] * count)


@pytest.mark.parametrize("percentile", [80.0, 95.0, 100.0])
def test_scores_differ_by_at_most_one_step_from_those_of_the_raw_maps(percentile):
    cams, arrays = _arrays(90.0)
    scale = "max" if percentile == 100 else "percentile"
    rescaled = rescale_arrays(arrays, SHAPE, scale, percentile)
    direct = [apply_standard(cam, find_standard(resize(cam, SHAPE), scale, percentile)) for cam in cams]
    for got, expected in zip(_scores(rescaled["maps"]), _scores(direct), strict=True):
        difference = np.abs(got.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.1  # at rounding borders only


def test_raw_maps_come_back_up_to_half_precision():
    cams, arrays = _arrays(90.0)
    above = cams - np.array([resize(cam, SHAPE).min() for cam in cams])[:, None, None]
    assert np.abs(raw_maps(arrays) - cams).max() <= np.abs(above).max() * 2**-11


def test_the_same_percentile_changes_nothing_that_counts():
    _, arrays = _arrays(90.0)
    again = rescale_arrays(arrays, SHAPE, "percentile", 90.0)
    np.testing.assert_allclose(again["standard"], arrays["standard"], rtol=2e-3, atol=2e-3)
    for got, expected in zip(_scores(again["maps"]), _scores(arrays["maps"]), strict=True):
        assert np.abs(got.astype(int) - expected).max() <= 1


def test_a_constant_map_stays_zero():
    arrays = stored(np.full((1, *CELLS), 0.3, np.float32), [0], 90.0, [1.0])
    rescaled = rescale_arrays(arrays, SHAPE, "max", 90.0)
    assert not rescaled["maps"].any()
    assert rescaled["standard"][0, 1] == 0


def test_classes_and_probabilities_stay():
    _, arrays = _arrays(90.0, count=3)
    rescaled = rescale_arrays(arrays, SHAPE, "max", 90.0)
    for name in ("classes", "probabilities"):
        np.testing.assert_array_equal(rescaled[name], arrays[name])
