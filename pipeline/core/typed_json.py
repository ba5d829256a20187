"""Dataclasses to plain JSON values and back, so that nested dictionaries occur only when files are read or written."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass as plain values; a field that has its default value is left out."""
    return TypeAdapter(type(value)).dump_python(value, mode="json", exclude_defaults=True)


def from_json(kind: type[T], values: Any, where: Path) -> T:
    """Plain values as a dataclass; keys that it does not have are ignored.

    Raises:
        StoreError: if a key is missing or has a value of another type
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise StoreError(
            f"{where}: {place}: expected {kind.__name__}, got {first['input']!r:.60} ({first['msg']}); "
            "likely written by another version"
        ) from error


def read_typed(kind: type[T], path: Path) -> T:
    """A JSON file as a dataclass.

    Raises:
        StoreError: if it is missing, or holds something else
    """
    return from_json(kind, read_json(path), path)
