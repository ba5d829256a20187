"""Add a key to params files, in both tracks; comments, order and layout of the rest stay.

    python -m pipeline.params.add_key train.ema 0.0 --after epochs --comment "0: off" [params.yaml recipes/*.yaml]

Without files: `params.yaml` and all recipes. The comment goes to the first track of each file alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError, command
from pipeline.core.files import write_text
from pipeline.core.settings import PARAMS, parse_value
from pipeline.core.tracks import TRACKS
from pipeline.params.yaml_text import Place, end_of_block, entry, load_places, places, read_text

RECIPES = Path("recipes")


def add_key(text: str, path: Path, key: str, value: Any, after: str | None = None, comment: str = "") -> str:
    """The text with `key` (below the track, such as `train.ema`) added to every track.

    Args:
        after: name of the key in the same section that it follows; None: the last one

    Raises:
        SettingsError: if the key is there, or its section, `after` or every track is not, or the section stands inside
            braces, or the value above the new key is laid out such that the file would break
    """
    note, added = " ".join(comment.split()), False  # a line break would end the comment
    for track in TRACKS:
        every = {place.key: place for place in places(load_places(text, path))}
        if f"tracks.{track}" in every:
            text = _add(text, path, every, f"tracks.{track}.{key}", entry(key.rpartition(".")[2], value, note), after)
            _check_added(text, path, f"tracks.{track}.{key}")
            note, added = "", True
    if not added:
        raise SettingsError(f"{path}: tracks: expected one of {list(TRACKS)}, found none")
    return text


def _add(text: str, path: Path, every: dict[str, Place], key: str, added: list[str], after: str | None) -> str:
    parent = key.rpartition(".")[0]
    siblings = [place for place in every.values() if place.key.rpartition(".")[0] == parent]
    chosen = [place for place in siblings if after in (None, place.key.rpartition(".")[2])]
    if key in every:
        raise SettingsError(f"{path}: {key}: expected a new key, found it already")
    if not chosen or not chosen[-1].in_block:
        names = [place.key.rpartition(".")[2] for place in siblings]
        raise SettingsError(
            f"{path}: {parent}: expected a section without braces that has the key {after!r}, found {names}"
        )
    lines = text.split("\n")
    number = end_of_block(lines, chosen[-1].line, chosen[-1].column)
    while number > chosen[-1].line + 1 and not lines[number - 1].strip():
        number -= 1  # blank lines at the end of the block stay behind it
    end = "\r" if lines[chosen[-1].line].endswith("\r") else ""
    lines[number:number] = [f"{' ' * chosen[-1].column}{line}{end}" for line in added]
    return "\n".join(lines)


def _check_added(text: str, path: Path, key: str) -> None:
    try:
        added = key in {place.key for place in places(load_places(text, path))}
    except SettingsError:  # no YAML any more
        added = False
    if not added:
        raise SettingsError(
            f"{path}: {key}: expected the key in the new text, found none; likely the value above it has an unusual "
            "layout, add the line by hand"
        )


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("key", help="below the track, such as train.ema")
    parser.add_argument("value", help="in YAML")
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--after", help="the key of the same section that it follows; the last one if not given")
    parser.add_argument("--comment", default="")
    args = parser.parse_args(arguments)
    value = parse_value(args.value)
    files = args.files or [PARAMS, *sorted(RECIPES.glob("*.yaml"))]
    changed = {path: add_key(read_text(path), path, args.key, value, args.after, args.comment) for path in files}
    for path, text in changed.items():  # all or none
        write_text(path, text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
