"""The training methods side by side: the same budget, the same number of trials for each, two seeds, two sets.

    python -m pipeline.experiments.methods [--seeds 0,1] [--sets butterflies,tiny_imagenet] [--only HaS,ADL]
        [--set KEY=VALUE] [--folder FOLDER]

Settings are chosen on split val of the butterflies: four trials for every row, by peak IoU after the CRF. Finished runs
are kept in the folder, and the command goes on where it was stopped, inside a training too. It writes `table.csv`,
`table.md` and `figure.svg` after every run. Split test is not used. The sets lie where their recipes say.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError, command
from pipeline.core.files import write_json
from pipeline.experiments.method_numbers import CHOSEN
from pipeline.experiments.method_plan import (
    ROWS,
    SEARCHED,
    SETS,
    Row,
    best_method,
    choose,
    combined,
    run_of,
    search_runs,
)  # fmt: skip
from pipeline.experiments.method_runs import make_run
from pipeline.experiments.method_tables import TABLE, write_tables
from pipeline.params.changes import parse_changes

RECIPES = Path("recipes")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    seeds, sets = [int(word) for word in args.seeds.split(",")], args.sets.split(",")
    brief = parse_changes(args.set, "--set")
    rows = _rows(args.only, sets)
    scores = search(rows, seeds[0], brief, args.folder)
    chosen = choose(scores)
    if set(scores) >= {row.title for row in ROWS}:
        best = best_method(scores)
        both = combined(best)
        rows, chosen = (*rows, both), {**chosen, both.title: chosen[best.title]}
    write_json(args.folder / CHOSEN, {row.title: dict(row.trials[chosen[row.title]]) for row in rows})
    records: list[dict[str, Any]] = []
    for name in sets:
        for seed in seeds:
            for row in rows:
                run = run_of(row, row.trials[chosen[row.title]], name, seed, brief)
                # of a search that shares its runs: two rows can have the same settings
                records.append({**make_run(run, args.folder, RECIPES), "title": row.title})
                write_tables(records, [one.title for one in rows], sets, args.folder)
    print((args.folder / TABLE).read_text(encoding="utf-8"))
    return 0


def search(rows: Sequence[Row], seed: int, brief: Mapping[str, Any], folder: Path) -> dict[str, list[float]]:
    """The peak IoU after the CRF of all trials on split val, by row."""
    scores: dict[str, list[float]] = {}
    for run in search_runs(rows, seed, brief):
        scores.setdefault(run.title, []).append(make_run(run, folder, RECIPES)["after"]["peak_iou"])
    return scores


def _rows(only: str, sets: Sequence[str]) -> tuple[Row, ...]:
    """The rows of the table that are wanted.

    Raises:
        SettingsError: if a row or a set is unknown
    """
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    known = {row.title for row in ROWS}
    if unknown := sorted({*wanted} - known):
        raise SettingsError(f"--only: expected rows among {sorted(known)}, got {unknown}")
    if unknown := sorted({*sets} - set(SETS)):
        raise SettingsError(f"--sets: expected sets among {sorted(SETS)}, got {unknown}")
    return tuple(row for row in ROWS if not wanted or row.title in wanted)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1", help="whole numbers with commas between them; the first one searches")
    parser.add_argument("--sets", default=",".join([SEARCHED, *(name for name in SETS if name != SEARCHED)]))
    parser.add_argument("--only", default="", help="titles of rows with commas between them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of all runs")
    parser.add_argument("--folder", type=Path, default=Path("ablation/methods"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
