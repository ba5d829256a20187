"""`lid init FOLDER`: a params file for a folder of images in the `folder` layout."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.auto import data_facts, settled_keys
from pipeline.core.errors import DataError, command
from pipeline.core.files import unused, write_text
from pipeline.core.settings import PARAMS, read_params
from pipeline.core.text import escaped, is_utf8
from pipeline.core.tracks import TRACKS, get_track
from pipeline.params.check import check
from pipeline.params.yaml_text import read_text, shown
from pipeline.preprocess.sources import list_images

RECIPE = Path("recipes/folder.yaml")
RECIPE_ROOT = "data/raw/folder"


def init(folder: Path, out: Path = PARAMS, recipe: Path = RECIPE) -> dict[str, dict[str, Any]]:
    """Write the recipe for any folder with this folder as its root; return what follows the images, by track.

    The keys that are `auto` stay `auto`: other images give other values, without another params file. A params file
    that is there already is kept beside it, as `<name>.before`.

    Raises:
        DataError: if the folder is not in the layout, or its path is no UTF-8
        SettingsError: if the recipe is missing
    """
    if not is_utf8(str(folder)):
        raise DataError(f"{escaped(str(folder))}: expected a path in UTF-8, as a params file has to hold it; rename it")
    text = for_folder(read_text(recipe), folder)
    temporary = out.with_name(f".{out.name}.new")  # gets its name when the folder is known to be in order
    write_text(temporary, text)
    try:
        settings = check(temporary)
        found = {name: _settled(temporary, name, settings[name]) for name in TRACKS}
        if out.exists():
            out.replace(unused(out.with_name(f"{out.name}.before")))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return found


def for_folder(text: str, folder: Path) -> str:
    """The text of the recipe with another root.

    >>> for_folder("root: data/raw/folder\\nwatch: data/raw/folder/index.csv # why\\n", Path("my photos"))
    "root: 'my photos'\\nwatch: 'my photos/index.csv' # why\\n"
    """
    return re.sub(rf"(?m)\b(root|watch): {RECIPE_ROOT}(/\S*)?", lambda at: _line(at, folder), text)


def _line(found: "re.Match[str]", folder: Path) -> str:
    return f"{found[1]}: {shown(folder.as_posix() + (found[2] or ''))}"


def _settled(path: Path, track: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    preprocess = settings["preprocess"]
    manifest = list_images(preprocess.source, get_track(track), preprocess.jobs)
    return dict(settled_keys(read_params(path)["tracks"][track], track, data_facts(manifest)))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds index.csv, classes.txt and the images")
    parser.add_argument("--out", type=Path, default=PARAMS, help=f"the params file; default: {PARAMS}")
    args = parser.parse_args(arguments)
    for track, values in init(args.folder, args.out).items():
        for key, value in values.items():
            print(f"{track}.{key}: auto, for these images {shown(value)}")
    print(f"{args.out} is written; a file that was there lies beside it, as {args.out.name}.before")
    print(f"`lid preflight --params {args.out}` checks it; `lid run` runs {PARAMS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
