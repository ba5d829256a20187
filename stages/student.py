"""Stage `student`: train a segmentation network on the refined predictions of split train, and predict with it.

Settings: `tracks.<track>.student` in params.yaml. Paths: see dvc.yaml.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.auto import data_facts, load_settled
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import PARAMS
from pipeline.core.tracks import TRACKS, get_track
from pipeline.student.run import Paths, student
from pipeline.student.settings import StudentSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--maps", "--refined", "--out", "--report"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    manifest = read_manifest(args.manifest, truth=False)
    settings = load_settled(StudentSettings, args.track, "student", args.params, data_facts(manifest))
    paths = Paths(args.maps, args.refined, args.out)
    write_json(args.report, student(manifest, paths, settings, get_track(args.track)))


if __name__ == "__main__":
    run(main)
