"""From the scores of all runs to the tables and figures of the ablation.

    python -m pipeline.experiments.compare --folder F

reads `F/plan.json` and what it names, and writes `results.json` (everything), `table.csv` (a line a row and seed),
`table.md`, `figure.svg` and `strip.png`.
"""

import argparse
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.core.errors import ScoreError
from pipeline.core.files import read_json, write_bytes, write_json, write_text
from pipeline.core.manifest import read_manifest
from pipeline.core.tracks import get_track
from pipeline.evaluate.metrics import BASELINES, Task, columns_of, ranking
from pipeline.evaluate.run import to_csv
from pipeline.evaluate.scorer import Cell
from pipeline.experiments.ablation_rows import PARTS
from pipeline.experiments.plots import Column, bars, curves, strip
from pipeline.report.formatting import read_rows

# numbers of the diagnosis that tell why, by their place in diagnostics.json
WHY = {
    "p1.area_percentiles.10": "P1 active share of the positions, lowest tenth of the channels",
    "p1.area_percentiles.90": "P1 active share of the positions, highest tenth of the channels",
    "p1.correlation_positive": "P1 rank correlation of active share and positive weight",
    "p2.object_share": "P2 object's share of the image",
    "p2.ioa_positive": "P2 intersection over area with the object, positive weights",
    "p2.ioa_negative": "P2 intersection over area with the object, negative weights",
    "p2.density_positive": "P2 density of positive evidence on the object over beside it",
    "p2.density_negative": "P2 density of negative evidence on the object over beside it",
    "p2.negative_over_positive": "P2 negative evidence over positive evidence",
    "p2.separation_keep": "P2 chance that the object beats the background, all weights",
    "p2.separation_clamp": "P2 the same, negative weights clamped",
    "p3.top_overlap": "P3 channels whose maxima share one position",
    "p3.positions_of_half": "P3 share of the positions that holds half of the maxima",
}
TITLES = {
    "additive": "Parts added one after another",
    "without_crf": "The same without the CRF",
    "outputs": "One class or several, on the maps of the last row",
    "grid": "All combinations",
}


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation between seeds: sqrt(sum (x - mean)^2 / (n - 1)); None for a single one.

    >>> spread([1.0, 3.0, 5.0]), spread([0.5])
    (2.0, None)
    """
    return statistics.stdev(values) if len(values) > 1 else None


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and spread of one number over the seeds, and the numbers themselves."""
    return {"mean": math.fsum(values) / len(values), "spread": spread(values), "values": list(values)}


def collect(folder: Path) -> dict[str, Any]:
    """Read the scores of every row of the plan.

    Returns:
        what stands in `results.json`: the plan with `scores` (by name: mean, spread, values) and `gain` (of the ranking
        score over the row before, seed by seed) in every row, and the `baselines`

    Raises:
        ScoreError: if nothing was scored
    """
    plan = read_json(folder / "plan.json")
    task = get_track(plan["track"]).task
    groups = {name: _with_scores(folder, rows, task) for name, rows in plan["groups"].items()}
    for name, rows in groups.items():
        if name in ("additive", "without_crf"):
            _add_gains(rows, ranking(task).key)
    first = read_json(folder / groups["additive"][0]["scores_in"][0] / "metrics.json")
    return {
        **{key: plan[key] for key in ("track", "recipe", "seeds")},
        "changes": plan.get("changes", {}),  # plans of earlier versions have none
        "task": task,
        "images": first["images"],
        "groups": groups,
        "parts": part_gains(groups["grid"], ranking(task).key) if "grid" in groups else {},
        "baselines": {key: first[key] for key in BASELINES if first.get(key) is not None},
        "classification_accuracy": _accuracies(folder, groups["additive"]),
        "why": _why(folder, groups["additive"]),
    }


def _with_scores(folder: Path, rows: Iterable[Mapping[str, Any]], task: Task) -> list[dict[str, Any]]:
    done = []
    for row in rows:
        metrics = [read_json(folder / path / "metrics.json") for path in row["scores"]]
        known = [values if row["crf"] else values["before_crf"] for values in metrics]
        scores = {
            name: summary([values[name] for values in known])
            for name in columns_of(task)
            if all(values.get(name) is not None for values in known)
        }
        if ranking(task).key not in scores:
            raise ScoreError(f"{folder / row['scores'][0]}: expected scores, got none: {metrics[0].get('note')}")
        done.append({**row, "scores_in": row["scores"], "scores": scores})
    return done


