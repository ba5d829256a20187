"""Stage `student`: train a segmentation network on the refined predictions of split train, and predict with it.

Settings: `tracks.<track>.student`; for both networks together `train.parameter_limit`; for the random walk of maps also
what makes probabilities of maps in `refine`. Paths: see dvc.yaml.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()
    from pipeline.core.launch import launch

    launch("student", switch="enabled")

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.auto import load_settled
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import SPLITS, Manifest, read_manifest
from pipeline.core.parallel import use_workers
from pipeline.core.rank import this_rank
from pipeline.core.scratch import open_scratch, rows_and_images
from pipeline.core.settings import PARAMS, read_params, section
from pipeline.core.stages import begin, counted
from pipeline.core.tracks import TRACKS, Track, get_track
from pipeline.refine.settings import RefineSettings
from pipeline.student.outs import Paths, leave_empty
from pipeline.student.settings import StudentSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--maps", "--refined", "--out", "--report"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--model", type=Path, help="the classifier, whose parameters count beside the student's")
    args = parser.parse_args(arguments)
    begun = begin("student", args.track)
    manifest, paths = read_manifest(args.manifest, truth=False), Paths(args.maps, args.refined, args.out)
    settings = load_settled(StudentSettings, args.track, "student", args.params, manifest)
    track = get_track(args.track)
    if not settings.enabled:
        if this_rank().number:
            return
        write_json(args.report, leave_empty(manifest, paths, settings, track))
        begun.end("switched off: student.enabled is false")
        return
    found = _train(args, manifest, paths, settings, track)
    if this_rank().number:
        return
    write_json(args.report, found)
    told = f"learned from {counted(found['train_images'], 'image')}, loss {found['train_loss']:.3f}"
    begun.end(f"{told}; predicted {counted(found['images'], 'image')}", str(args.out))


def _train(
    args: argparse.Namespace, manifest: Manifest, paths: Paths, settings: StudentSettings, track: Track
) -> dict[str, Any]:
    """What the report says of the student.

    Imported here: PyTorch and timm take seconds to load, which a run without a student need not pay.
    """
    from pipeline.core.device import choose_hardware
    from pipeline.core.distributed import is_first, process_group
    from pipeline.core.processes import jobs_of_rank
    from pipeline.models.classifier import load_classifier
    from pipeline.student.run import student
    from pipeline.student.walked_targets import ScoreRule

    limit = section(read_params(args.params), f"tracks.{args.track}.train.parameter_limit", args.params)
    classifier = load_classifier(args.model).parameter_count() if args.model else 0
    rule = None
    if settings.random_walk.enabled:
        rule = ScoreRule.of(load_settled(RefineSettings, args.track, "refine", args.params, manifest))
    inputs = [*rows_and_images(args.manifest, SPLITS), args.maps, args.refined, *settings.backbone.weight_files]
    hardware = choose_hardware(settings.device, settings.precision, learning=settings.backbone.trained)
    where = {"hardware": [hardware.device.type, hardware.precision]}
    sections = [asdict(settings), asdict(rule) if rule else {}, where]
    scratch = open_scratch(args.out, "student", sections, inputs, settings.save_interval)
    with process_group(hardware.device), use_workers(settings.parallel, jobs_of_rank(settings.jobs)):
        found = student(manifest, paths, settings, track, hardware, scratch, classifier, limit, rule)
        if is_first():
            scratch.end()
    return found


if __name__ == "__main__":
    run(main)
