"""Stage `refine`: apply a dense CRF to the class activation maps of one track, and predict every image.

Settings: `tracks.<track>.refine` in params.yaml. Paths: see dvc.yaml.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.core.auto import load_settled
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.parallel import use_workers
from pipeline.core.settings import PARAMS
from pipeline.core.stages import begin, counted, from_earlier
from pipeline.core.tracks import TRACKS, get_track
from pipeline.refine.run import check_output, refine
from pipeline.refine.settings import RefineSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--maps", "--out", "--report"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    begun = begin("refine", args.track)
    manifest = read_manifest(args.manifest, truth=False)
    settings = load_settled(RefineSettings, args.track, "refine", args.params, manifest)
    check_output(settings.output, get_track(args.track).outputs, args.track)
    with use_workers(settings.parallel, settings.jobs) as workers:
        counts = refine(manifest, args.maps, args.out, settings)
    write_json(args.report, {**asdict(counts), **workers.about(), "settings": asdict(settings)})
    crf = f"{counts.crf_iterations} iterations of the CRF" if counts.crf_iterations else "no CRF"
    begun.end(f"{counted(counts.images, 'image')}{from_earlier(counts.images_reused)}; {crf}", str(args.out))


if __name__ == "__main__":
    run(main)
