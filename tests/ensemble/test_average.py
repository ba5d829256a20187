"""Averages of tiny arrays by hand, and properties of any."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.core.images import resize
from pipeline.ensemble.average import average_maps, average_scores, vote


def stored(
    maps: list[Any], classes: list[int], probabilities: list[float], predicted: int | None = None, **more: Any
) -> dict[str, NDArray[Any]]:
    return {
        "maps": np.array(maps, np.float16),
        "classes": np.array(classes, np.int32),
        "probabilities": np.array(probabilities, np.float16),
        "predicted": np.array([classes[0] if predicted is None else predicted], np.int32),
        "known": np.array([False]),
        **more,
    }


ONE = stored([[[1.0, 0.0]], [[0.5, 0.5]]], [0, 1], [0.75, 0.5, 0.0])
OTHER = stored([[[0.25, 0.5]], [[1.0, 0.0]]], [2, 0], [0.5, 0.0, 0.75])


def test_two_runs_by_hand() -> None:
    """Means of the probabilities: 0.625, 0.25, 0.375."""
    found = average_maps([ONE, OTHER], [1, 1], most=3, min_probability=0.3)
    assert found["classes"].tolist() == [0, 2]
    assert found["probabilities"].tolist() == [0.625, 0.25, 0.375]
    assert found["maps"].tolist() == [[[1.0, 0.0]], [[0.25, 0.5]]]  # class 2 as the one run that stores it
    assert (found["predicted"].tolist(), found["known"].tolist()) == ([0], [False])
    assert {name: array.dtype for name, array in found.items()} == {name: array.dtype for name, array in ONE.items()}


def test_weights_by_hand() -> None:
    second = {**ONE, "maps": np.array([[[0.0, 1.0]], [[0.5, 1.0]]], np.float16)}
    found = average_maps([ONE, second], [3, 1], most=2, min_probability=0.0)
    assert found["maps"].tolist() == [[[0.75, 0.25]], [[0.5, 0.625]]]
    swapped = average_maps([ONE, OTHER], [1, 3], most=1, min_probability=0.0)  # 0.5625, 0.125, 0.5625
    assert (swapped["classes"].tolist(), swapped["predicted"].tolist()) == ([0], [0])  # a tie: the first run's


def test_the_bounds_of_the_classes() -> None:
    everything = average_maps([ONE, OTHER], [1, 1], most=9, min_probability=0.0)
    assert everything["classes"].tolist() == [0, 2, 1]
    assert average_maps([ONE, OTHER], [1, 1], most=2, min_probability=0.0)["classes"].tolist() == [0, 2]
    assert average_maps([ONE, OTHER], [1, 1], most=9, min_probability=0.9)["classes"].tolist() == [0]
    close = stored([[[1.0]], [[1.0]]], [1, 0], [0.1, 0.9])  # 0.1 is 0.09998 as it is stored
    assert average_maps([close, close], [1, 1], most=2, min_probability=0.1)["classes"].tolist() == [1, 0]


def test_runs_vote_for_the_classes_that_they_have_found() -> None:
    """Class 1 has a mean probability of 0.25, class 2 one of 0.375; the vote counts, and keeps the map of class 1."""
    one, other = ({**run, "present": np.array(found, np.int32)} for run, found in ((ONE, [0, 1]), (OTHER, [0])))
    tie = average_maps([one, other], [1, 1], most=3, min_probability=0.3)
    assert (tie["classes"].tolist(), tie["present"].tolist()) == ([0, 2, 1], [0, 1])  # half is enough
    less = average_maps([one, other], [1, 2], most=3, min_probability=0.9)
    assert less["present"].tolist() == [0]
    assert "present" not in average_maps([one, OTHER, OTHER], [1, 1, 1], most=3, min_probability=0.3)
    empty = {**one, "present": np.zeros(0, np.int32)}
    assert average_maps([empty, empty], [1, 1], most=3, min_probability=0.3)["present"].tolist() == []


def test_a_class_without_any_map_is_not_chosen() -> None:
    """Though it is the most probable one in the mean."""
    first = stored([[[1.0]]], [0], [0.5, 0.0, 0.45])
    second = stored([[[0.5]]], [1], [0.0, 0.5, 0.45])
    found = average_maps([first, second], [1, 1], most=1, min_probability=0.0)
    assert (found["classes"].tolist(), found["predicted"].tolist()) == ([0], [2])


def test_known_labels_are_all_kept() -> None:
    label = {"known": np.array([True])}
    found = average_maps([{**ONE, **label}, {**ONE, **label}], [1, 1], most=1, min_probability=0.9)
    assert (found["classes"].tolist(), found["known"].tolist()) == ([0, 1], [True])
    with pytest.raises(MapError, match=r"expected runs of one `extract\.classes`"):
        average_maps([{**ONE, **label}, ONE], [1, 1], most=1, min_probability=0.0)


def test_maps_of_different_sizes_meet_on_the_largest_grid() -> None:
    small, large = np.array([[0.0, 1.0]], np.float16), np.arange(8, dtype=np.float16).reshape(2, 4) / 8
    runs = [stored([small], [0], [1.0]), stored([large], [0], [1.0])]
    found = average_maps(runs, [1, 1], most=1, min_probability=0.0)["maps"]
    expected = (resize(small.astype(np.float32), (2, 4)) + large.astype(np.float32)) / 2
    assert found.shape == (1, 2, 4)
    np.testing.assert_allclose(found[0], expected, atol=1e-3)  # half precision
    assert resize(small.astype(np.float32), (2, 4))[0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_the_map_of_the_true_class_is_kept_for_scoring() -> None:
    first = stored([[[1.0]]], [0], [0.75, 0.25], label_maps=np.array([[[0.25]]], np.float16))
    second = stored([[[0.75]]], [1], [0.5, 0.5])  # which predicts it
    found = average_maps([first, second], [1, 1], most=1, min_probability=0.0, labels=(1,))
    assert (found["classes"].tolist(), found["label_maps"].tolist()) == ([0], [[[0.5]]])
    assert "label_maps" not in average_maps([first, second], [1, 1], most=1, min_probability=0.0, labels=(0,))
    assert "label_maps" not in average_maps([second, second], [1, 1], most=1, min_probability=0.0, labels=(0,))


def test_of_several_labels_the_most_probable_one_with_a_map_is_scored() -> None:
    """Class 0 is chosen; the first run stores the map of label 2 apart, the second has that of label 1 for itself."""
    first = stored([[[1.0]]], [0], [0.75, 0.0, 0.25], label_maps=np.array([[[0.25]]], np.float16))
    second = stored([[[0.5]]], [1], [0.25, 0.5, 0.125])
    apart = {**second, "classes": np.zeros(1, np.int32), "label_maps": np.array([[[0.75]]], np.float16)}
    for runs, labels, expected in (
        ([first, second], (1, 2), [[[0.5]]]),  # 0.25 for label 1, 0.1875 for label 2
        ([first, first], (1, 2), [[[0.25]]]),
        ([first, apart], (2, 1), [[[0.75]]]),
    ):
        found = average_maps(runs, [1, 1], most=1, min_probability=0.0, labels=labels)
        assert (found["classes"].tolist(), found["label_maps"].tolist()) == ([0], expected)
    assert "label_maps" not in average_maps([first, second], [1, 1], most=1, min_probability=0.0, labels=(0, 2))


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(0.01, 10), min_size=2, max_size=4),
)
def test_equal_runs_stay_bit_by_bit(classes: int, seed: int, weights: list[float]) -> None:
    chance = np.random.default_rng(seed)
    probabilities = np.sort(chance.random(6).astype(np.float16))[::-1]
    one = stored(chance.normal(0.5, 1, (classes, 3, 5)).tolist(), list(range(classes)), probabilities.tolist())
    found = average_maps([one] * len(weights), weights, most=classes, min_probability=0.0)
    assert found.keys() == one.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(found[name], array)
    score = chance.integers(0, 256, (4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(average_scores([score] * len(weights), weights), score)


# --- label maps -------------------------------------------------------------------------------------------------------


def slow_vote(labels: list[Any], shares: list[Any], weights: list[float], classes: int) -> list[list[int]]:
    """Pixel by pixel."""
    found = []
    for y in range(len(labels[0])):
        found.append([])
        for x in range(len(labels[0][0])):
            votes = [0.0] * (classes + 1)
            for label, share, weight in zip(labels, shares, weights, strict=True):
                votes[0] += weight * (255 - share[y][x])
                if label[y][x]:
                    votes[label[y][x]] += weight * share[y][x]
            found[-1].append(votes.index(max(votes)))
    return found


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_votes_against_a_loop(seed: int, weights: list[float]) -> None:
    chance = np.random.default_rng(seed)
    labels = [chance.integers(0, 4, (3, 4)).astype(np.uint8) for _ in weights]
    shares = [chance.integers(0, 256, (3, 4)).astype(np.uint8) for _ in weights]
    found, foreground = vote(labels, shares, weights)
    assert found.tolist() == slow_vote([one.tolist() for one in labels], [one.tolist() for one in shares], weights, 3)
    np.testing.assert_allclose(foreground, np.average(np.stack(shares), axis=0, weights=weights), atol=0.5 + 1e-9)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.1, 9), min_size=1, max_size=4))
def test_equal_label_maps_stay(seed: int, weights: list[float]) -> None:
    """Whatever their certainty, if a class is only where the foreground is at least as probable as the background."""
    chance = np.random.default_rng(seed)
    shares = chance.integers(0, 256, (5, 6)).astype(np.uint8)
    labels = np.where(shares >= 128, chance.integers(0, 4, (5, 6)), 0).astype(np.uint8)  # 0 among them
    found, foreground = vote([labels] * len(weights), [shares] * len(weights), weights)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(foreground, shares)
    np.testing.assert_array_equal(vote([labels] * len(weights), None, weights)[0], labels)


def test_votes_without_certainty_are_a_majority() -> None:
    labels = [np.array([[value]], np.uint8) for value in (2, 1, 2)]
    assert vote(labels, None, [1, 1, 1])[0].tolist() == [[2]]
    assert vote(labels, None, [1, 3, 1])[0].tolist() == [[1]]
    assert vote(labels[:2], None, [1, 1])[0].tolist() == [[1]]  # a tie: the lower class
