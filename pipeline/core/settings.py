"""params.yaml to frozen dataclasses: one loader, all mistakes at once, each with file, key, value and what was
expected.

A settings class is a frozen, slotted dataclass without defaults: a params file says everything, so that it alone
reproduces a run. Ranges stand in the type (`Annotated[float, Field(gt=0)]`), contradictions in `__post_init__`.
The file is read with YAML 1.2 rules, as DVC reads it: `no` and `on` are words, `010` is ten.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import SettingsError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
PARAMS = Path("params.yaml")

EXPECTED = {  # where pydantic speaks of JSON, or in another form
    "bool_type": "true or false",
    "dataclass_type": "keys and values",
    "dict_type": "keys and values",
    "tuple_type": "a list",
    "too_short": "at least one entry",
    "union_tag_not_found": "a key 'name' that says which",
}


def settings_class(cls: type[T]) -> type[T]:
    """Mark a dataclass as settings: unknown keys, wrong types, NaN and infinity are refused."""
    cls.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return cls


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file as nested dictionaries.

    Raises:
        SettingsError: if the file is missing, is not YAML, or names a key twice
    """
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: expected a params file, found none; `recipes/` holds complete ones to copy"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected YAML 1.2, got {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected keys and values, got {values!r}")
    return values


def section(values: Mapping[str, Any], key: str, path: Path) -> Any:
    """Return what stands under the dotted `key`.

    Raises:
        SettingsError: naming the first step that is missing, and the keys that are there
    """
    here: Any = values
    steps = key.split(".")
    for depth, step in enumerate(steps):
        if not isinstance(here, Mapping) or step not in here:
            found = sorted(map(str, here)) if isinstance(here, Mapping) else repr(here)
            raise SettingsError(
                f"{path}: {'.'.join(steps[: depth + 1])}: expected this key, found {found}{_did_you_mean(step, here)}"
            )
        here = here[step]
    return here


def build(kind: type[T], values: Any, path: Path, key: str) -> T:
    """Build one settings object of plain values.

    Raises:
        SettingsError: with one line for every mistake
    """
    try:
        text = json.dumps(values, default=str)
    except (TypeError, ValueError) as error:  # YAML can say more: keys that are lists, loops
        raise SettingsError(f"{path}: {key}: expected plain keys and values, got {error}") from None
    try:
        built: T = _adapter(cast(Any, kind)).validate_json(
            text
        )  # through JSON, whose arrays fit tuples even in strict mode
        return built
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error, values, path, key))) from None


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def load_section(kind: type[T], key: str, path: Path = PARAMS) -> T:
    """Load the section under the dotted `key` of a params file as `kind`."""
    return build(kind, section(read_params(path), key, path), path, key)


def unknown_key(path: Path, key: str, value: object, known: Iterable[str]) -> str:
    """The message about a key that nobody reads."""
    shown = repr(value) if not isinstance(value, Mapping) else "a section"
    key = key if key.isprintable() else repr(key)  # a line break in a key must not break the message
    return f"{path}: {key}: expected no such key, got {shown}{_did_you_mean(key.rpartition('.')[2], list(known))}"


def _lines(error: ValidationError, values: Any, path: Path, key: str) -> Iterator[str]:
    problems = error.errors(include_url=False)
    missing = {problem["loc"][-1] for problem in problems if problem["type"] == "missing"}
    for problem in problems:
        if problem["type"] == "too_short" and problem["input"]:
            continue  # there are entries; what is wrong with them stands in the other lines
        where = ".".join([key, *(str(step) for step in _steps(problem["loc"], values))])
        where = where if where.isprintable() else repr(where)
        yield f"{path}: {where}: {_say(dict(problem), missing)}"


def _steps(location: tuple[int | str, ...], values: Any) -> Iterator[int | str]:
    """The keys of a pydantic location that stand in the file; pydantic adds the names of union members between them."""
    here = values
    for step in location:
        if isinstance(here, (Mapping, list)) and step in (here if isinstance(here, Mapping) else range(len(here))):
            here = cast(Any, here)[step]
        elif step is not location[-1]:
            continue
        yield step


def _say(problem: dict[str, Any], missing: set[int | str]) -> str:
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    quoted = f"; quotes make it text, write {value}" if isinstance(value, str) and _is_number(value) else ""
    if kind == "missing":
        return "expected a value, found no such key; a params file is complete, see params.yaml for every key"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"expected no such key, got {value!r}{_did_you_mean(str(problem['loc'][-1]), missing)}"
    if kind == "literal_error":
        hint = quoted or _did_you_mean(value, _choices(context["expected"]))
        return f"expected {context['expected']}, got {value!r}{hint}"
    if kind == "union_tag_invalid":
        tag = context["tag"]
        known = context["expected_tags"]
        return f"expected name to be one of {known}, got {tag!r}{_did_you_mean(tag, _choices(known))}"
    if kind == "value_error":
        return str(context["error"])
    expected = EXPECTED.get(kind, problem["msg"].removeprefix("Input should be "))
    return f"expected {expected}, got {value!r}{quoted}"


def _choices(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _did_you_mean(word: Any, known: Any) -> str:
    close = (
        difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
        if isinstance(known, (Mapping, set, list))
        else []
    )
    return f"; did you mean {close[0]!r}?" if close else ""
