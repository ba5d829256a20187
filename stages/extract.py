"""Stage `extract`: class activation maps of one track's images on a common scale, and the features of a few val images.

Settings: `tracks.<track>.extract` in params.yaml. Paths: see dvc.yaml. Several params files with as many models of one
backbone make as many sets of maps in one pass over the images: then each option has one path for each.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()
    from pipeline.core.launch import launch

    launch("extract")

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.auto import load_settled, settled_value
from pipeline.core.device import choose_hardware
from pipeline.core.distributed import process_group
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.rank import this_rank
from pipeline.core.settings import PARAMS
from pipeline.core.stages import begin, counted, from_earlier
from pipeline.core.tracks import TRACKS, get_track
from pipeline.extract.features import keep_features
from pipeline.extract.run import Extraction, describe_extraction, extract_together
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.thresholds import thresholds_of
from pipeline.models.classifier import load_classifier


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, nargs="+", default=[PARAMS])
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--manifest", required=True, type=Path)
    for name in ("--model", "--out", "--features", "--report"):
        parser.add_argument(name, required=True, type=Path, nargs="+")
    args = parser.parse_args(arguments)
    begun = begin("extract", args.track)
    track, manifest = get_track(args.track), read_manifest(args.manifest, truth=False)
    every = [load_settled(ExtractSettings, args.track, "extract", params, manifest) for params in args.params]
    models = {path: load_classifier(path) for path in dict.fromkeys(args.model)}
    each = zip(args.model, every, args.out, strict=True)
    enabled = settled_value(args.track, "student.enabled", args.params[0], manifest)
    hardware = choose_hardware(every[0].device, every[0].precision, learning=False)
    with process_group(hardware.device):
        extractions = [
            Extraction(models[path], settings, out, thresholds_of(manifest, models[path], path, settings))
            for path, settings, out in each
        ]
        found = extract_together(manifest, extractions, with_true=track.task == "localization", with_targets=enabled)
    if this_rank().number:
        return
    kept = {  # of one classifier once
        folder: keep_features(manifest, one.classifier, folder, one.settings, track)
        for folder, one in dict(zip(args.features, extractions, strict=True)).items()
    }
    for counts, one, folder, report in zip(found, extractions, args.features, args.report, strict=True):
        about = describe_extraction(counts, kept[folder], manifest.classes, track, one.settings, one.thresholds)
        write_json(report, about)
    first = found[0]
    made = f"{counted(first.maps, 'map')} of {counted(first.images, 'image')}{from_earlier(first.images_reused)}"
    begun.end(f"{made}, on {first.device} in {first.precision}", *map(str, args.out))


if __name__ == "__main__":
    run(main)
