"""Edit a params file as text, so that comments, order and layout stay as they are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands: line and column of its name and of its value, counted from 0."""

    key: str  # dotted, from the top of the file
    line: int
    column: int
    value_line: int
    value_column: int
    in_block: bool  # on a line of its own, not inside braces


def read_text(path: Path) -> str:
    """A params file as text, with its line ends as they are.

    Raises:
        SettingsError: if there is none, or it is not UTF-8
    """
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: expected text in UTF-8, got {error}") from error
    except FileNotFoundError:
        raise SettingsError(f"{path}: expected a params file, found none") from None


def load_places(text: str, path: Path) -> CommentedMap:
    """The file with the positions of its keys.

    Raises:
        SettingsError: if it is not YAML with keys and values
    """
    try:
        values = YAML().load(text)
    except YAMLError as error:
        raise SettingsError(f"{path}: expected YAML 1.2, got {' '.join(str(error).split())}") from error
    if not isinstance(values, CommentedMap):
        raise SettingsError(f"{path}: expected keys and values, got {values!r}")
    return values


def places(values: CommentedMap, prefix: str = "") -> Iterator[Place]:
    """The place of every key, in the order of the file."""
    for key, value in values.items():
        line, column = values.lc.key(key)
        value_line, value_column = values.lc.value(key)
        in_block = not values.fa.flow_style()
        yield Place(f"{prefix}{key}", line, column, value_line, value_column, in_block)
        if isinstance(value, CommentedMap):
            yield from places(value, f"{prefix}{key}.")


def replace_word(line: str, column: int, old: str, new: str) -> str:
    """The line with the word `old`, quoted or not, at `column` replaced.

    Raises:
        SettingsError: if it is not there

    >>> replace_word("  decoder: 'foreground'  # of Track 3", 11, "foreground", "score_map")
    '  decoder: score_map  # of Track 3'
    """
    found = re.match(rf"(['\"]?){re.escape(old)}\1(?![\w-])", line[column:])
    if not found:
        raise SettingsError(
            f"expected {old!r} at column {column + 1}, got {line!r}; likely an anchor, an alias or a tag"
        )
    return line[:column] + new + line[column + found.end() :]


def end_of_block(lines: list[str], line: int, column: int) -> int:
    """The line after the value of the key at (line, column): the next one that is not further to the right.

    The dashes of a list may stand in the column of its key.

    >>> end_of_block(["sizes:", "- 48", "- 64", "flip: true"], line=0, column=0)
    3
    """
    for number in range(line + 1, len(lines)):
        text = lines[number]
        indent = len(text) - len(text.lstrip())
        in_list = indent == column and text.split()[:1] == ["-"]
        if text.strip() and indent <= column and not in_list:
            return number
    return len(lines)


def entry(name: str, value: Any, note: str = "") -> list[str]:
    """The lines of a key in a block, in the form that DVC writes: its `exp run` leaves them as they are.

    >>> entry("sizes", [320, 448], "pixels"), entry("weights_from", None)
    (['sizes: # pixels', '- 320', '- 448'], ['weights_from:'])
    >>> entry("splits", [])
    ['splits: []']
    """
    comment = f" # {note}" if note else ""
    if value is None:
        return [f"{name}:{comment}"]
    if isinstance(value, list) and value:
        return [f"{name}:{comment}", *(f"- {shown(item)}" for item in value)]
    return [f"{name}: {shown(value)}{comment}"]


def shown(value: Any) -> str:
    """A value as one line of YAML, such as `[320, 448]` or `1.0e-4`.

    >>> shown({"name": "step", "gamma": None})
    '{name: step, gamma: null}'
    >>> shown(None), shown(True), shown([320, 448]), shown(0.0001), shown("map"), shown("no")
    ('null', 'true', '[320, 448]', '1.0e-04', 'map', "'no'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(key)}: {shown(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(shown(item) for item in value)}]"
    if isinstance(value, float) and (abs(value) < 1e-3 and value):
        return f"{value:.1e}" if float(f"{value:.1e}") == value else repr(value)
    if isinstance(value, str) and not re.fullmatch(r"(?!(?:no|yes|on|off|true|false|null)$)[A-Za-z_][\w./-]*", value):
        return "'" + value.replace("'", "''") + "'"
    return str(value)
