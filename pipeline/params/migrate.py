"""Rewrite a params file of an earlier version: renamed keys and values; comments, order and layout stay.

    python -m pipeline.params.migrate OLD.yaml [--write]

Prints the new file, or writes it in place. What was renamed is listed in `pipeline/core/settings.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError, command
from pipeline.core.files import write_text
from pipeline.core.settings import RENAMED, Renamed, section
from pipeline.core.tracks import TRACKS
from pipeline.params.yaml_text import Place, load_places, places, read_text, replace_word


def migrate(text: str, path: Path) -> str:
    """The text with the keys and values of today; `path` names the file in messages.

    Raises:
        SettingsError: if an old key stands beside its new name, or cannot be edited where it stands
    """
    values, lines = load_places(text, path), text.split("\n")
    every = {place.key: place for place in places(values)}
    for track in TRACKS:
        for old, renamed in RENAMED.items():
            place = every.get(f"tracks.{track}.{old}")
            if place is None:
                continue
            if f"tracks.{track}.{renamed.key}" in every:
                raise SettingsError(
                    f"{path}: tracks.{track}: expected {old!r} or {renamed.key!r}, got both; remove one"
                )
            try:
                _rename(lines, place, section(values, place.key, path), renamed)
            except SettingsError as error:
                raise SettingsError(f"{path}: line {place.line + 1}: {place.key}: {error}; edit it by hand") from None
    return "\n".join(lines)


def _rename(lines: list[str], place: Place, value: Any, renamed: Renamed) -> None:
    """Replace the value, then the key: in this order the column of the value still holds."""
    if isinstance(value, str) and value in renamed.values:
        line = lines[place.value_line]
        lines[place.value_line] = replace_word(line, place.value_column, value, renamed.values[value])
    names = (place.key.rpartition(".")[2], renamed.key.rpartition(".")[2])
    lines[place.line] = replace_word(lines[place.line], place.column, *names)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", action="store_true", help="in place, instead of printing")
    args = parser.parse_args(arguments)
    old = read_text(args.file)
    new = migrate(old, args.file)
    if args.write and new != old:
        write_text(args.file, new)
    elif not args.write:
        print(new, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
