"""The stages of dvc.yaml without DVC: what each one runs, reads and writes, as plain commands or as JSON.

examples:
  lid stages --track track3 > chain.sh && bash chain.sh    one track, from nothing to its submission
  lid stages refine@track3                  the commands of one stage
  lid stages --json                         commands, inputs, params and outputs, for another engine

Run in the folder of the project, with its Python first on PATH. Every stage that is named runs: nothing tells which of
them are done.
"""

import argparse
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.settings import PARAMS, read_params
from pipeline.core.tracks import TRACKS

CHAIN = Path("dvc.yaml")
TEMPLATE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one track.

    Attributes:
        name: as DVC has it, such as `refine@track3`
        commands: run one after the other in a shell; the first that fails ends the stage
        inputs: files and folders that it reads, its code among them
        params: what it watches of the params file, by key
        outputs: files and folders; those without a suffix are folders
    """

    name: str
    commands: tuple[str, ...]
    inputs: tuple[str, ...]
    params: Mapping[str, Any]
    outputs: tuple[str, ...]


def read_stages(chain: Path = CHAIN, params: Path = PARAMS) -> list[Stage]:
    """Every stage of every track of a params file, in the order of the chain.

    Raises:
        SettingsError: if a file is missing, or a template or a watched key has no value
    """
    if not chain.is_file():
        raise SettingsError(f"{chain}: expected the chain, found no file; run this in the folder of the project")
    entries, values = read_params(chain)["stages"], read_params(params)
    found: list[Stage] = []
    for track, sections in values["tracks"].items():
        for name, entry in entries.items():
            known = {"key": track, "item": {"track": track, **sections}}  # a foreach, or a matrix, over tracks
            body = entry.get("do", entry)
            commands, inputs, keys, outputs = (
                tuple(_fill(text, known, chain) for text in body[field]) for field in ("cmd", "deps", "params", "outs")
            )
            watched = {key: _look_up(key, values, params) for key in keys}
            found.append(Stage(f"{name}@{track}", commands, inputs, watched, outputs))
    return found


def _fill(text: str, values: Mapping[str, Any], where: Path) -> str:
    return TEMPLATE.sub(lambda found: str(_look_up(found[1], values, where)), text)


def _look_up(key: str, values: Mapping[str, Any], where: Path) -> Any:
    """The value of a dotted key.

    Raises:
        SettingsError: if there is none
    """
    here: Any = values
    for step in key.split("."):
        if not isinstance(here, Mapping) or step not in here:
            raise SettingsError(f"{where}: expected a value of {key!r}, found none; likely of another version")
        here = here[step]
    return here


def choose(stages: Sequence[Stage], names: Sequence[str], track: str | None) -> list[Stage]:
    """The stages of these names, such as `refine` or `refine@track3`, of one track or of all; without a name all.

    Raises:
        SettingsError: if a name fits none of them
    """
    here = [stage for stage in stages if track in (None, stage.name.partition("@")[2])]
    wanted = {
        name: {stage.name for stage in here if name in (stage.name, stage.name.partition("@")[0])} for name in names
    }
    if lost := [name for name, fitting in wanted.items() if not fitting] or ([track] if track and not here else []):
        raise SettingsError(f"expected stages among {', '.join(stage.name for stage in stages)}, got {lost[0]!r}")
    chosen = set().union(*wanted.values()) if names else {stage.name for stage in here}
    return [stage for stage in here if stage.name in chosen]


def as_script(stages: Iterable[Stage]) -> str:
    """The stages as a shell script that ends with the first command that fails.

    As DVC does, it removes what an earlier run of a stage has left, which no stage has to expect then.
    """
    lines = ["set -e"]
    for stage in stages:
        lines += ["", f"# {stage.name}", shlex.join(["rm", "-rf", *stage.outputs]), *stage.commands]
    return "\n".join(lines)


def with_files(stages: Sequence[Stage], folder: Path = Path()) -> list[Stage]:
    """The stages with inputs for an engine that goes by files.

    A folder of code becomes its files, one of other stages' outputs these outputs.
    """
    outputs = [output for stage in stages for output in stage.outputs]
    return [replace(stage, inputs=tuple(_files(stage.inputs, outputs, folder))) for stage in stages]


def _files(inputs: Iterable[str], outputs: Sequence[str], folder: Path) -> Iterator[str]:
    for name in inputs:
        made = [output for output in outputs if output == name or output.startswith(f"{name}/")]
        if made or not (folder / name).is_dir():
            yield from made or [name]
        else:
            paths = sorted(path for path in (folder / name).rglob("*") if "__pycache__" not in path.parts)
            files = [path for path in paths if path.is_file()]
            yield from ((path if Path(name).is_absolute() else path.relative_to(folder)).as_posix() for path in files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the stages; return the exit status."""
    args = _parser().parse_args(arguments)
    stages = choose(with_files(read_stages()), args.stages, args.track)
    print(json.dumps([asdict(stage) for stage in stages], indent=2) if args.json else as_script(stages))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="such as refine or refine@track3; all if none")
    parser.add_argument("--track", choices=sorted(TRACKS), help="of one track; default: all of params.yaml")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of a shell script")
    return parser
