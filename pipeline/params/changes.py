"""Changed keys of a params file: from a command line, in its values, and in the file, whose comments stay."""

import io
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.errors import SettingsError
from pipeline.core.files import write_text
from pipeline.core.settings import RENAMED, parse_value, read_params, section
from pipeline.params.check import check_values


def parse_changes(given: Iterable[str], option: str) -> dict[str, Any]:
    """`train.epochs=2` to a key and its value, read as in a params file.

    Raises:
        SettingsError: naming the option, if a word is no KEY=VALUE

    >>> parse_changes(["train.epochs=2", "extract.sizes=[320, 448]"], "--set")
    {'train.epochs': 2, 'extract.sizes': [320, 448]}
    """
    changes = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"{option}: expected KEY=VALUE, such as train.epochs=2, got {text!r}")
        changes[key] = parse_value(value)
    return changes


def assign(values: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Set the value of the dotted `key`, below the sections of a params file.

    Raises:
        SettingsError: if the key is not there
    """
    old = key.split(".", 2)[-1]  # without tracks.<track>
    if old in RENAMED:
        raise SettingsError(f"{key}: expected {RENAMED[old].key!r}, as this key is called now")
    section(values, key, path)
    place, _, name = key.rpartition(".")
    section(values, place, path)[name] = value


def changed(values: Mapping[str, Any], track: str, changes: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The values of a params file, with keys below the track changed; `path` names it in messages.

    Raises:
        SettingsError: if it has not all of these keys
    """
    new = deepcopy(dict(values))
    for key, value in changes.items():
        assign(new, f"tracks.{track}.{key}", value, path)
    return new


def with_sections(text: str, tracks: Iterable[str], changes: Mapping[str, Any]) -> str:
    """The text of a params file with these tracks alone, and keys below each of them changed; their comments stay."""
    yaml = _yaml()
    values, stream = yaml.load(text), io.StringIO()
    for name in [name for name in values["tracks"] if name not in tracks]:
        del values["tracks"][name]
    for name in values["tracks"]:
        for key, value in changes.items():
            assign(values, f"tracks.{name}.{key}", deepcopy(value), Path())
    yaml.dump(values, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 10**6
    yaml.preserve_quotes = True
    return yaml


def write_changed(base: Path, track: str, changes: Mapping[str, Any], out: Path, note: str) -> None:
    """A complete params file: the file `base`, comments and all, with keys below the track changed, below a comment.

    Raises:
        SettingsError: as `changed`, or if the result is no valid params file
    """
    yaml, stream = _yaml(), io.StringIO()
    values = yaml.load(base.read_text(encoding="utf-8"))
    check_values(changed(read_params(base), track, changes, base), out)
    for key, value in changes.items():
        place = f"tracks.{track}.{key}"
        if section(values, place, base) != value:  # what stays keeps its form
            assign(values, place, value, base)
    yaml.dump(values, stream)
    write_text(out, f"# {note}\n{stream.getvalue()}")