def _add_gains(rows: Sequence[dict[str, Any]], score: str) -> None:
    for before, row in pairwise(rows):
        pairs = zip(row["scores"][score]["values"], before["scores"][score]["values"], strict=True)
        row["gain"] = summary([after - earlier for after, earlier in pairs])


def part_gains(rows: Sequence[Mapping[str, Any]], score: str) -> dict[str, dict[str, Any]]:
    """What each part is worth: its gain over the same combination without it, in all 8 combinations of the others.

    Returns:
        by part: mean over combinations and seeds, spread between seeds of the mean over combinations, and the smallest
            and
        largest gain over combinations (mean over seeds)
    """
    by_parts = {tuple(row["parts"]): row["scores"][score]["values"] for row in rows}
    gains: dict[str, dict[str, Any]] = {}
    for position, part in enumerate(PARTS):
        pairs = []
        for parts, values in by_parts.items():
            if parts[position]:
                without = by_parts[(*parts[:position], False, *parts[position + 1 :])]
                pairs.append([on - off for on, off in zip(values, without, strict=True)])
        means = [math.fsum(pair) / len(pair) for pair in pairs]
        seeds = summary([math.fsum(column) / len(column) for column in zip(*pairs, strict=True)])
        gains[part] = {**seeds, "smallest": min(means), "largest": max(means)}
    return gains


