"""The command line of the search: settings of scale, output and CRF by split val, on existing maps; nothing is trained.

    python -m pipeline.experiments.search --track track3 --out recipes/mine.yaml [--budget 60] [--minutes 30]
        [--parameter 'extract.percentile=[85, 90, 95]'] [--parameter 'extract.sizes=[[320], [320, 448]]'] ...

Needs a finished run (`dvc repro refine@track3`). Optuna proposes the settings of each trial and keeps the trials in a
journal: a search that was stopped continues where it stopped, and a longer budget uses the trials of a shorter one.
With one process the trials depend on the seed alone, however often the search was stopped. Levels of
`extract.negative_weights`, `extract.sizes` and `extract.flip` need other maps, which are computed once with the trained
model, for split val alone.

Settings are selected by split val only; images of split test are never opened. The best of many scores is a little too
high: images that were not used for the selection give an unbiased score.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.core.tracks import TRACKS

SAMPLERS = ("tpe", "random")


def at_least(smallest: int) -> Callable[[str], int]:
    """A type of argparse: a whole number that is not smaller."""

    def number(text: str) -> int:
        if int(text) < smallest:
            raise ValueError
        return int(text)

    number.__name__ = f"whole number from {smallest}"  # as argparse calls it
    return number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of `lid search`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--out", required=True, type=Path, help="the recipe that is written")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the finished run")
    parser.add_argument("--data", type=Path, help="its folder; data/<track> if not given")
    parser.add_argument("--manifest", type=Path, help="manifest of --data if not given")
    parser.add_argument("--maps", type=Path, help="maps/val of --data if not given")
    parser.add_argument("--model", type=Path, help="model of --data if not given")
    parser.add_argument("--table", type=Path, help="all trials; reports/<track>/search.csv if not given")
    parser.add_argument("--sampler", choices=SAMPLERS, default="tpe")
    parser.add_argument("--budget", type=at_least(1), default=60, help="trials")
    parser.add_argument("--minutes", type=float, default=0, help="after which no trial begins; 0: no limit")
    parser.add_argument(
        "--images", type=at_least(0), default=0, help="val images that are scored, drawn by the seed; 0: all"
    )
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
