"""Stage `train`: fit a classifier to the image-level labels of one track.

Settings: `tracks.<track>.train` in params.yaml. Paths: see dvc.yaml.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.auto import data_facts, load_settled
from pipeline.core.errors import run
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import PARAMS
from pipeline.core.tracks import TRACKS
from pipeline.train.run import fit, save_fit
from pipeline.train.settings import TrainSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--model", "--history", "--report"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="folder for what `train.loggers` write")
    args = parser.parse_args(arguments)
    manifest = read_manifest(args.manifest, ("train", "val"), truth=False)
    settings = load_settled(TrainSettings, args.track, "train", args.params, data_facts(manifest))
    save_fit(fit(manifest, settings, args.logs), args.model, args.history, args.report)


if __name__ == "__main__":
    run(main)
