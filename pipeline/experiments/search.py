"""Search settings of scale, output and CRF on split val, on existing maps: nothing is trained.

    python -m pipeline.experiments.search --track track3 --out recipes/mine.yaml [--budget 60] [--minutes 30]
        [--parameter 'extract.percentile=[85, 90, 95]'] [--parameter 'extract.sizes=[[320], [320, 448]]'] ...

Needs a finished run (`dvc repro refine@track3`). Every trial is written to a journal at once: a search that was stopped
continues where it stopped, and a longer budget uses the trials of a shorter one. Levels of `extract.negative_weights`,
`extract.sizes` and `extract.flip` need other maps, which are computed once with the trained model, for split val alone.

Settings are selected by split val only; images of split test are never opened. The best of many scores is a little too
high: images that were not used for the selection give an unbiased score.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ScoreError, SettingsError, StoreError, command, sample
from pipeline.core.files import write_text
from pipeline.core.manifest import Manifest, Record, read_manifest
from pipeline.core.settings import read_params
from pipeline.core.store import Store
from pipeline.core.tracks import TRACKS, get_track
from pipeline.evaluate.scorer import Context
from pipeline.experiments.journal import Journal
from pipeline.experiments.scoring import Scoring, stored_percentile
from pipeline.experiments.search_results import report, write_recipe, write_table
from pipeline.experiments.search_scorer import Budget, PointScorer, Run
from pipeline.experiments.search_space import (
    Effort,
    canonical,
    make_space,
    search,
)
from pipeline.extract.settings import ExtractSettings
from pipeline.params.check import check

FIRST_SHARE = 0.4  # of the budget for the random points
MOST_DRAWS = 300
BATCH = 6  # points that are scored together: the most that is lost when the search is killed


def prepare(
    run: Run, given: Mapping[str, Sequence[Any]], budget: Budget, few: int, seed: int, jobs: int
) -> PointScorer:
    """Read what the search needs; everything of split val, nothing of split test.

    Args:
        given: levels by parameter, in place of the usual ones
        few: images of the first pass; 0 is all
        seed: of the choice of these images

    Raises:
        SettingsError: if the params or the levels are wrong
        StoreError: if the run is not finished, or has other params
        ScoreError: if no val image has truth
    """
    track = get_track(run.track)
    settings = check(run.params)[run.track]
    sections = read_params(run.params)["tracks"][run.track]
    manifest = read_manifest(run.manifest, ("val",))
    scoring = Scoring(track, Context(settings["evaluate"], manifest.classes, manifest.mask_kind))
    _check_maps(run, settings["extract"])
    records = _records(manifest, scoring, run.maps)
    chosen = np.random.default_rng(seed).permutation(len(records))[: few or len(records)]
    return PointScorer(
        run=run,
        space=make_space(sections, track, given),
        scoring=scoring,
        records=records,
        small=[records[n] for n in sorted(chosen.tolist())],
        budget=budget,
        jobs=jobs,
        journal=Journal(run.scratch / "journal.jsonl"),
        sections=sections,
    )


def _check_maps(run: Run, settings: ExtractSettings) -> None:
    stored = stored_percentile(Store(run.maps))
    wanted = 100.0 if settings.scale == "max" else settings.percentile
    if stored != wanted:
        raise StoreError(
            f"{run.maps}: expected maps scaled at percentile {wanted:g} as {run.params} says, got {stored:g}; "
            "likely made with other params, run `dvc repro` first"
        )


def _records(manifest: Manifest, scoring: Scoring, maps: Path) -> list[Record]:
    store = Store(maps)
    records = [record for record in manifest if scoring.has_truth(record)]
    if not records:
        raise ScoreError(f"expected val images with usable truth to choose settings by, got none among {len(manifest)}")
    if missing := [record.id for record in records if record.id not in store]:
        raise StoreError(
            f"{maps}: expected maps of all val images, missing={sample(missing)}; is val among extract.splits?"
        )
    return records


def effort_for(scorer: PointScorer, seed: int) -> Effort:
    """How many random points the budget allows, given the number of images of the first pass."""
    price = len(scorer.small) / len(scorer.records)
    draws = int(FIRST_SHARE * scorer.budget.trials / price)
    return Effort(min(MOST_DRAWS, draws), BATCH, seed, len(scorer.small) < len(scorer.records))


# --- command line -----------------------------------------------------------------------------------------------------


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    data = args.data or Path("data") / args.track
    run = Run(args.params, args.track, *(data / name for name in ("manifest", "maps/val", "model", "search")))
    run = replace(
        run, maps=args.maps or run.maps, model=args.model or run.model, manifest=args.manifest or run.manifest
    )
    scorer = prepare(
        run, _parameters(args.parameter), Budget(args.budget, args.minutes), args.images, args.seed, args.jobs
    )
    scorer.window = (args.thresholds[0], args.thresholds[1])
    best = search(scorer.space, scorer, effort_for(scorer, args.seed))
    table = args.table or Path("reports") / args.track / "search.csv"
    write_table(table, scorer)
    write_text(table.with_suffix(".md"), report(scorer, best))
    score = scorer.score(best.point)
    note = f"{args.params.name} with the settings that `make search` found for {args.track}: {score:.4f} on split val"
    write_recipe(args.params, args.track, canonical(best.point, scorer.space.start), args.out, note)
    print(report(scorer, best))
    print(f"recipe: {args.out}, trials: {table}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--out", required=True, type=Path, help="the recipe that is written")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the finished run")
    parser.add_argument("--data", type=Path, help="its folder; data/<track> if not given")
    parser.add_argument("--manifest", type=Path, help="manifest of --data if not given")
    parser.add_argument("--maps", type=Path, help="maps/val of --data if not given")
    parser.add_argument("--model", type=Path, help="model of --data if not given")
    parser.add_argument("--table", type=Path, help="all trials; reports/<track>/search.csv if not given")
    parser.add_argument("--budget", type=float, default=60, help="scorings of the whole split")
    parser.add_argument("--minutes", type=float, default=0, help="time for trials; 0: no limit")
    parser.add_argument("--images", type=int, default=32, help="images of the first, random pass; 0: all")
    parser.add_argument(
        "--thresholds",
        nargs=2,
        type=int,
        default=(0, 255),
        metavar=("LOW", "HIGH"),
        help="Track 3: where the peak threshold may lie; near 0 or 255 the CRF has saturated, and scores say little",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1: all cores")
    parser.add_argument(
        "--parameter", action="append", default=[], help="key=[levels], a JSON list; one level fixes the parameter"
    )
    return parser.parse_args(arguments)


def _parameters(given: Sequence[str]) -> dict[str, list[Any]]:
    """Levels from the command line.

    >>> _parameters(["extract.percentile=[80, 90]"])
    {'extract.percentile': [80, 90]}
    """
    parameters = {}
    for text in given:
        key, _, levels = text.partition("=")
        try:
            parameters[key] = json.loads(levels)
        except json.JSONDecodeError:
            parameters[key] = None
        if not isinstance(parameters[key], list) or not parameters[key]:
            raise SettingsError(f"parameter: expected key=[levels] such as extract.percentile=[80, 90], got {text!r}")
    return parameters


if __name__ == "__main__":
    sys.exit(main())
