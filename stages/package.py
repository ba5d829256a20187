"""Stage `package`: the predictions of one track as a zip that the evaluation server accepts, and what made it.

Settings: `tracks.<track>.package` in params.yaml. Paths: see dvc.yaml.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import run
from pipeline.core.files import read_json, write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.provenance import code
from pipeline.core.settings import PARAMS, load_section, read_params, section
from pipeline.core.stages import begin, counted
from pipeline.core.store import Store, submitted
from pipeline.core.tracks import TRACKS, get_track
from pipeline.package.record import make_record, write_record
from pipeline.package.run import package
from pipeline.package.settings import PackageSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--refined", "--student", "--metrics", "--out", "--record", "--report"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    begun = begin("package", args.track)
    settings = load_section(PackageSettings, f"tracks.{args.track}.package", args.params)
    manifest = read_manifest(args.manifest, (settings.split,), truth=False)
    predictions = Store(submitted(args.refined / settings.split, args.student / settings.split))
    track = get_track(args.track)
    counts, warnings = package(manifest, predictions, args.out, track, settings.split)
    for warning in warnings:
        print(f"warning: {args.out}: {warning}", file=sys.stderr)
    sections, metrics = section(read_params(args.params), f"tracks.{track.name}", args.params), read_json(args.metrics)
    write_record(args.record, make_record(args.out, track, counts, sections, metrics, code(), warnings))
    write_json(args.report, counts)
    begun.end(f"checked: {counted(counts['images'], 'prediction')} of split {settings.split}", str(args.out))


if __name__ == "__main__":
    run(main)
