"""Stage `extract`: class activation maps of one track's images on a common scale, and the features of a few val images.

Settings: `tracks.<track>.extract` in params.yaml. Paths: see dvc.yaml.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.auto import data_facts, load_settled
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import PARAMS, read_params, section
from pipeline.core.tracks import TRACKS, get_track
from pipeline.extract.features import keep_features
from pipeline.extract.run import describe_extraction, extract
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import load_classifier


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--model", "--out", "--features", "--report"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    manifest, classifier = read_manifest(args.manifest, truth=False), load_classifier(args.model)
    settings = load_settled(ExtractSettings, args.track, "extract", args.params, data_facts(manifest))
    track = get_track(args.track)
    counts = extract(
        manifest,
        classifier,
        args.out,
        settings,
        with_true=track.task == "localization",
        with_targets=section(read_params(args.params), f"tracks.{args.track}.student.enabled", args.params),
    )
    kept = keep_features(manifest, classifier, args.features, settings, track)
    write_json(args.report, describe_extraction(counts, kept, manifest.classes, track, settings))


if __name__ == "__main__":
    run(main)
