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
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipeline.core.device import choose_hardware
from pipeline.core.errors import MapError, SettingsError, run
from pipeline.core.files import write_json
from pipeline.core.manifest import SPLITS, Manifest, read_manifest
from pipeline.core.settings import load_section
from pipeline.core.store import Arrays
from pipeline.core.tracks import TRACKS, get_track
from pipeline.extract.arrays import image_arrays
from pipeline.extract.features import keep_features
from pipeline.extract.plan import plan_shards
from pipeline.extract.run import (
    Counts,
    MapStores,
    compute_batches,
    describe_extraction,
    progress_bar,
    warn_of_test_labels,
)
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier, load_classifier
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


@dataclass(frozen=True, slots=True)
class Extraction:
    """One way to make maps of the features: a head, its settings, and where the maps go."""

    classifier: Classifier
    settings: ExtractSettings
    out: Path


def extract_together(manifest: Manifest, extractions: Sequence[Extraction], with_true: bool) -> list[Counts]:
    """Write several sets of maps, each as the stage `extract` would; each image passes the backbone once.

    Raises:
        MapError, DataError: as the stage; MapError, too, if the backbones differ, or the settings of the views
    """
    _check_alike(extractions)
    classifier, settings = extractions[0].classifier, extractions[0].settings
    hardware = choose_hardware(settings.device, settings.precision, learning=False)
    for one in extractions:
        one.classifier.to(hardware.device).eval()
    stores = [MapStores(one.classifier, one.settings, hardware, one.out) for one in extractions]
    shards = plan_shards(manifest, settings, classifier.design.output_stride, with_true)
    with progress_bar(shards) as bar:
        for split in SPLITS:
            for jobs in shards[split]:
                items: list[dict[str, Arrays]] = [{} for _ in extractions]
                for batch, views in compute_batches(jobs, classifier, settings, hardware):
                    for one, made in zip(extractions, items, strict=True):
                        made |= image_arrays(batch, views, one.classifier, one.settings)
                    bar.update(len(batch))
                for store, made in zip(stores, items, strict=True):
                    store.add(split, store.keys(jobs), made, reused=False)
            for store in stores:
                store.finish(split, manifest.classes)
    ignored = warn_of_test_labels(manifest, settings)
    return [store.counts(ignored) for store in stores]


def _check_alike(extractions: Sequence[Extraction]) -> None:
    """Refuse extractions that cannot share features."""
    first = extractions[0]
    free = {name: getattr(first.settings, name) for name in ("negative_weights", "scale", "percentile")}
    for other in extractions[1:]:
        if not _same_features(first.classifier, other.classifier) or replace(other.settings, **free) != first.settings:
            raise MapError(
                f"{other.out}: expected the backbone and settings of {first.out} but for negative_weights, scale and "
                "percentile, got others; extract them one by one"
            )


def _same_features(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers have the same features for every image."""
    designs = {(c.design.backbone, c.design.output_stride, c.design.normalization) for c in (one, other)}
    ours, theirs = one.backbone.state_dict(), other.backbone.state_dict()
    return len(designs) == 1 and all(torch.equal(value, theirs[name]) for name, value in ours.items())


# --- the command -----------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Classifiers that differ in their pooling."""
    every = [load_section(TrainSettings, f"tracks.{args.track}.train", params) for params in args.params]
    fits = fit_poolings(read_manifest(args.manifest, ("train", "val"), truth=False), every)
    for trained, model, history, report in zip(fits, args.model, args.history, args.report, strict=True):
        save_fit(trained, model, history, report)


def extract(args: argparse.Namespace) -> None:
    """Maps of classifiers with one backbone; those of one classifier share its features for the diagnostics."""
    every = [load_section(ExtractSettings, f"tracks.{args.track}.extract", params) for params in args.params]
    models = {path: load_classifier(path) for path in dict.fromkeys(args.model)}
    track = get_track(args.track)
    each = zip(args.model, every, args.out, strict=True)
    extractions = [Extraction(models[path], settings, out) for path, settings, out in each]
    manifest = read_manifest(args.manifest, truth=False)
    found = extract_together(manifest, extractions, with_true=track.task == "localization")
    kept = {
        folder: keep_features(manifest, one.classifier, folder, one.settings, track)
        for folder, one in dict(zip(args.features, extractions, strict=True)).items()
    }
    for counts, settings, folder, report in zip(found, every, args.features, args.report, strict=True):
        write_json(report, describe_extraction(counts, kept[folder], manifest.classes, track, settings))


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
