"""Splits made by position in an official list."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.preprocess.held_out import halves, split_in_three

NAMES = st.lists(st.integers(), unique=True).map(lambda numbers: [f"n{number}" for number in numbers])


@given(NAMES)
def test_halves_hold_every_name_once_and_differ_by_at_most_one(names: list[str]) -> None:
    first, second = halves(names)
    assert sorted(first + second) == sorted(names)
    assert 0 <= len(first) - len(second) <= 1


@given(NAMES)
def test_a_fifth_of_train_keeps_the_official_test_list(names: list[str]) -> None:
    parts = split_in_three(names, ["x", "y"], "fifth_of_train")
    assert parts["test"] == ["x", "y"]
    assert len(parts["val"]) == len(names) // 5
    assert sorted(parts["train"] + parts["val"]) == sorted(names)


def test_of_a_list_that_is_sorted_by_class_every_class_keeps_its_share() -> None:
    names = [f"{kind}{number}" for kind in "abc" for number in range(10)]
    parts = split_in_three(names, names, "half_of_test")
    assert [sum(name[0] == kind for name in parts["val"]) for kind in "abc"] == [5, 5, 5]
    assert parts["train"] == names
