"""Write the predictions of a finished run, a submission or `lid predict` in the formats of other tools.

examples:
  lid export data/track3 --format coco --out exported
  lid export submissions/track1.zip --format yolo --format csv --copy-images --out exported
  lid export theirs.zip --track track1 --class-names classes.txt --format voc --out exported
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.manifest import SPLITS
from pipeline.core.tracks import TRACKS
from pipeline.export import AREA_HELP, FORMAT_NAMES

if TYPE_CHECKING:
    from pipeline.export.formats import Exported


def main(arguments: Sequence[str] | None = None) -> int:
    """Export; return the exit status."""
    args = _parser().parse_args(arguments)
    from pipeline.export.formats import export  # loads PyTorch
    from pipeline.export.sources import Choices, open_source

    choices = Choices(
        threshold=args.threshold, min_area=args.min_area, split=args.split, stage=args.stage, track=args.track,
        run=args.run, class_names=args.class_names, classes=args.classes, images=args.images,
    )  # fmt: skip
    done = export(open_source(args.source, choices), args.format, args.out, args.copy_images)
    print(json.dumps(asdict(done), indent=2, sort_keys=True, default=str) if args.json else describe(done))
    return 0


def describe(done: "Exported") -> str:
    """What was written, in one line, and where, in others."""
    at = f"; threshold {done.threshold} ({done.threshold_rule})" if done.threshold is not None else ""
    left_out = f", {done.left_out} smaller ones left out" if done.left_out else ""
    lines = [f"{done.images} images, {done.instances} instances{left_out}{at}"]
    return "\n".join([*lines, *(f"{folder}" for folder in done.folders)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data/<track>, a zip, or a folder of lid predict")
    parser.add_argument("--format", action="append", required=True, choices=FORMAT_NAMES, help="once for each format")
    parser.add_argument("--out", required=True, type=Path, help="folder; the formats are folders in it")
    parser.add_argument("--threshold", type=int, help="Track 3: score from which a pixel is foreground, 0..255")
    parser.add_argument("--min-area", type=float, metavar="AREA", help=f"{AREA_HELP}; default: 0")
    parser.add_argument("--copy-images", action="store_true", help="copy the images into each folder, too")
    parser.add_argument("--split", choices=SPLITS, help="of a run; default: the split of its submission")
    parser.add_argument("--stage", choices=("auto", "first"), default="auto", help="of a run, as in lid predict")
    parser.add_argument("--track", choices=sorted(TRACKS), help="of a zip whose run is not known")
    parser.add_argument("--run", type=Path, help="of a zip: data/<track> of the run that made it")
    parser.add_argument("--class-names", type=Path, metavar="FILE", help="of a zip without a run: one name a line")
    parser.add_argument("--classes", type=int, metavar="K", help="of a Track 1 zip without names; default: 200")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of a zip without a run: its images")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    return parser
