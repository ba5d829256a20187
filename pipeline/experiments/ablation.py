"""The ablation: what each part of the method contributes, on any recipe.

    python -m pipeline.experiments.ablation --recipe recipes/folder.yaml --track track3 --seeds 0,1 [--grid]
        [--set train.backbone.trained=true] [--set train.epochs=2] [--name folder-trained]

Two trainings a seed (GAP, TAP), on a frozen backbone from one pass over the images; everything else is shared between
the rows and cached, and a stopped ablation continues where it stopped. The results are in the folder
`ablation/<recipe>-<track>`, if no other is named: `table.md`, `table.csv`, `figure.svg`, `strip.png`, `results.json`.
Split test is not used.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError, StoreError, command
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import provenance
from pipeline.core.settings import read_params
from pipeline.core.tracks import TRACKS, get_track
from pipeline.core.typed_json import to_json
from pipeline.experiments.ablation_plan import RESULTS, write_plan
from pipeline.experiments.ablation_rows import Plan, row_groups
from pipeline.params.changes import assign, parse_changes
from pipeline.params.check import check_values

TIMINGS = "timings.json"  # seconds of the last real run of each stage
RUN = "run.json"  # code and machine of the last run in which a stage ran
RUNNING = re.compile(r"Running stage '([^']+)'")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    seeds, changes = _seeds(args.seeds), parse_changes(args.set, "--set")
    values = changed_recipe(args.recipe, args.track, changes)
    groups = row_groups(get_track(args.track), values["tracks"][args.track]["refine"]["output"], args.grid)
    recipe = args.recipe.name if args.recipe.is_absolute() else args.recipe.as_posix()
    folder = args.out or Path("ablation") / f"{args.name or args.recipe.stem}-{args.track}"
    write_plan(folder, Plan(args.track, recipe, seeds, groups, changes), values)
    if args.plan_only:
        print(f"{folder}/dvc.yaml is written; the same command without --plan-only runs it")
        return 0
    ran = run_project(folder)
    print((folder / "table.md").read_text(encoding="utf-8"))
    print(f"{len(ran)} stages ran. In {folder}: {', '.join(RESULTS)}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("params.yaml"), help="a complete params file")
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--seeds", default="0", help="whole numbers with commas between them")
    parser.add_argument("--grid", action="store_true", help="all 16 combinations, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key below the track")
    parser.add_argument("--name", help="of the folder, ablation/<name>-<track>; the recipe's if not given")
    parser.add_argument("--out", type=Path, help="folder of this ablation, in place of the one above")
    parser.add_argument("--plan-only", action="store_true", help="write the pipeline, run nothing")
    return parser.parse_args(arguments)


def _seeds(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if len(set(words)) < len(words) or not all(word.isdecimal() for word in words):
        raise SettingsError(
            f"seeds: expected whole numbers with commas between them, each once, such as 0,1, got {text!r}"
        )
    return tuple(map(int, words))


def changed_recipe(recipe: Path, track: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe, with keys below the track changed.

    Raises:
        SettingsError: if it has not all of these keys, or the result is no valid params file
    """
    values = read_params(recipe)
    for key, value in changes.items():
        assign(values, f"tracks.{track}.{key}", value, recipe)
    check_values(values, recipe)
    return values


# --- DVC in a folder of its own --------------------------------------------------------------------------------------


def run_project(folder: Path) -> list[str]:
    """Run what is not up to date in the DVC project of `folder`, in the foreground; return the stages that ran.

    How long each took, code and machine are recorded beside its results.

    Raises:
        StoreError: if a stage failed; its own message is printed above
    """
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
    first = {"PATH": Path(sys.executable).parent, "PYTHONPATH": Path.cwd()}  # `python` is this one, and so is the code
    for name, place in first.items():
        environment[name] = os.pathsep.join(filter(None, [str(place), os.environ.get(name)]))
    dvc = [sys.executable, "-m", "dvc"]
    if not (folder / ".dvc").is_dir():
        subprocess.run([*dvc, "init", "--quiet", "--no-scm"], cwd=folder, env=environment, check=True)
    process = subprocess.Popen([*dvc, "repro"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    seconds = _follow(process)
    failed = process.wait()
    timed = dict(list(seconds.items())[:-1]) if failed else seconds  # the last stage is the one that failed
    known = read_json(folder / TIMINGS) if (folder / TIMINGS).is_file() else {}
    write_json(folder / TIMINGS, {**known, **timed})
    if timed:
        write_json(folder / RUN, to_json(provenance()))
    if failed:
        raise StoreError(
            f"{folder}: expected the pipeline to run through, `dvc repro` ended with {failed}; the reason is above"
        )
    return list(seconds)


def _follow(process: "subprocess.Popen[str]") -> dict[str, float]:
    """Print the output of DVC at once, and time its stages: each lasts until the next begins, or the output ends."""
    starts: dict[str, float] = {}
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := RUNNING.search(line):
            starts[found[1]] = time.perf_counter()
    ends = [*list(starts.values())[1:], time.perf_counter()]
    return {stage: round(end - start, 1) for (stage, start), end in zip(starts.items(), ends, strict=False)}


if __name__ == "__main__":
    sys.exit(main())
