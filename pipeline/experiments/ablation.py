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
from typing import Any

from pipeline.core.errors import SettingsError, command
from pipeline.core.settings import parse_value
from pipeline.core.tracks import TRACKS, get_track
from pipeline.experiments.ablation_plan import RESULTS, Ablation, write_plan
from pipeline.experiments.project import run_project


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    folder = args.out or Path("ablation") / f"{args.name or args.recipe.stem}-{args.track}"
    changes = _changes(args.set)
    write_plan(Ablation(args.recipe, get_track(args.track), _seeds(args.seeds), args.grid, folder, changes))
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


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """`train.epochs=2` to a key and its value, read as in a params file."""
    changes = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"--set: expected KEY=VALUE, such as train.epochs=2, got {text!r}")
        changes[key] = parse_value(value)
    return changes


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise SettingsError(
            f"seeds: expected whole numbers with commas between them, such as 0,1, got {text!r}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
