"""Params files to frozen dataclasses; all mistakes are reported at once.

A settings class is a frozen, slotted dataclass without defaults: a params file is complete, so it alone
reproduces a run. Ranges stand in the type (`Annotated[float, Field(gt=0)]`), contradictions in `__post_init__`.
The file is read with YAML 1.2 rules, as DVC reads it: `no` and `on` are words, `010` is ten.
"""

import difflib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.files import write_text
from pipeline.core.text import decode_text

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
PARAMS = Path("params.yaml")
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")  # kinds of problems: a key that no stage reads


@dataclass(frozen=True, slots=True)
class Renamed:
    """What a key, or its values, of an earlier version are called now.

    The key below the track, such as `refine.output`.
    """

    key: str
    values: Mapping[str, str] = field(default_factory=dict)


RENAMED = {
    "train.accumulate": Renamed("train.accumulation_steps"),
    "train.select": Renamed(
        "train.checkpoint",
        {"accuracy": "val_accuracy", "loss": "val_loss", "held_out": "held_out_loss", "last": "last"},
    ),
    "extract.kept_features": Renamed("extract.diagnostic_images"),
    "refine.decoder": Renamed(
        "refine.output",
        {"foreground": "score_map", "several_classes": "label_map", "one_class": "label_map_one_class"},
    ),
    "refine.part_size": Renamed("refine.shard_size"),
}
# keys of a section that change no result: DVC does not watch them, and a stage that was stopped goes on with others
INDECISIVE: dict[str, tuple[str, ...]] = {
    "preprocess": ("jobs", "parallel"),
    "train": ("device", "launcher", "workers", "loggers", "save_interval"),
    "extract": ("device", "launcher", "workers"),
    "refine": ("jobs", "parallel"),
    "student": ("device", "launcher", "jobs", "parallel", "workers", "save_interval"),
    "evaluate": ("jobs", "parallel"),
}
MIGRATE = "`python -m pipeline.params.migrate FILE` rewrites files of earlier versions"

EXPECTED = {  # where pydantic's message mentions JSON or has another form
    "bool_type": "true or false",
    "dataclass_type": "keys and values",
    "dict_type": "keys and values",
    "tuple_type": "a list",
    "too_short": "at least one entry",
    "union_tag_not_found": "a key 'name' that says which",
}


def decisive(stage: str, section: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """The settings of a stage that can change its result; `others` are further keys that cannot.

    >>> decisive("refine", {"exponent": 0.7, "jobs": -1, "shard_size": 32}, "shard_size")
    {'exponent': 0.7}
    """
    left_out = {*INDECISIVE.get(stage, ()), *others}
    return {name: value for name, value in section.items() if name not in left_out}


def settings_class(cls: type[T]) -> type[T]:
    """Mark a dataclass as settings: unknown keys, wrong types, NaN and infinity are refused."""
    cls.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return cls


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file as nested dictionaries.

    Raises:
        SettingsError: if the file is missing or a folder, is not YAML, or names a key twice
    """
    try:
        values = YAML(typ="safe", pure=True).load(decode_text(path.read_bytes(), path))
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: expected a params file, found none; `recipes/` holds complete ones to copy"
        ) from None
    except IsADirectoryError:
        raise SettingsError(f"{path}: expected a params file, found a folder") from None
    except DataError as error:  # another encoding
        raise SettingsError(str(error)) from None
    except YAMLError as error:
        raise SettingsError(f"{path}: expected YAML 1.2, got {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected keys and values, got {values!r}")
    return values


def to_yaml(values: Mapping[str, Any], width: int = 10**6) -> str:
    """Plain values as YAML, in their order; text is folded at `width` columns.

    >>> print(to_yaml({"b": {"x": None}, "a": [1, 2]}), end="")
    b:
      x: null
    a:
    - 1
    - 2
    """
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = False
    yaml.width = width
    yaml.dump(dict(values), stream)
    return stream.getvalue()


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as YAML; an equal file is left untouched."""
    text = to_yaml(values)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def parse_value(text: str) -> Any:
    """One value as a params file has it, by YAML 1.2 rules: `1e-4` is a number, `no` is text.

    Raises:
        SettingsError: if it is not YAML
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise SettingsError(f"expected a value in YAML, got {text!r} ({' '.join(str(error).split())})") from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of nested mappings.

    >>> list(flatten({"a": {"b": 1, "c": [2]}}))
    [('a.b', 1), ('a.c', [2])]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def section(values: Mapping[str, Any], key: str, path: Path) -> Any:
    """Return the value of the dotted `key`.

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


def tracks_of(path: Path = PARAMS) -> list[str]:
    """The tracks that a params file runs, sorted.

    Raises:
        SettingsError: if it is missing, or has no track
    """
    tracks = section(read_params(path), "tracks", path)
    if not isinstance(tracks, Mapping) or not tracks:
        raise SettingsError(f"{path}: tracks: expected one track or both, found {tracks!r}")
    return sorted(map(str, tracks))


def build(kind: type[T], values: Any, path: Path, key: str) -> T:
    """Build one settings object of plain values.

    Raises:
        SettingsError: with one line for every mistake
    """
    try:
        text = json.dumps(values, default=str)
    except (TypeError, ValueError) as error:  # YAML allows more: keys that are lists, loops
        raise SettingsError(f"{path}: {key}: expected plain keys and values, got {error}") from None
    try:
        # through JSON, whose arrays fit tuples even in strict mode
        built: T = _adapter(cast(Any, kind)).validate_json(text)
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
    """The message about a key that no stage reads."""
    shown = repr(value) if not isinstance(value, Mapping) else "a section"
    hint = _did_you_mean(key.rpartition(".")[2], list(known))
    key = key if key.isprintable() else repr(key)  # a line break in a key must not break the message
    return f"{path}: {key}: expected no such key, got {shown}{hint}"


def _lines(error: ValidationError, values: Any, path: Path, key: str) -> Iterator[str]:
    problems = error.errors(include_url=False)
    missing = {problem["loc"][-1] for problem in problems if problem["type"] == "missing"}
    old = {str(problem["loc"][-1]) for problem in problems if problem["type"] in UNKNOWN}
    new = {known.key.rpartition(".")[2] for name, known in RENAMED.items() if name.rpartition(".")[2] in old}
    for problem in problems:
        if problem["type"] == "too_short" and problem["input"]:
            continue  # there are entries; what is wrong with them stands in the other lines
        if problem["type"] == "missing" and problem["loc"][-1] in new:
            continue  # it is there under its earlier name, which has a line of its own
        where = ".".join([key, *(str(step) for step in _steps(problem["loc"], values))])
        where = where if where.isprintable() else repr(where)
        yield f"{path}: {where}: {_renamed(where, problem['type']) or _say(dict(problem), missing)}"


def _renamed(where: str, kind: str) -> str:
    """The message about a key of an earlier version; empty for others. `where` begins with `tracks.<track>.`"""
    old = ".".join(where.split(".")[2:])
    if old not in RENAMED or kind not in UNKNOWN:
        return ""
    return f"expected {RENAMED[old].key.rpartition('.')[2]!r}, as this key is called now; {MIGRATE}"


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
    if kind in UNKNOWN:
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
