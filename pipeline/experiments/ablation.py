"""The ablation: what each part of the method contributes, on any recipe.

    python -m pipeline.experiments.ablation --recipe recipes/folder.yaml --track track3 --seeds 0,1 [--grid]
        [--set train.backbone.trained=true] [--set train.epochs=2] [--name folder-trained]

Two trainings a seed (GAP, TAP), on a frozen backbone from one pass over the images; everything else is shared between
the rows and cached, and a stopped ablation continues where it stopped. The results are in the folder
`ablation/<recipe>-<track>`, if no other is named: `table.md`, `table.csv`, `figure.svg`, `strip.png`, `results.json`.
Split test is not used.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import SettingsError, StoreError, command
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import provenance
from pipeline.core.settings import read_params
from pipeline.core.tracks import TRACKS, get_track
from pipeline.core.typed_json import to_json
from pipeline.dvc_runs import dvc, timed_repro
from pipeline.experiments.ablation_plan import write_plan
from pipeline.experiments.ablation_rows import Plan, row_groups
from pipeline.params.changes import changed, parse_changes
from pipeline.params.check import check_values

TIMINGS = "timings.json"  # seconds of the last real run of each stage
RUN = "run.json"  # code and machine of the last run in which a stage ran


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    seeds, changes = _seeds(args.seeds), parse_changes(args.set, "--set")
    values = changed(read_params(args.recipe), args.track, changes, args.recipe)
    check_values(values, args.recipe)
    groups = row_groups(get_track(args.track), values["tracks"][args.track]["refine"]["output"], args.grid)
    recipe = args.recipe.name if args.recipe.is_absolute() else args.recipe.as_posix()
    folder = args.out or Path("ablation") / f"{args.name or args.recipe.stem}-{args.track}"
    write_plan(folder, Plan(args.track, recipe, seeds, groups, changes), values)
    if args.plan_only:
        print(f"{folder}/dvc.yaml is written; the same command without --plan-only runs it")
        return 0
    ran = run_project(folder)
    print((folder / "table.md").read_text(encoding="utf-8"))
    print(f"{len(ran)} stages ran. In {folder}: table.md, table.csv, figure.svg, strip.png, results.json")
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


def run_project(folder: Path) -> list[str]:
    """Run what is not up to date in the DVC project of `folder`; return the stages that ran.

    How long each took, code and machine are recorded beside its results.

    Raises:
        StoreError: if a stage failed; its own message is printed above
    """
    if not (folder / ".dvc").is_dir():
        dvc(["init", "--quiet", "--no-scm"], folder)
    seconds, status = timed_repro(folder)
    timed = dict(list(seconds.items())[:-1]) if status else seconds  # the last stage is the one that failed
    known = read_json(folder / TIMINGS) if (folder / TIMINGS).is_file() else {}
    write_json(folder / TIMINGS, {**known, **timed})
    if timed:
        write_json(folder / RUN, to_json(provenance()))
    if status:
        raise StoreError(
            f"{folder}: expected the pipeline to run through, `dvc repro` ended with {status}; the reason is above"
        )
    return list(seconds)


if __name__ == "__main__":
    sys.exit(main())
