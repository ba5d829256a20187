"""Stage `preprocess`: list the images of one track, check the files, and write the table that all stages share.

Settings: `tracks.<track>.preprocess` in params.yaml. Paths: see dvc.yaml.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import write_manifest
from pipeline.core.parallel import use_workers
from pipeline.core.scratch import open_scratch
from pipeline.core.settings import PARAMS, load_section, read_params, section
from pipeline.core.stages import begin
from pipeline.core.tracks import TRACKS, get_track
from pipeline.preprocess.drawn import pack_drawn
from pipeline.preprocess.inspect import inspect
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.preprocess.sources import list_images
from pipeline.preprocess.summary import describe, summarize


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--drawn", "--report"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    begun = begin("preprocess", args.track)
    settings = load_section(PreprocessSettings, f"tracks.{args.track}.preprocess", args.params)
    track = get_track(args.track)
    packaged = section(read_params(args.params), f"tracks.{args.track}.package.split", args.params)
    with use_workers(settings.parallel, settings.jobs):
        listed = pack_drawn(list_images(settings.source, track, settings.jobs), settings.source, args.drawn)
        scratch = open_scratch(args.report, "preprocess", [asdict(settings)], [])
        inspection = inspect(listed, settings, scratch, packaged)
    track.check_class_count(len(inspection.manifest.classes))
    write_manifest(args.manifest, inspection.manifest)
    write_json(args.report, summarize(inspection))
    scratch.end()
    begun.end(*describe(inspection), str(args.report))


if __name__ == "__main__":
    run(main)
