"""What each step of the method is worth: scores, gains over the step before with paired intervals, and seconds.

    lid ladder cam:before_crf nwc:before_crf . --track track3 --out ladder
    lid ladder runs/a/data/track3 both=submissions/both --out ladder

Steps are given in their order, by finished runs: a checkout, its `data/<track>`, the scores of a row of an ablation, or
the folder of an ensemble. A run stands for all its steps, without the CRF, with it, and by its student; with a step
behind a colon (`:before_crf`, `:refined`, `:student_before_crf`, `:student`) for that one. Nothing is trained or
predicted. In the folder: `ladder.md`, `ladder.csv`, `ladder.svg`.
"""

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from pipeline.compare.entrants import (
    Choices,
    Entrant,
    distinct_names,
    open_entrant,
    place_of,
    reports_of,
    short_name,
    split_name,
)
from pipeline.compare.numbers import align, common_images, compare
from pipeline.compare.steps import split_step, steps_of
from pipeline.core.errors import SettingsError, command
from pipeline.core.tracks import TRACKS
from pipeline.experiments.ladder_page import Ladder, Rated, write_ladder
from pipeline.experiments.ladder_steps import About, about_step, difference_of

FEWEST = 2


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    ladder = make_ladder(args.steps, args.track)
    write_ladder(args.out, ladder)
    print("\n".join([*ladder.lines(), str(args.out / "ladder.md")]))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", metavar="RUN[:STEP]", help="in their order; NAME=PATH gives a name")
    parser.add_argument("--track", choices=sorted(TRACKS), help="of checkouts with finished runs of both")
    parser.add_argument("--out", type=Path, default=Path("ladder"), help="folder of the page; default: ladder")
    return parser.parse_args(arguments)


def make_ladder(given: Sequence[str], track: str | None = None) -> Ladder:
    """The steps of finished runs, scored on the images that all have.

    Raises:
        SettingsError: if there are less than two steps, or they are of two tracks
        StoreError: if one is no finished run
        ScoreError: if they have no image in common, or another truth
    """
    expanded = [expand(name, path, track) for name, path in map(split_name, given)]
    steps = [step for one in expanded for step in one]
    if len(steps) < FEWEST:
        raise SettingsError(f"expected at least two steps, got {[str(path) for _, path in steps]}")
    entrants = [open_entrant(path, "", Choices(track)) for _, path in steps]
    if len({one.track.name for one in entrants}) > 1:
        tracks = {str(path): one.track.name for (_, path), one in zip(steps, entrants, strict=True)}
        raise SettingsError(f"expected steps of one track, got {tracks}")
    abouts = [about_step(path, one.track) for (_, path), one in zip(steps, entrants, strict=True)]
    firsts = first_steps([len(one) for one in expanded])
    return rate(_named(entrants, [name for name, _ in steps], abouts, firsts), abouts, firsts)


def first_steps(counts: Sequence[int]) -> set[int]:
    """Places of the steps that begin anew: the first one, and where all steps of a run follow all those of another.

    >>> sorted(first_steps([1, 4, 4, 1]))
    [0, 5]
    """
    firsts, place = {0}, 0
    for before, count in pairwise(counts):
        place += before
        if before > 1 and count > 1:
            firsts.add(place)
    return firsts


def expand(name: str, path: Path, track: str | None) -> list[tuple[str, Path]]:
    """A run without a step as all its steps; what has no stored predictions as it is.

    Names of several steps have the label of the step behind them.
    """
    run, step = split_step(path)
    if step is not None or (run / "ensemble.json").is_file():
        return [(name, path)]
    reports = reports_of(run, track)
    data = reports.parent.parent / "data" / reports.name
    found = steps_of(data)
    if not found:
        return [(name, path)]
    return [(f"{name}, {one.label}" if name else "", Path(f"{data}:{one.key}")) for one in found]


def _named(
    entrants: Sequence[Entrant], names: Sequence[str], abouts: Sequence[About], firsts: Collection[int]
) -> list[Entrant]:
    """Names where none was given: what a step adds to the one before. The first reading of the score is that of all.

    Of several runs, one that occurs twice has the name of its run before it; if all steps of a run follow all those of
    another, each has.
    """
    found = [
        name or difference_of(None if place in firsts else abouts[place - 1], about)
        for place, (name, about) in enumerate(zip(names, abouts, strict=True))
    ]
    runs = _run_names([one.path for one in entrants])
    if len(set(runs)) > 1:
        alone = {name for name in found if found.count(name) == 1 and (len(firsts) == 1 or name in names)}
        found = [name if name in alone else f"{run}: {name}" for run, name in zip(runs, found, strict=True)]
    return [
        replace(one, name=name if found.count(name) == 1 else f"{name} ({place})", settings=entrants[0].settings)
        for place, (one, name) in enumerate(zip(entrants, found, strict=True), start=1)
    ]


def _run_names(steps: Sequence[Path]) -> list[str]:
    """What the run of each step is called, the same for all its steps."""
    places = [place_of(split_step(path)[0]) for path in steps]
    once = list(dict.fromkeys(places))
    names = dict(zip(once, distinct_names([short_name(place) for place in once], once), strict=True))
    return [names[place] for place in places]


def rate(entrants: Sequence[Entrant], abouts: Sequence[About], firsts: Collection[int]) -> Ladder:
    """Score every step, and its gain over the step before on the same resamples of images; the first ones have none."""
    ids, _, notes = common_images(entrants)
    aligned = [align(one, ids) for one in entrants]
    whole = compare(aligned)
    pairs = [
        None if place in firsts else compare(aligned[place - 1 : place + 1]).entrants[1]
        for place in range(len(aligned))
    ]
    rated = [
        Rated(
            name=one.name,
            path=one.path,
            score=one.score,
            interval=one.interval,
            gain=pair.difference if pair else None,
            gain_interval=pair.difference_interval if pair else None,
            better=pair.better if pair else 0,
            worse=pair.worse if pair else 0,
            cost=about.cost,
        )
        for one, pair, about in zip(whole.entrants, pairs, abouts, strict=True)
    ]
    return Ladder(whole.track, whole.metric, len(ids), rated, (*notes, *whole.choosing))


if __name__ == "__main__":
    sys.exit(main())
