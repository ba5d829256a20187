"""Splits for sets that publish fewer than three, by position in the official list.

Official lists are sorted by class or by number; taking every second or fifth image keeps the classes' shares.
"""

from collections.abc import Sequence
from typing import Literal

from pipeline.core.manifest import Split


def split_in_three(
    train: Sequence[str], test: Sequence[str], val: Literal["half_of_test", "fifth_of_train"]
) -> dict[Split, list[str]]:
    """Make train, val and test of an official train and an official test list.

    >>> split_in_three(list("abcdef"), list("xyz"), "half_of_test")
    {'train': ['a', 'b', 'c', 'd', 'e', 'f'], 'val': ['x', 'z'], 'test': ['y']}
    >>> split_in_three(list("abcdef"), list("xyz"), "fifth_of_train")
    {'train': ['a', 'b', 'c', 'd', 'f'], 'val': ['e'], 'test': ['x', 'y', 'z']}
    """
    if val == "half_of_test":
        first, second = halves(test)
        return {"train": list(train), "val": first, "test": second}
    return {"train": [name for n, name in enumerate(train) if n % 5 != 4], "val": list(train[4::5]), "test": list(test)}


def halves(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The first, third, … name, and the others.

    >>> halves(["a", "b", "c"])
    (['a', 'c'], ['b'])
    """
    return list(names[0::2]), list(names[1::2])
