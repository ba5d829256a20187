"""The maps of one trained classifier side by side: score before and after the CRF, gain with its interval, and cost.

    python -m pipeline.experiments.maps --track track3 --out reports/track3/maps [--images 1000]
        [--variant 'fine={extract.map_levels: [blocks.2]}'] ...

Needs a finished run (`dvc repro refine@track3`); nothing is trained. Each variant changes keys of `extract` or
`refine`: maps of split val are made with the run's classifier, refined, and scored. Without `--variant` the rules of
`extract.map` are compared, alone and fused with the last level but one. The first row is the run as it is; gains are
those over it, on the same resamples of the same images. The last line is what choosing the best row is worth on images
that did not choose it. Cost is the time that the network takes for an image, over that of the first row: of the
processor, or the clock on a GPU.

Writes `table.md` and `table.csv`. A command that was stopped goes on after the rows that it finished. Split test is
never opened.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arguments import whole
from pipeline.core.errors import SettingsError, command
from pipeline.core.tracks import TRACKS, get_track

if TYPE_CHECKING:
    from pipeline.evaluate.intervals import Score
    from pipeline.experiments.search_trials import Scoring
    from pipeline.extract.settings import ExtractSettings

Variants = Mapping[str, Mapping[str, Any]]  # keys below the track and their values, by title
OWN = "as it is"
NWC, LEVELS = {"extract.map": "cam", "extract.negative_weights": "clamp"}, {"extract.map_levels": ["auto"]}
VARIANTS: Variants = {
    "CAM with all weights": {"extract.map": "cam", "extract.negative_weights": "keep"},
    "CAM with NWC": NWC,
    "Grad-CAM++": {"extract.map": "gradcam++"},
    "LayerCAM": {"extract.map": "layercam"},
    "BagCAMs": {"extract.map": "bagcams"},
    "CAM with NWC, last level but one": {**NWC, **LEVELS},
    "LayerCAM, last level but one": {"extract.map": "layercam", **LEVELS},
    "BagCAMs, last level but one": {"extract.map": "bagcams", **LEVELS},
}
TIMED_IMAGES, ROUNDS = 4, 3  # the fastest of the rounds counts


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    from pipeline.core.files import write_text  # help needs none of these libraries
    from pipeline.evaluate.run import to_csv
    from pipeline.experiments.search_space import make_space
    from pipeline.experiments.search_trials import prepare

    track, data = get_track(args.track), args.data or Path("data") / args.track
    variants = {OWN: {}, **(parse_variants(args.variant) or VARIANTS)}
    scoring = prepare(args.params, track, data, args.images, args.seed)
    start = make_space(scoring.values["tracks"][args.track], track, {}).start
    points = {title: {**start, **changes} for title, changes in variants.items()}
    for title, point in points.items():
        if not scoring.counts(point).is_file():
            print(f"{title}: {scoring.score(point)[0]:.4f}", flush=True)
    costs = relative_costs(scoring, list(variants.values()))
    rows = table(scoring, points, costs)
    text = page(rows, worth_of_choice(scoring, list(points.values())), f"{args.track}, {scoring.images} images of val")
    write_text(args.out / "table.csv", to_csv([HEADER, *rows]))
    write_text(args.out / "table.md", text)
    print(text)
    return 0


def parse_variants(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`fine={extract.map_levels: [auto]}` to a title and the keys it changes.

    Raises:
        SettingsError: if a variant is no such mapping

    >>> parse_variants(["fine={extract.map_levels: [auto]}"])
    {'fine': {'extract.map_levels': ['auto']}}
    """
    from pipeline.params.changes import parse_changes

    found = parse_changes(given, "--variant")
    for title, changes in found.items():
        if not isinstance(changes, dict) or not all(str(key).startswith(("extract.", "refine.")) for key in changes):
            raise SettingsError(
                f"--variant: expected NAME={{KEY: VALUE}} with keys of extract or refine, got {title}={changes!r}"
            )
    return found


