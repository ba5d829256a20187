"""Stage `report`: one page for each track, with the numbers and the curves, and a gallery of the images beside it.

Settings: `tracks.<track>.report` in params.yaml. Paths: see dvc.yaml. `--preprocess` to `--package` name the counts
of these stages; each of them may be left out.
"""

if __name__ == "__main__":  # before libraries that take seconds to load
    from pipeline.core.signals import end_on_signals

    end_on_signals()

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.auto import read_settled
from pipeline.core.errors import run
from pipeline.core.files import read_json
from pipeline.core.manifest import read_manifest
from pipeline.core.provenance import provenance
from pipeline.core.settings import PARAMS, load_section, read_params
from pipeline.core.stages import begin
from pipeline.core.store import Store
from pipeline.core.tracks import TRACKS, get_track
from pipeline.evaluate.image_counts import IMAGE_COUNTS, StoredImageCounts
from pipeline.evaluate.run import CONFUSION, DIAGNOSTICS, METRICS, PER_IMAGE, TABLE
from pipeline.report.examples import EXAMPLES, write_examples
from pipeline.report.formatting import read_rows
from pipeline.report.results import Origin, Results, read_student
from pipeline.report.run import write_report
from pipeline.report.settings import ReportSettings

STAGES = ("preprocess", "train", "extract", "refine", "student", "package")  # whose counts the page can show


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--data", required=True, type=Path, help="what the stages before `evaluate` made")
    parser.add_argument("--scores", required=True, type=Path, help="what `evaluate` made")
    parser.add_argument("--out", required=True, type=Path, help="the page; `gallery` goes beside it")
    args = parser.parse_args(arguments)
    begun = begin("report", args.track)
    settings = load_section(ReportSettings, f"tracks.{args.track}.report", args.params)
    data, scores, manifest = args.data, args.scores, read_manifest(args.data / "manifest")
    counts = {stage: data / f"{stage}.json" for stage in STAGES}
    student_history = data / "student" / "history.csv"
    shown = Results(
        track=get_track(args.track),
        manifest=manifest,
        maps=Store(data / "maps"),
        refined=Store(data / "refined"),
        student=read_student(data / "student"),
        metrics=read_json(scores / METRICS),
        table=read_rows(scores / TABLE),
        per_image=read_rows(scores / PER_IMAGE),
        history=read_rows(data / "history.csv"),
        counts={stage: read_json(path) for stage, path in counts.items() if path.is_file()},
        params=read_settled(args.params, args.track, manifest)["tracks"][args.track],
        diagnosis=read_json(scores / DIAGNOSTICS),
        confusion=read_rows(scores / CONFUSION),
        image_counts=StoredImageCounts(scores / IMAGE_COUNTS),
        student_history=read_rows(student_history) if student_history.is_file() else [],
        origin=_origin(args.params, args.track),
    )
    write_report(shown, settings, args.out)
    write_examples(shown, args.out.parent / EXAMPLES)
    begun.end("the page is made", f"open {args.out}")


def _origin(params: Path, track: str) -> Origin:
    """This moment, code and machine, and the other track if the params file has one."""
    found = provenance()
    others = [name for name in read_params(params).get("tracks", {}) if name != track]
    commit = "" if found.code.commit is None else found.code.title.replace("`", "")
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Origin(made, commit, found.machine.title, found.code.packages, others[0] if others else "")


if __name__ == "__main__":
    run(main)
