"""The three phenomena on maps of a few cells, against explicit loops."""

import numpy as np
import pytest

from pipeline.evaluate.phenomena import (
    Truth,
    activated,
    area_shares,
    average_ranks,
    density_ratio,
    intersection_over_area,
    positions_of_half,
    rank_correlation,
    separation,
    top_overlap,
)


def _truth(inside, known=None):
    inside = np.array(inside, np.float32)
    return Truth(inside, np.ones_like(inside) if known is None else np.array(known, np.float32))


@pytest.mark.parametrize("theta", [0.0, 0.05, 0.5])
def test_areas_and_ioa_equal_a_plain_loop(theta):
    chance = np.random.default_rng(0)
    features = np.maximum(chance.normal(0, 1, (7, 4, 5)), 0).astype(np.float32)
    features[3] = 0  # dead
    inside = chance.random((4, 5)).astype(np.float32)
    areas, ioa = area_shares(features, theta), intersection_over_area(activated(features, theta), _truth(inside))
    for c, channel in enumerate(features):
        cells = [(h, w) for h in range(4) for w in range(5) if channel[h, w] > theta * channel.max()]
        if c == 3:
            assert np.isnan(areas[c])
            assert np.isnan(ioa[c])
            continue
        assert areas[c] == pytest.approx(len(cells) / 20)
        assert ioa[c] == pytest.approx(sum(inside[cell] for cell in cells) / len(cells))


def test_ignored_cells_are_in_neither_side_of_ioa():
    active = np.array([[[True, True, True]]])
    assert intersection_over_area(active, _truth([[1, 0, 0]], [[1, 1, 0]])).tolist() == [0.5]


def test_a_region_that_knows_nothing_reaches_the_objects_share():
    truth = _truth([[1, 0, 0, 0.5]])
    assert intersection_over_area(np.ones((1, 1, 4), bool), truth)[0] == truth.share == 0.375


def test_density_tells_on_which_side_evidence_lies():
    truth = _truth([[1, 1, 0, 0]])
    assert density_ratio(np.array([[4, 2, 1, 1]], np.float32), truth) == 3
    assert density_ratio(np.array([[1, 1, 4, 0]], np.float32), truth) == 0.5
    assert density_ratio(np.array([[5, 5, 5, 5]], np.float32), truth) == 1


@pytest.mark.parametrize("inside", [[[0.0, 0.0]], [[1.0, 1.0]]])
def test_all_or_nothing_has_no_ratio_and_no_pairs(inside):
    values = np.array([[1.0, 2.0]], np.float32)
    assert np.isnan(density_ratio(values, _truth(inside)))
    assert np.isnan(separation(values, _truth(inside)))


def test_separation_equals_counting_all_pairs():
    chance = np.random.default_rng(1)
    values = chance.integers(0, 5, (6, 7)).astype(np.float32)  # with ties
    inside = chance.random((6, 7)) > 0.6
    pairs = [(a > b) + 0.5 * (a == b) for a in values[inside] for b in values[~inside]]
    assert separation(values, _truth(inside)) == pytest.approx(sum(pairs) / len(pairs))
    assert separation(3 * values - 2, _truth(inside)) == pytest.approx(separation(values, _truth(inside)))
    assert separation(-values, _truth(inside)) == pytest.approx(1 - separation(values, _truth(inside)))


def test_rank_correlation_sees_order_alone():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(x, np.exp(x)) == 1
    assert rank_correlation(x, -(x**3)) == -1
    assert np.isnan(rank_correlation(x, np.ones(4)))
    assert np.isnan(rank_correlation(x[:2], x[:2]))
    assert average_ranks(np.array([2.0, 2.0, 1.0, 3.0])).tolist() == [2.5, 2.5, 1, 4]


def test_peaks_at_one_place_overlap_and_spread_ones_do_not():
    together = np.zeros((4, 2, 5), np.float32)
    together[:, 1, 2] = [1, 2, 3, 4]
    assert top_overlap(together).max() == 1
    assert positions_of_half(together) == 1 / 10
    apart = np.eye(10, dtype=np.float32).reshape(10, 2, 5)
    assert top_overlap(apart).max() == pytest.approx(1 / 10)
    assert positions_of_half(apart) == 5 / 10


def test_dead_channels_count_nowhere():
    features = np.zeros((3, 2, 5), np.float32)
    assert np.isnan(positions_of_half(features))
    assert not top_overlap(features).any()
    features[0, 0, 0] = 1
    assert top_overlap(features).max() == 1
    assert positions_of_half(features) == 1 / 10
