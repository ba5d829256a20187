"""Several finished runs as one submission: maps or predictions averaged, refined, scored and packaged.

examples:
  lid ensemble a/data/track3 b/data/track3 --track track3 --out submissions/both.zip
  lid ensemble seed0=runs/0 seed1=runs/1 --track track1 --out submissions/both.zip --of maps --weights 1,2
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.arguments import processes, whole
from pipeline.core.errors import SettingsError
from pipeline.core.tracks import TRACKS, get_track
from pipeline.ensemble.usage import check_usage, check_zip


def main(arguments: Sequence[str] | None = None) -> int:
    """Make an ensemble; return the exit status."""
    args = _parser().parse_args(arguments)
    weights, folder = parse_weights(args.weights), args.folder or folder_of(args.out)
    check_usage(args.runs, weights)
    check_zip(args.out)
    from pipeline.ensemble.members import choose_of, limit_of, open_members  # loads libraries
    from pipeline.ensemble.page import as_lines, write_ensemble_page
    from pipeline.ensemble.run import Request, as_json, make_ensemble

    track, members = get_track(args.track), open_members(args.runs, args.track, weights)
    request = Request(
        members=members, of=choose_of(members, args.of), track=track, out=args.out, folder=folder, split=args.split,
        limit=limit_of(members[0], track) if args.limit is None else args.limit, jobs=args.jobs,
    )  # fmt: skip
    made = make_ensemble(request)
    for warning in made.warnings:
        print(f"warning: {args.out}: {warning}", file=sys.stderr)
    comparison = write_ensemble_page(request, made, args.most)
    if args.json:
        print(json.dumps(as_json(made), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        print("\n".join(as_lines(comparison, made, request)))
    return 0


def parse_weights(given: str | None) -> list[float] | None:
    """Numbers with commas between them.

    Raises:
        SettingsError: if one is none

    >>> parse_weights("1,0.5"), parse_weights(None)
    ([1.0, 0.5], None)
    """
    if given is None:
        return None
    try:
        return [float(word) for word in given.split(",")]
    except ValueError:
        raise SettingsError(
            f"--weights: expected numbers with commas between them, such as 1,2, got {given!r}"
        ) from None


def folder_of(out: Path) -> Path:
    """The folder of everything but the zip: beside it, with its name.

    Raises:
        SettingsError: if the zip is called otherwise

    >>> folder_of(Path("submissions/both.zip"))
    PosixPath('submissions/both')
    """
    if out.suffix != ".zip":
        raise SettingsError(f"{out}: expected a name that ends with .zip; --folder says where everything else goes")
    return out.with_suffix("")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="data/<track>, what the stages left, or its copy, or a checkout; "
        "NAME=PATH gives it a name; the first one decides how maps are refined and scores are read",
    )  # fmt: skip
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--out", required=True, type=Path, metavar="ZIP", help="the submission; its record beside it")
    parser.add_argument(
        "--of", choices=("auto", "maps", "student"), default="auto",
        help="what is averaged; auto: the students' predictions where all runs have one, else the maps; default: auto",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="W,W", help="of the runs, with commas between them; default: all the same")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="of the zip; default: test")
    parser.add_argument(
        "--limit", type=whole(), metavar="N", help="parameters of all networks together, 0: no limit; default: "
        "train.parameter_limit of the first run's checkout, else 150 million",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="for page, scores and stores; default: the zip's name without .zip")
    parser.add_argument("--most", type=whole(), default=48, metavar="N", help="images on the page; default: 48")
    parser.add_argument("--jobs", type=processes, default=-1, help="processes; -1: one for each core; default: -1")
    parser.add_argument("--json", action="store_true", help="the scores as one JSON object")
    return parser