def _accuracies(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Classification accuracy with GAP and with TAP: of the first and the last row."""
    found = {}
    for name, row in (("GAP", rows[0]), ("TAP", rows[-1])):
        values = [read_json(folder / path / "metrics.json").get("classification_accuracy") for path in row["scores_in"]]
        if all(value is not None for value in values):
            found[name] = summary(values)
    return found


def _why(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the diagnosis says of the features learnt with GAP and with TAP, over the seeds.

    What is not defined is left out.
    """
    found: dict[str, Any] = {}
    for name, row in (("GAP", rows[0]), ("TAP", rows[-1])):
        every = [read_json(folder / path / "diagnostics.json") for path in row["scores_in"]]
        if any("note" in values for values in every):
            continue
        known = {key: [_number(values, key) for values in every] for key in WHY}
        found[name] = {key: summary(values) for key, values in known.items() if None not in values}
    return found


def _number(values: Any, key: str) -> Any:
    """A number of the diagnosis, or the mean over its images."""
    for step in key.split("."):
        values = values[step]
    return values["mean"] if isinstance(values, Mapping) else values


# --- tables ----------------------------------------------------------------------------------------------------------


def known_groups(results: Mapping[str, Any]) -> list[str]:
    """The tables that there are, in the order of the page."""
    return [name for name in TITLES if name in results["groups"]]


def csv_rows(results: Mapping[str, Any]) -> list[list[Cell]]:
    """A line for each row and seed, then one with the means and one with the spreads."""
    names = list(columns_of(results["task"]))
    table: list[list[Cell]] = [["table", "row", *PARTS, "output", "seed", *names]]
    for group in known_groups(results):
        for row in results["groups"][group]:
            about: list[Cell] = [group, row["title"], *(int(on) for on in row["parts"]), row["output"]]
            for number, seed in enumerate(results["seeds"]):
                table.append(
                    [
                        *about,
                        seed,
                        *(row["scores"][name]["values"][number] if name in row["scores"] else None for name in names),
                    ]
                )
            for kind in ("mean", "spread"):
                table.append(
                    [*about, kind, *(row["scores"][name][kind] if name in row["scores"] else None for name in names)]
                )
    return table


def markdown(results: Mapping[str, Any]) -> str:
    """The tables as people read them."""
    seeds = results["seeds"]
    about = f"{results['images']} images of split val"
    about += (
        f", mean ± standard deviation over seeds {', '.join(map(str, seeds))}"
        if len(seeds) > 1
        else f", seed {seeds[0]}"
    )
    lines = [f"# Ablation: {results['recipe']}, {results['track']}", "", f"{about}."]
    for name in known_groups(results):
        lines += ["", f"## {TITLES[name]}", "", *table_lines(results["groups"][name], results["task"])]
    if results["parts"]:
        lines += [
            "",
            "## What each part is worth, over the combinations of the others",
            "",
            *_part_lines(results["parts"]),
        ]
    lines += ["", "## Baselines", "", "| prediction | IoU |", "|---|---|"]
    lines += [f"| {BASELINES[key]} | {value:.4f} |" for key, value in results["baselines"].items()]
    for name, accuracy in results["classification_accuracy"].items():
        lines += ["", f"Classification accuracy with {name}: {show(accuracy)}."]
    if results["why"]:
        lines += ["", "## Why", "", *why_lines(results["why"])]
    return "\n".join(lines) + "\n"


def table_lines(rows: Sequence[Mapping[str, Any]], task: Task) -> list[str]:
    """One table: the switches, the ranking score, the gain over the row before, and the other scores."""
    columns = columns_of(task)
    names = [name for name in columns if all(name in row["scores"] for row in rows)]
    published = task == "localization" and any(row["published"] for row in rows)
    gains = any("gain" in row for row in rows)
    titles = ["", *PARTS, columns[names[0]].label, *["gain"] * gains, *["published"] * published]
    titles += [columns[name].label for name in names[1:]]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for row in rows:
        cells = [row["title"], *("✓" if on else "" for on in row["parts"]), show(row["scores"][names[0]])]
        cells += [show(row["gain"], signed=True) if "gain" in row else ""] * gains
        cells += [f"{row['published']:.4f}" if row["published"] else ""] * published
        cells += [show(row["scores"][name], digits=columns[name].digits) for name in names[1:]]
        lines.append(_line(cells))
    return lines


def why_lines(why: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The diagnosis as a table: a line a number, a column a pooling."""
    lines = [_line(["phenomenon", *why]), _line(["---"] * (1 + len(why)))]
    for key, title in WHY.items():
        if any(key in numbers for numbers in why.values()):
            lines.append(
                _line([title, *(show(numbers[key], digits=3) if key in numbers else "" for numbers in why.values())])
            )
    return lines


def _part_lines(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [_line(["part", "mean gain", "smallest", "largest"]), _line(["---"] * 4)]
    for part, gain in parts.items():
        lines.append(_line([part, show(gain, signed=True), f"{gain['smallest']:+.4f}", f"{gain['largest']:+.4f}"]))
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def show(value: Mapping[str, Any], digits: int = 4, signed: bool = False) -> str:
    """Mean ± spread.

    >>> show({"mean": 0.86149, "spread": 0.004}), show({"mean": 0.02, "spread": None}, signed=True)
    ('0.8615 ± 0.0040', '+0.0200')
    """
    sign = "+" if signed else ""
    text = f"{value['mean']:{sign}.{digits}f}"
    return text if value["spread"] is None else f"{text} ± {value['spread']:.{digits}f}"


# --- figures ---------------------------------------------------------------------------------------------------------


def draw_figure(folder: Path, results: Mapping[str, Any]) -> bytes:
    """Track 3: the IoU curves of the five rows in one frame.

    Track 1: the five scores, and those of the outputs, as bars.
    """
    rows = results["groups"]["additive"]
    if results["task"] == "segmentation":
        every = [*rows, *results["groups"].get("outputs", [])]
        return bars([(row["title"], row["scores"]["mean_iou"]["values"]) for row in every], "mean IoU")
    lines = []
    for row in rows:
        column = "after_crf" if row["crf"] else "before_crf"
        tables = [read_rows(folder / path / "table.csv") for path in row["scores_in"]]
        lines.append((row["title"], [[float(line[column]) for line in table] for table in tables]))
    return curves(lines)


def draw_strip(folder: Path, results: Mapping[str, Any], images: int) -> bytes:
    """Example images of the first seed, one column a row of the ladder."""
    columns = []
    for row in results["groups"]["additive"]:
        ious = {
            line["id"]: line["iou_after" if row["crf"] else "iou_before"]
            for line in read_rows(folder / row["scores_in"][0] / "per_image.csv")
        }
        threshold = row["scores"].get("peak_threshold", {"values": [0]})["values"][0]
        known = {image_id: float(iou) for image_id, iou in ious.items() if iou}
        columns.append(
            Column(row["title"], folder / row["refined"][0], "after" if row["crf"] else "before", int(threshold), known)
        )
    return strip(read_manifest(folder / "manifest"), get_track(results["track"]), columns, images)


def compare(folder: Path, images: int) -> dict[str, Any]:
    """Write all results of the ablation into its folder and return what stands in `results.json`."""
    results = collect(folder)
    write_json(folder / "results.json", results)
    write_text(folder / "table.csv", to_csv(csv_rows(results)))
    write_text(folder / "table.md", markdown(results))
    write_bytes(folder / "figure.svg", draw_figure(folder, results))
    write_bytes(folder / "strip.png", draw_strip(folder, results, images))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--images", type=int, default=8, help="rows of the strip")
    args = parser.parse_args(arguments)
    compare(args.folder, args.images)


if __name__ == "__main__":
    main()