def relative_costs(scoring: "Scoring", variants: Sequence[Mapping[str, Any]]) -> list[float]:
    """Seconds of the network for an image with each variant, over those with the first one.

    All variants take turns on the same images, so that what else the machine does meets all of them.
    """
    from pipeline.core.device import choose_hardware
    from pipeline.core.images import read_rgb
    from pipeline.core.manifest import read_manifest
    from pipeline.extract.load import resize_to_views, stack_views
    from pipeline.extract.network import predict
    from pipeline.extract.plan import plan_shards
    from pipeline.models.classifier import load_classifier
    from pipeline.models.fused import fuse_backbone

    manifest = read_manifest(scoring.manifest, ("val",))
    manifest = manifest.with_ids([record.id for record in manifest][:TIMED_IMAGES])
    classifier = load_classifier(scoring.data / "model")
    every: list[ExtractSettings] = [scoring.settings(changes)["extract"] for changes in variants]
    hardware = choose_hardware(every[0].device, every[0].precision, learning=False)
    classifier.to(hardware.device)
    classifier.backbone = fuse_backbone(classifier)
    clock = time.process_time if hardware.device.type == "cpu" else time.perf_counter  # other programs do not count
    seconds = [[float("inf")] * TIMED_IMAGES for _ in every]
    for _ in range(ROUNDS):
        for found, settings in zip(seconds, every, strict=True):
            shards = plan_shards(manifest, settings, classifier.design.output_stride, False, False, False)["val"]
            for n, job in enumerate(job for jobs in shards for job in jobs):
                scales = stack_views([resize_to_views(read_rgb(job.file), job)])
                begin = clock()
                predict(classifier, scales, [job.labels], settings, hardware)
                found[n] = min(found[n], clock() - begin)
    totals = [sum(each) for each in seconds]
    return [total / totals[0] for total in totals]


HEADER = ("maps", "before CRF", "after CRF", "gain", "gain_low", "gain_high", "cost")


def table(scoring: "Scoring", points: Variants, costs: Sequence[float]) -> list[tuple[Any, ...]]:
    """A row for each variant, in the columns of `HEADER`; the interval of the gain is of 95 % over images."""
    from pipeline.evaluate.intervals import paired_interval, score_of_all

    rows, images, own = [], scoring.images, scoring.resampled(points[OWN])
    for (title, point), cost in zip(points.items(), costs, strict=True):
        refined = scoring.resampled(point)
        before, after = (score_of_all(score, images) for score in (_before(scoring, point), refined))
        gain = after - score_of_all(own, images)
        low, high = paired_interval(own, refined, images).difference or (None, None)
        rows.append((title, before, after, gain, low, high, cost))
    return rows


def _before(scoring: "Scoring", point: Mapping[str, Any]) -> "Score":
    """The ranking score before the CRF."""
    from pipeline.evaluate.image_counts import read_image_counts, score_of_counts

    counts = read_image_counts(scoring.counts(point)).before
    return score_of_counts(counts, scoring.track.task, scoring.settings({})["evaluate"])


def worth_of_choice(scoring: "Scoring", points: Sequence[Mapping[str, Any]]) -> str:
    """What the best row is worth on images that did not choose it, in words; empty for too few images."""
    from pipeline.evaluate.metrics import ranking
    from pipeline.evaluate.nested import nested_choice

    found = nested_choice([partial(scoring.resampled, point) for point in points], scoring.images)
    return found.show(ranking(scoring.track.task).title, f"the run {OWN}") if found else ""


def page(rows: Sequence[Sequence[Any]], choice: str, title: str) -> str:
    """The table in Markdown, and what choosing from it is worth."""
    from pipeline.evaluate.intervals import show_interval
    from pipeline.report.formatting import format_signed, markdown_table

    cells = [
        (
            name, f"{before:.4f}", f"{after:.4f}", format_signed(gain),
            show_interval(None if low is None else (low, high), signed=True), f"{cost:.2f}",
        )
        for name, before, after, gain, low, high, cost in rows
    ]  # fmt: skip
    head = ["maps", "before CRF", "after CRF", "gain", "95 % interval", "cost"]
    return "\n".join([f"# Maps: {title}", "", *markdown_table(head, cells), "", choice]).rstrip("\n") + "\n"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the finished run")
    parser.add_argument("--data", type=Path, help="its folder; data/<track> if not given")
    parser.add_argument(
        "--images", type=whole(), default=0, help="val images that are scored, drawn by the seed; 0: all"
    )
    parser.add_argument("--seed", type=whole(), default=0, help="of these images")
    variants = "a name and the keys that it changes; the first row is the run as it is"
    parser.add_argument("--variant", action="append", default=[], metavar="NAME={KEY: VALUE}", help=variants)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
