"""Write the table of results in the README from the metrics of a finished run.

    python docs/make_results.py [--root .] [--plain metrics.json] [--spread spread] [--readme README.md]

`--plain` is the metrics.json of Track 3 from a run with `train.pooling: gap`, `extract.negative_weights: keep` and
`extract.scale: max`: it adds the line of plain CAM. `--spread` is what `python docs/measure_spread.py` left: it adds
how far each number moves.
"""

import argparse
import subprocess
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import read_json, write_text
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.metrics import Metric, find, ranking

START, END = "<!-- results: written by `python docs/make_results.py` -->", "<!-- end of results -->"
LINES = {  # the lines of the table, by track, the first one in bold
    "track3": ("peak_iou_pooled", "peak_iou_mean", "pxap", "classification_accuracy"),
    "track1": ("mean_iou_with_background", "mean_iou_foreground", "pixel_accuracy", "classification_accuracy"),
}
TITLES = {"track3": "Track 3", "track1": "Track 1"}
HEADER = ("", "metric", "full method", "without CRF", "centered disc", "everything foreground or background")


def make_block(root: Path, plain: Mapping[str, Any] | None, spread: Path | None = None) -> str:
    """The table with what it was measured on, as Markdown."""
    others = sorted(path for path in spread.iterdir() if path.is_dir()) if spread else []
    rows = [*_rows(root, plain, others)]
    metrics = {track: read_json(root / "reports" / track / "metrics.json") for track in LINES}
    table = ["| " + " | ".join(row) + " |" for row in (HEADER, ("---",) * len(HEADER), *rows)]
    counts = sorted({values["images"] for values in metrics.values()})
    images = " and ".join(f"{count:,}" for count in counts)
    about = f"The demo as it ships: `make repro`, split val, {images} images a track, one seed{_commit(root)}."
    if plain:
        about += (
            " Plain CAM is the same run with `train.pooling: gap`, `extract.negative_weights: keep` and "
            "`extract.scale: max`; t is the threshold that the peak is reached at."
        )
    if others:
        names = ", ".join(path.name for path in others)
        about += (
            f" In brackets the lowest and the highest score of this run and of {len(others)} more ({names}): the "
            "images are the same bytes on every machine, the arithmetic of a network is not, and a difference within "
            "the brackets says nothing."
        )
    return "\n".join([START, "", textwrap.fill(about, 120), "", *table, "", END])


def _rows(root: Path, plain: Mapping[str, Any] | None, others: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    for track, keys in LINES.items():
        metrics = read_json(root / "reports" / track / "metrics.json")
        runs = [metrics, *(read_json(other / "reports" / track / "metrics.json") for other in others)]
        disc, *_, everything = ranking(TRACKS[track].task).baselines
        for key in keys:
            is_first = key == keys[0]
            before = [run["before_crf"].get(key) for run in runs]
            yield (
                TITLES[track] if is_first else "",
                _name(find(key), metrics, bold=is_first),
                _score(metrics[key], _at(key, metrics) + _range([run[key] for run in runs]), bold=is_first),
                _score(before[0], _at(key, metrics["before_crf"]) + _range(before)),
                _score(metrics.get(disc)) if is_first else "",
                _score(metrics.get(everything)) if is_first else "",
            )
            if plain and track == "track3" and is_first:
                without = _score(plain["before_crf"][key], _at(key, plain["before_crf"]))
                yield "", "the same, plain CAM", _score(plain[key], _at(key, plain)), without, "", ""


def _name(metric: Metric, metrics: Mapping[str, Any], bold: bool) -> str:
    """The label, and over how many classes a mean is taken."""
    classes = {
        "with_background": metrics.get("classes_present", 0),
        "foreground": metrics.get("classes_present", 1) - 1,
    }
    label = metric.label + (f", {classes[metric.setting]} classes" if metric.setting in classes else "")
    return f"**{label}**" if bold else label


def _at(key: str, scores: Mapping[str, Any]) -> str:
    """At which threshold the pooled IoU peaks: metrics.json says so if pooled ranks."""
    is_ranked = key == "peak_iou_pooled" and scores.get("peak_iou") == scores.get("peak_iou_pooled")
    return f" at t = {scores['peak_threshold']}" if is_ranked else ""


def _range(values: Sequence[float | None]) -> str:
    """The lowest and the highest of several runs.

    >>> _range([0.5, 0.4996, 0.51]), _range([0.5])
    (' (0.500 to 0.510)', '')
    """
    known = [value for value in values if value is not None]
    return f" ({min(known):.3f} to {max(known):.3f})" if len(known) > 1 else ""


def _score(value: float | None, at: str = "", bold: bool = False) -> str:
    if value is None:
        return ""
    return (f"**{value:.3f}**" if bold else f"{value:.3f}") + at


def _commit(root: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), "log", "-1", "--format=%h"], capture_output=True, text=True, check=False
    )
    return f", commit {done.stdout.strip()}" if done.returncode == 0 else ""


def main(arguments: Sequence[str] | None = None) -> None:
    home = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=home, help="the folder of the finished run")
    parser.add_argument("--plain", type=Path, help="metrics.json of Track 3, plain CAM")
    parser.add_argument("--spread", type=Path, help="the folder that docs/measure_spread.py left")
    parser.add_argument("--readme", type=Path, default=home / "README.md")
    args = parser.parse_args(arguments)
    block = make_block(args.root, read_json(args.plain) if args.plain else None, args.spread)
    before, _, rest = args.readme.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    write_text(args.readme, before + block + after)


if __name__ == "__main__":
    main()
