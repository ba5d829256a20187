"""Search settings of scale, output and CRF on split val, on existing maps: nothing is trained.

    python -m pipeline.experiments.search --track track3 --out recipes/mine.yaml [--budget 60] [--minutes 30]
        [--parameter 'extract.percentile=[85, 90, 95]'] [--parameter 'extract.sizes=[[320], [320, 448]]'] ...

Needs a finished run (`dvc repro refine@track3`). Optuna proposes the settings of each trial and keeps the trials in a
journal: a search that was stopped continues where it stopped, and a longer budget uses the trials of a shorter one.
With one process the trials depend on the seed alone, however often the search was stopped. Levels of
`extract.negative_weights`, `extract.sizes` and `extract.flip` need other maps, which are computed once with the trained
model, for split val alone. All trials are in `reports/<track>/search.csv`, the best in `search.md` and in the recipe.

Settings are selected by split val only; images of split test are never opened. The best of many scores is too high. So
the page also has the score of settings that are chosen on one half of the images, on the other half, and says whether
to keep the recipe. (Optuna proposes trials by the scores of all images; with `--sampler random` it does not.)
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.arguments import amount, processes, whole
from pipeline.core.errors import command
from pipeline.core.files import write_text
from pipeline.core.tracks import TRACKS, get_track


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--out", required=True, type=Path, help="the recipe that is written")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the finished run")
    parser.add_argument("--data", type=Path, help="its folder; data/<track> if not given")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--budget", type=int, default=60, help="trials")
    parser.add_argument("--minutes", type=amount, default=0, help="after which no trial begins; 0: no limit")
    images = "val images that are scored, drawn by the seed; 0: all"
    parser.add_argument("--images", type=int, default=0, help=images)
    window = "Track 3: where the peak threshold may lie; near 0 or 255 the CRF has saturated, and scores say little"
    parser.add_argument("--thresholds", nargs=2, type=int, default=(0, 255), metavar=("LOW", "HIGH"), help=window)
    parser.add_argument("--seed", type=whole(), default=0)
    parser.add_argument("--jobs", type=processes, default=-1, help="processes; -1: all cores")
    levels = "key=[levels], a list in YAML; one level fixes the parameter"
    parser.add_argument("--parameter", action="append", default=[], help=levels)
    args = parser.parse_args(arguments)
    if args.budget < 1 or args.images < 0:
        parser.error(f"expected a budget from 1 and images from 0, got {args.budget} and {args.images}")
    return args


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    # help needs none of these libraries
    from pipeline.evaluate.metrics import ranking
    from pipeline.experiments.search_space import make_space, recipe_keys
    from pipeline.experiments.search_study import Search, best_of, choose, page, run_search, table
    from pipeline.experiments.search_trials import prepare
    from pipeline.params.changes import parse_changes, write_changed

    track, data = get_track(args.track), args.data or Path("data") / args.track
    given = parse_changes(args.parameter, "--parameter")
    scoring = prepare(args.params, track, data, args.images, args.seed)
    space = make_space(scoring.values["tracks"][args.track], track, given)
    search = Search(scoring, space, args.sampler, args.seed, tuple(args.thresholds))
    trials = run_search(search, args.budget, args.minutes, args.jobs)
    images, reports = f"{scoring.images} images of split val", Path("reports") / args.track
    title, label = f"{args.track}, {images}, sampler {args.sampler}", ranking(track.task).label
    text = page(trials, space, title, label, choose(search, trials))
    write_text(reports / "search.csv", table(trials, space, scoring.images))
    write_text(reports / "search.md", text)
    best = best_of(trials)
    found = f"the settings that `make search` found for {args.track}: {best.user_attrs['score']:.4f} on {images}"
    note = f"{args.params.name} with {found}"
    write_changed(args.params, args.track, recipe_keys(space.point(best.params)), args.out, note)
    print(f"{text}\nrecipe: {args.out}, trials: {reports / 'search.csv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
