"""The comparison of two runs, on stores made by hand."""

from pathlib import Path

import numpy as np
import pytest
from support.student import write_store

from benchmarks.determinism import CONDITIONS, differing_share, distance_of_maps
from pipeline.core.images import encode_png
from pipeline.core.store import Store


def _maps(folder: Path, value: float, class_index: int = 3) -> Store:
    maps = np.full((1, 2, 2), value, np.float16)
    write_store(folder, {"a": {"classes": np.array([class_index], np.int32), "maps": maps}})
    return Store(folder)


def _predictions(folder: Path, values: list[int]) -> Store:
    write_store(folder, {"a": {"after": np.frombuffer(encode_png(np.array([values], np.uint8)), np.uint8)}})
    return Store(folder)


def test_every_condition_is_compared_with_an_earlier_one() -> None:
    names = [condition.name for condition in CONDITIONS]
    assert len(set(names)) == len(names)
    for number, condition in enumerate(CONDITIONS[1:], 1):
        assert condition.beside in names[:number]


def test_maps_of_the_same_classes_have_a_distance(tmp_path: Path) -> None:
    one = _maps(tmp_path / "one", 0.5)
    assert distance_of_maps(one, _maps(tmp_path / "same", 0.5)) == (True, 0.0)
    assert distance_of_maps(one, _maps(tmp_path / "far", 0.75)) == (False, pytest.approx(0.25))
    assert distance_of_maps(one, _maps(tmp_path / "other", 0.75, class_index=4)) == (False, 0.0)


def test_pixels_differ_that_are_more_than_one_level_apart(tmp_path: Path) -> None:
    one = _predictions(tmp_path / "one", [0, 10, 20, 255])
    other = _predictions(tmp_path / "other", [1, 12, 20, 0])
    assert differing_share(one, other) == pytest.approx(0.5)
