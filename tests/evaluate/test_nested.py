"""A choice and its worth on other images: by hand, against a plain loop, and on candidates that differ by chance."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.intervals import peak_iou_score
from pipeline.evaluate.nested import NestedChoice, draw_halves, nested_choice


def mean_of(values):
    """A candidate whose score of some images is the mean of their values."""
    known = np.array(values, float)

    def score(weights):
        with np.errstate(invalid="ignore"):  # a resample may hold no image of a half
            return weights @ known / weights.sum(axis=1)

    return lambda: score


def test_a_candidate_that_is_best_everywhere_is_worth_its_score():
    found = nested_choice([mean_of([0.1, 0.2, 0.3, 0.4]), mean_of([0.5, 0.6, 0.7, 0.8])], images=4)
    assert found is not None
    assert (found.chosen, found.agreement) == (1, 1.0)
    assert found.score == found.nested == pytest.approx(0.65)
    assert found.gain == pytest.approx(0.4)
    assert found.gain_interval == pytest.approx((0.4, 0.4))  # every image gains the same
    assert found.nested_interval[0] < 0.65 < found.nested_interval[1]


def test_a_candidate_that_is_good_on_some_images_only_loses_on_the_others():
    """Each is perfect on two of four images: where a half holds two of a kind, the choice has 0 on the other half."""
    first, second = [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]
    found = nested_choice([mean_of(first), mean_of(second)], images=4, divisions=40)
    halves = draw_halves(4, 40, 0)
    expected = []
    for half, other in zip(halves, halves[np.arange(80) ^ 1], strict=True):
        values = second if half @ second > half @ first else first
        expected.append(other @ values / 2)
    assert (found.chosen, found.score) == (0, 0.5)  # the first of equal ones
    assert found.nested == pytest.approx(np.mean(expected))
    assert found.nested < 0.4


@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 99))
def test_halves_divide_the_images(images, divisions, seed):
    halves = draw_halves(images, divisions, seed)
    assert halves.shape == (2 * divisions, images)
    assert set(np.unique(halves)) <= {0, 1}
    assert (halves[::2] + halves[1::2] == 1).all()
    assert (halves[::2].sum(axis=1) == images // 2).all()
    assert (draw_halves(images, divisions, seed) == halves).all()


def test_against_a_plain_loop_over_images():
    random = np.random.default_rng(3)
    counts = [random.integers(0, 50, (7, 2, 256), np.int32) for _ in range(3)]

    def peak(which, images):
        inside, outside = counts[which][images].sum(axis=0)
        found = [inside[t:].sum() / (inside.sum() + outside[t:].sum()) for t in range(256)]
        return max(found)

    worth, base = [], []
    halves = draw_halves(7, 5, 0).astype(bool)
    for division in range(5):
        for half, other in ((2 * division, 2 * division + 1), (2 * division + 1, 2 * division)):
            best = max(range(3), key=lambda which, half=half: peak(which, halves[half]))
            worth.append(peak(best, halves[other]))
            base.append(peak(0, halves[other]))
    found = nested_choice([partial(peak_iou_score, one) for one in counts], images=7)
    assert found.nested == pytest.approx(np.mean(worth))
    assert found.gain == pytest.approx(np.mean(worth) - np.mean(base))


def test_among_candidates_that_differ_by_chance_the_choice_gains_nothing():
    """30 candidates with the same mean, 60 images: the best scores a standard error or two above it, the nested score
    does not. Over 40 draws the mean of the nested score has a spread of 0.003, that of the best one is 0.54."""
    random = np.random.default_rng(0)
    best, nested = [], []
    for _ in range(40):
        found = nested_choice([mean_of(row) for row in random.normal(0.5, 0.15, (30, 60))], images=60)
        best.append(found.score)
        nested.append(found.nested)
    assert np.mean(best) > 0.53
    assert abs(np.mean(nested) - 0.5) < 0.012
    assert np.mean([abs(one - 0.5) for one in nested]) < np.mean([abs(one - 0.5) for one in best])


def test_candidates_are_asked_for_when_they_are_needed():
    """Counts of many images and trials do not fit into memory."""
    alive, most = [0], [0]

    class Held:
        def __init__(self, value):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            self.value = value

        def __del__(self):
            alive[0] -= 1

        def __call__(self, weights):
            return np.full(len(weights), self.value) + 0.001 * weights[:, 0]

    nested_choice([partial(Held, number / 9) for number in range(9)], images=8)
    assert most[0] <= 3


def test_too_few_images_and_halves_without_foreground_have_no_nested_score():
    assert nested_choice([mean_of([1, 2, 3])], images=3) is None
    counts = np.zeros((4, 2, 256), np.int32)
    counts[:, 1, 0] = 9
    counts[0, 0, 5] = 9  # all foreground is in one image
    assert nested_choice([partial(peak_iou_score, counts)], images=4) is None


def test_both_scores_are_said():
    found = NestedChoice(1, 0.75, (0.5, 1.0), 0.7, (0.5, 0.9), 0.05, (-0.25, 0.5), 0.9)
    assert found.show("peak IoU", "the recipe") == (
        "peak IoU 0.7500 [0.500, 1.000] on the images that chose it. Chosen on one half and scored on the other: "
        "0.7000 [0.500, 0.900], +0.0500 [-0.250, +0.500] over the recipe; 90 % of the halves choose the same."
    )
