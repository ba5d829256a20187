"""Stage `evaluate`: score the predictions of one track for split val, before and after the CRF, and compute the
diagnostics.

Settings: `tracks.<track>.evaluate` and, for the quality of pseudo labels, `student.enabled` and `student.targets` in
params.yaml. Paths: see dvc.yaml.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.auto import settled_value
from pipeline.core.errors import run
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest
from pipeline.core.parallel import use_workers
from pipeline.core.settings import PARAMS, load_section
from pipeline.core.stages import begin
from pipeline.core.tracks import TRACKS, Track, get_track
from pipeline.evaluate.diagnostics import write_diagnostics
from pipeline.evaluate.headline import told
from pipeline.evaluate.pseudo_labels import score_pseudo_labels
from pipeline.evaluate.run import DIAGNOSTICS, METRICS, describe_scores, evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.student.target_settings import TargetSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--manifest", "--maps", "--features", "--refined", "--out"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--student", type=Path, help="its predictions; an ablation has none")
    parser.add_argument("--pseudo-labels", type=Path, help="refined predictions of split train; an ablation has none")
    parser.add_argument("--walked", type=Path, help="what a random walk made of them; an ablation has none")
    parser.add_argument("--report", type=Path, help="what a prediction with this run needs; none if not given")
    args = parser.parse_args(arguments)
    begun = begin("evaluate", args.track)
    track = get_track(args.track)
    settings = load_section(EvaluateSettings, f"tracks.{args.track}.evaluate", args.params)
    with use_workers(settings.parallel, settings.jobs):
        pseudo_labels = _pseudo_labels(args, settings, track) if args.pseudo_labels else None
        metrics = evaluate(
            args.manifest, args.maps, args.refined, args.out, settings, track, args.student, pseudo_labels
        )
    write_diagnostics(args.manifest, args.features, args.maps, args.out / DIAGNOSTICS, track)
    if args.report:
        write_json(args.report, describe_scores(metrics, track))
    begun.end(*told(track, metrics), str(args.out / METRICS))


def _pseudo_labels(args: argparse.Namespace, settings: EvaluateSettings, track: Track) -> dict[str, Any] | None:
    """Their quality, where a student learns from them."""
    seen = read_manifest(args.manifest, ("train", "val"), truth=False)
    if not settled_value(args.track, "student.enabled", args.params, seen):
        return None
    targets = load_section(TargetSettings, f"tracks.{args.track}.student.targets", args.params)
    return score_pseudo_labels(args.manifest, args.pseudo_labels, targets, track, settings.jobs, args.walked)


if __name__ == "__main__":
    run(main)
