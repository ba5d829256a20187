"""Stage `student`: train a segmentation network on the refined predictions of split train, and predict with it.

Settings: `tracks.<track>.student`; for both networks together `train.parameter_limit`; for the random walk of maps also
what makes probabilities of maps in `refine`. Paths: see dvc.yaml.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.core.auto import load_settled
from pipeline.core.device import choose_hardware
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import SPLITS, read_manifest
from pipeline.core.scratch import open_scratch, rows_and_images
from pipeline.core.settings import PARAMS, read_params, section
from pipeline.core.tracks import TRACKS, get_track
from pipeline.models.classifier import load_classifier
from pipeline.refine.settings import RefineSettings
from pipeline.student.run import Paths, student
from pipeline.student.settings import StudentSettings
from pipeline.student.walked_targets import ScoreRule


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--maps", "--refined", "--out", "--report"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--model", type=Path, help="the classifier, whose parameters count beside the student's")
    args = parser.parse_args(arguments)
    manifest, paths = read_manifest(args.manifest, truth=False), Paths(args.maps, args.refined, args.out)
    settings = load_settled(StudentSettings, args.track, "student", args.params, manifest)
    limit = section(read_params(args.params), f"tracks.{args.track}.train.parameter_limit", args.params)
    classifier = load_classifier(args.model).parameter_count() if settings.enabled and args.model else 0
    rule = None
    if settings.enabled and settings.random_walk.enabled:
        rule = ScoreRule.of(load_settled(RefineSettings, args.track, "refine", args.params, manifest))
    inputs = [*rows_and_images(args.manifest, SPLITS), args.maps, args.refined] if settings.enabled else []
    hardware = choose_hardware(settings.device, settings.precision, learning=settings.backbone.trained)
    sections = [asdict(settings), asdict(rule) if rule else {}, {"precision": hardware.precision}]
    scratch = open_scratch(args.out, "student", sections, inputs, settings.save_interval)
    write_json(args.report, student(manifest, paths, settings, get_track(args.track), scratch, classifier, limit, rule))
    scratch.end()


if __name__ == "__main__":
    run(main)
