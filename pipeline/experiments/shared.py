r"""Several trainings or extractions in one go: classifiers on one frozen backbone share every look at an image.

    python -m pipeline.experiments.shared train   --track T --manifest M --params A B --model A B --history A B --report
    A B python -m pipeline.experiments.shared extract --track T --manifest M --params A B --model A B --out A B
    --features A B \
        --report A B

Each option lists one file or folder a run, in the same order. Results are those of the stages of the chain, bit for
bit.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import load_section
from pipeline.core.tracks import TRACKS, get_track
from pipeline.extract.features import keep_features
from pipeline.extract.run import Reading, extract_readings
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import load_classifier
from pipeline.train.run import fit_poolings, save_fit
from pipeline.train.settings import TrainSettings


def train(args: argparse.Namespace) -> None:
    """Classifiers that differ in their pooling."""
    every = [load_section(TrainSettings, f"tracks.{args.track}.train", params) for params in args.params]
    fits = fit_poolings(read_manifest(args.manifest, ("train", "val"), truth=False), every)
    for trained, model, history, report in zip(fits, args.model, args.history, args.report, strict=True):
        save_fit(trained, model, history, report)


def extract(args: argparse.Namespace) -> None:
    """Maps of classifiers with one backbone."""
    every = [load_section(ExtractSettings, f"tracks.{args.track}.extract", params) for params in args.params]
    models = {path: load_classifier(path) for path in dict.fromkeys(args.model)}
    track = get_track(args.track)
    each = zip(args.model, every, args.out, strict=True)
    readings = [Reading(models[path], settings, out, track.task == "localization") for path, settings, out in each]
    manifest = read_manifest(args.manifest, truth=False)
    found = extract_readings(manifest, readings)
    by_folder = dict(zip(args.features, readings, strict=True))  # maps of one classifier share its features
    kept = {
        folder: keep_features(manifest, reading.classifier, folder, reading.settings, track)
        for folder, reading in by_folder.items()
    }
    for counts, folder, report in zip(found, args.features, args.report, strict=True):
        write_json(report, {**counts, "diagnostic_images": kept[folder]})


FILES = {
    "train": ("--model", "--history", "--report"),
    "extract": ("--model", "--out", "--features", "--report"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, files in FILES.items():
        here = kinds.add_parser(kind)
        here.add_argument("--track", required=True, choices=sorted(TRACKS))
        here.add_argument("--manifest", required=True, type=Path)
        for name in ("--params", *files):
            here.add_argument(name, required=True, type=Path, nargs="+")
    args = parser.parse_args(arguments)
    {"train": train, "extract": extract}[args.kind](args)


if __name__ == "__main__":
    run(main)
