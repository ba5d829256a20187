r"""Several trainings or extractions of one frozen backbone in one pass over the images.

    python -m pipeline.experiments.shared train --track T --manifest M --params A B --model A B --history A B \
        --report A B
    python -m pipeline.experiments.shared extract --track T --manifest M --params A B --model A B --out A B \
        --features A B --report A B

Each option lists one file or folder a run, in the same order. Results are those of the stages of the chain, bit for
bit.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.device import choose_hardware
from pipeline.core.errors import SettingsError, run
from pipeline.core.files import write_json
from pipeline.core.manifest import Manifest, read_manifest
from pipeline.core.settings import load_section
from pipeline.core.tracks import TRACKS, get_track
from pipeline.extract.features import keep_features
from pipeline.extract.run import Extraction, describe_extraction, extract_together
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import load_classifier
from pipeline.train.build import new_classifier
from pipeline.train.head import fit_head, pool_views
from pipeline.train.run import Fit, describe, find_offset, fit, save_fit, set_offset
from pipeline.train.settings import TrainSettings
from pipeline.train.split import split_data


def fit_poolings(manifest: Manifest, every: Sequence[TrainSettings]) -> list[Fit]:
    """Train heads on one frozen backbone that differ in their pooling alone, each as the stage `train` would.

    A single run may train its backbone.

    Raises:
        TrainError: as the stage
        SettingsError: if more than the pooling differs, or several runs cannot share pooled features
    """
    settings = every[0]
    if len(every) == 1:
        return [fit(manifest, settings)]
    rest = [replace(other, pooling=settings.pooling, tap_threshold=settings.tap_threshold) for other in every]
    if settings.backbone.trained or any(other != settings for other in rest):
        raise SettingsError(
            "train: expected a frozen backbone and settings that differ in pooling and tap_threshold alone, got others"
        )
    data = split_data(manifest, settings)
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    classifiers = [new_classifier(one, data.train, data.classes, hardware.device) for one in every]
    if not classifiers[0].method.uses_pooled_features:
        raise SettingsError(
            f"train.method: expected one whose loss needs pooled features alone, got {settings.method!r}; its runs "
            "cannot share them, train them one by one"
        )
    features = pool_views(classifiers[0], [classifier.pool for classifier in classifiers], data, settings, hardware)
    offset = find_offset(classifiers[0], data.train_files, settings, hardware)
    fits = []
    for classifier, pooled in zip(classifiers, features, strict=True):
        training = fit_head(classifier.head, pooled, data, settings, hardware)
        set_offset(classifier.eval(), offset)
        fits.append(Fit(classifier, training, describe(classifier, data, settings, hardware)))
    return fits


# --- the command -----------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Classifiers that differ in their pooling."""
    every = [load_section(TrainSettings, f"tracks.{args.track}.train", params) for params in args.params]
    fits = fit_poolings(read_manifest(args.manifest, ("train", "val"), truth=False), every)
    for trained, model, history, report in zip(fits, args.model, args.history, args.report, strict=True):
        save_fit(trained, model, history, report)


def extract(args: argparse.Namespace) -> None:
    """Maps of classifiers with one backbone; those of one classifier share its features for the diagnostics."""
    track, manifest = get_track(args.track), read_manifest(args.manifest, truth=False)
    every = [load_section(ExtractSettings, f"tracks.{args.track}.extract", params) for params in args.params]
    models = {path: load_classifier(path) for path in dict.fromkeys(args.model)}
    each = zip(args.model, every, args.out, strict=True)
    extractions = [Extraction(models[path], settings, out) for path, settings, out in each]
    found = extract_together(manifest, extractions, with_true=track.task == "localization")
    kept = {
        folder: keep_features(manifest, one.classifier, folder, one.settings, track)
        for folder, one in dict(zip(args.features, extractions, strict=True)).items()
    }
    for counts, settings, folder, report in zip(found, every, args.features, args.report, strict=True):
        write_json(report, describe_extraction(counts, kept[folder], manifest.classes, track, settings))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for call, files in ((train, ("model", "history", "report")), (extract, ("model", "out", "features", "report"))):
        here = kinds.add_parser(call.__name__)
        here.set_defaults(call=call)
        here.add_argument("--track", required=True, choices=sorted(TRACKS))
        here.add_argument("--manifest", required=True, type=Path)
        for name in ("params", *files):
            here.add_argument(f"--{name}", required=True, type=Path, nargs="+")
    args = parser.parse_args(arguments)
    args.call(args)


if __name__ == "__main__":
    run(main)
