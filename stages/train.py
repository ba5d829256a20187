"""Stage `train`: fit a classifier to the image-level labels of one track.

Settings: `tracks.<track>.train` in params.yaml. Paths: see dvc.yaml. Several params files, which differ in the pooling
alone, train as many classifiers in one pass over the images of a frozen backbone: each option has one path for each.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()
    from pipeline.core.launch import launch

    launch("train")

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.core.auto import load_settled
from pipeline.core.device import choose_hardware
from pipeline.core.distributed import process_group
from pipeline.core.errors import run
from pipeline.core.manifest import read_manifest
from pipeline.core.rank import this_rank
from pipeline.core.scratch import open_scratch, rows_and_images
from pipeline.core.settings import PARAMS
from pipeline.core.stages import begin
from pipeline.core.tracks import TRACKS
from pipeline.train.run import describe_fit, fit_together, save_fit
from pipeline.train.settings import TrainSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, nargs="+", default=[PARAMS])
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--manifest", required=True, type=Path)
    for name in ("--model", "--history", "--report"):
        parser.add_argument(name, required=True, type=Path, nargs="+")
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="folder for what `train.loggers` write")
    args = parser.parse_args(arguments)
    begun = begin("train", args.track)
    manifest = read_manifest(args.manifest, ("train", "val"), truth=False)
    every = [load_settled(TrainSettings, args.track, "train", params, manifest) for params in args.params]
    one = every[0]
    hardware = choose_hardware(one.device, one.precision, learning=one.backbone.trained)
    sections = [*map(asdict, every), {"hardware": [hardware.device.type, hardware.precision]}]
    inputs = [*rows_and_images(args.manifest, ("train", "val")), *one.backbone.weight_files]
    scratch = open_scratch(args.model[0], "train", sections, inputs, one.save_interval)
    with process_group(hardware.device):
        trained = fit_together(manifest, every, args.logs, scratch)
    if this_rank().number:
        return
    for fitted, model, history, report in zip(trained, args.model, args.history, args.report, strict=True):
        save_fit(fitted, model, history, report)
    scratch.end()
    begun.end(describe_fit(trained[0]), *map(str, args.model))


if __name__ == "__main__":
    run(main)
