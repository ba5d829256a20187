"""Dataclasses to JSON and back, and what is refused."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.core.errors import StoreError
from pipeline.core.files import write_json
from pipeline.core.typed_json import from_json, read_typed, to_json


@dataclass(frozen=True, slots=True)
class Inner:
    values: tuple[int | float, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    inner: dict[str, Inner]


VALUE = Outer("a", {"x": Inner((1, 0.5)), "y": Inner((), "empty")})
PLAIN = {"name": "a", "inner": {"x": {"values": [1, 0.5]}, "y": {"values": [], "note": "empty"}}}


def test_both_ways() -> None:
    assert to_json(VALUE) == PLAIN
    assert from_json(Outer, PLAIN, Path("a.json")) == VALUE


def test_whole_numbers_stay_whole() -> None:
    (first, second) = from_json(Inner, {"values": [1, 1.0]}, Path("a.json")).values
    assert (type(first), type(second)) == (int, float)


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {**PLAIN, "later": 1})
    assert read_typed(Outer, tmp_path / "a.json") == VALUE


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"inner": {}}, r"^a\.json: name: expected Outer, got \{'inner': \{\}\} \(Field required\); likely"),
        ({"name": "a", "inner": {"x": {"values": 3}}}, r"^a\.json: inner\.x\.values: expected Outer, got 3 \("),
        ([], r"^a\.json: the whole file: expected Outer, got \[\]"),
    ],
)
def test_the_place_of_a_mistake_is_said(plain: object, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        from_json(Outer, plain, Path("a.json"))
