"""Two or more runs, or submissions, on one page: numbers, curves, and the images that changed most.

examples:
  lid compare ../before . --out compared
  lid compare "no CRF=runs/a" "CRF=runs/b" --track track3 --out compared
  lid compare data/track3:before_crf data/track3:refined data/track3:student --out compared
  lid compare mine.zip theirs.zip --truth masks/ --track track1 --classes 12 --images photos/ --out compared
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.arguments import whole
from pipeline.core.tracks import TRACKS


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; return the exit status."""
    args = _parser().parse_args(arguments)
    from pipeline.compare.entrants import Choices, class_names_of, open_entrants  # loads libraries
    from pipeline.compare.files import as_json, as_text, write_files
    from pipeline.compare.numbers import compare
    from pipeline.compare.page import write_page

    choices = Choices(args.track, args.truth, args.masks, args.classes, args.images)
    entrants = open_entrants(args.entrants, choices)
    comparison = compare(entrants)
    class_names = class_names_of(entrants)
    page = write_page(args.out, comparison, entrants, args.most)
    write_files(args.out, comparison, class_names)
    if args.json:
        print(json.dumps(as_json(comparison, class_names), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        print("\n".join([*as_text(comparison), f"{page}"]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "entrants", nargs="+", metavar="RUN[:STEP]|ZIP",
        help="a checkout, its reports/<track> or data/<track>, or a zip; behind a run :before_crf, :refined, "
        ":student_before_crf or :student, one of its steps; NAME=PATH gives it a name; the others are compared with "
        "the first",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="folder for the page and its files")
    parser.add_argument("--track", choices=sorted(TRACKS), help="of zips, and of checkouts with both tracks")
    parser.add_argument("--truth", type=Path, metavar="FOLDER", help="of zips: as lid score takes it")
    parser.add_argument("--masks", choices=("auto", "foreground", "labels"), default="auto", help="as in lid score")
    parser.add_argument("--classes", type=int, metavar="K", help="of zips in Track 1: largest class id; default: 200")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of zips: the images, to be shown")
    parser.add_argument("--most", type=whole(), default=48, metavar="N", help="images on the page; default: 48")
    parser.add_argument("--json", action="store_true", help="compare.json on stdout")
    return parser
