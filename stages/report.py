"""Stage `report`: one page for each track, with the numbers, the curves and the images.

Settings: `tracks.<track>.report` in params.yaml. Paths: see dvc.yaml. `--preprocess` to `--package` name the counts
of these stages; each of them may be left out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.auto import read_settled
from pipeline.core.errors import run
from pipeline.core.files import read_json
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import PARAMS, load_section
from pipeline.core.store import Store
from pipeline.core.tracks import TRACKS, get_track
from pipeline.report.formatting import read_rows
from pipeline.report.results import Results
from pipeline.report.run import write_report
from pipeline.report.settings import ReportSettings

STAGES = ("preprocess", "train", "extract", "refine", "student", "package")  # whose counts the page can show


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    results = ("--metrics", "--table", "--per-image", "--diagnostics")
    for name in ("--manifest", "--maps", "--refined", "--predicted", *results, "--history", "--out"):
        parser.add_argument(name, required=True, type=Path)
    for stage in STAGES:
        parser.add_argument(f"--{stage}", type=Path)
    args = parser.parse_args(arguments)
    settings = load_section(ReportSettings, f"tracks.{args.track}.report", args.params)
    manifest = read_manifest(args.manifest)
    shown = Results(
        track=get_track(args.track),
        manifest=manifest,
        maps=Store(args.maps),
        refined=Store(args.refined),
        student=Store(args.predicted),
        metrics=read_json(args.metrics),
        table=read_rows(args.table),
        per_image=read_rows(args.per_image),
        history=read_rows(args.history),
        counts={stage: read_json(path) for stage in STAGES if (path := getattr(args, stage))},
        params=read_settled(args.params, args.track, manifest)["tracks"][args.track],
        diagnosis=read_json(args.diagnostics),
    )
    write_report(shown, settings, args.out)


if __name__ == "__main__":
    run(main)
