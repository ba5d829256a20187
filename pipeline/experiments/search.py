"""Search settings of scale, output and CRF on split val, on existing maps: nothing is trained.

See `pipeline.experiments.search_arguments` for the command line.
"""

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
from pipeline.core.tracks import get_track
from pipeline.evaluate.scorer import Context
from pipeline.experiments.journal import Journal
from pipeline.experiments.scoring import Scoring, stored_percentile
from pipeline.experiments.search_arguments import parse
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
    args = parse(arguments)
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
