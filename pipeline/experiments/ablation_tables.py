"""The results of an ablation as tables in CSV and Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.evaluate.metrics import BASELINES, Metric, Task, columns_of
from pipeline.evaluate.scorer import Cell
from pipeline.experiments.ablation_results import PartGain, Results, ScoredRow, Summary, Tables
from pipeline.experiments.ablation_rows import PARTS

TITLES = {
    "additive": "Parts added one after another",
    "without_crf": "The same without the CRF",
    "outputs": "One class or several, on the maps of the last row",
    "grid": "All combinations",
}
# numbers of the diagnosis that explain the gains, by their place in diagnostics.json
WHY = {
    "p1.area_percentiles.10": "P1 active share of the cells, 10th percentile over the channels",
    "p1.area_percentiles.90": "P1 active share of the cells, 90th percentile over the channels",
    "p1.correlation_positive": "P1 rank correlation of active share and positive weight",
    "p2.object_share": "P2 object's share of the image",
    "p2.ioa_positive": "P2 intersection over area with the object, positive weights",
    "p2.ioa_negative": "P2 intersection over area with the object, negative weights",
    "p2.density_positive": "P2 density of positive evidence on the object over beside it",
    "p2.density_negative": "P2 density of negative evidence on the object over beside it",
    "p2.negative_over_positive": "P2 negative evidence over positive evidence",
    "p2.separation_keep": "P2 pixel-level ROC AUC, object against background, on feature cells, all weights",
    "p2.separation_clamp": "P2 the same, negative weights clamped",
    "p3.top_overlap": "P3 channels whose maxima share one cell",
    "p3.positions_of_half": "P3 share of the cells that holds half of the maxima",
}


def known_groups(tables: Tables) -> list[str]:
    """The tables that there are, in the order of the page."""
    return [name for name in TITLES if name in tables.groups]


# --- CSV -------------------------------------------------------------------------------------------------------------


def csv_rows(results: Results) -> list[list[Cell]]:
    """A line for each row and seed, then one with the means and one with the spreads."""
    names = list(columns_of(results.task))
    header: list[Cell] = ["table", "row", *PARTS, "output", "seed", *names]
    rows = [(group, row) for group in known_groups(results) for row in results.groups[group]]
    return [header, *(line for group, row in rows for line in _csv_lines(group, row, results.seeds, names))]


def _csv_lines(group: str, row: ScoredRow, seeds: Sequence[int], names: Sequence[str]) -> Iterator[list[Cell]]:
    about: list[Cell] = [group, row.title, *(int(on) for on in row.parts), row.output]
    scores = [row.scores.get(name) for name in names]
    for position, seed in enumerate(seeds):
        yield [*about, seed, *(score.values[position] if score else None for score in scores)]
    yield [*about, "mean", *(score.mean if score else None for score in scores)]
    yield [*about, "spread", *(score.spread if score else None for score in scores)]


# --- Markdown --------------------------------------------------------------------------------------------------------


def markdown(results: Results) -> str:
    """The page of an ablation."""
    lines = [f"# Ablation: {results.recipe}, {results.track}", "", f"{_about(results)}."]
    for name in known_groups(results):
        lines += ["", f"## {TITLES[name]}", "", *table_lines(results.groups[name], results.task)]
    if results.parts:
        lines += ["", "## What each part is worth, over the combinations of the others", ""]
        lines += _part_lines(results.parts)
    lines += ["", "## Baselines", "", "| prediction | IoU |", "|---|---|"]
    lines += [f"| {BASELINES[key]} | {value:.4f} |" for key, value in results.baselines.items()]
    for name, accuracy in results.classification_accuracy.items():
        lines += ["", f"Classification accuracy with {name}: {accuracy.show()}."]
    if results.why:
        lines += ["", "## Diagnostics", "", *why_lines(results.why)]
    return "\n".join(lines) + "\n"


def _about(results: Results) -> str:
    seeds = ", ".join(map(str, results.seeds))
    over = f"mean ± standard deviation over seeds {seeds}" if len(results.seeds) > 1 else f"seed {seeds}"
    return f"{results.images} images of split val, {over}"


def table_lines(rows: Sequence[ScoredRow], task: Task) -> list[str]:
    """One table: the switches, the ranking score, the gain over the row before, and the other scores.

    Columns that no row needs are left out: gains, published scores, scores that some row lacks.
    """
    first, *others = [metric for key, metric in columns_of(task).items() if all(key in row.scores for row in rows)]
    gains = any(row.gain for row in rows)
    published = task == "localization" and any(row.published for row in rows)
    titles = ["", *PARTS, first.label, *["gain"] * gains, *["published"] * published]
    lines = [_line([*titles, *(metric.label for metric in others)]), _line(["---"] * (len(titles) + len(others)))]
    for row in rows:
        cells = [row.title, *("✓" if on else "" for on in row.parts), _score(row, first)]
        cells += [row.gain.show(signed=True) if row.gain else ""] * gains
        cells += [f"{row.published:.4f}" if row.published else ""] * published
        lines.append(_line([*cells, *(_score(row, metric) for metric in others)]))
    return lines


def _score(row: ScoredRow, metric: Metric) -> str:
    return row.scores[metric.key].show(metric.digits)


def why_lines(why: Mapping[str, Mapping[str, Summary]]) -> list[str]:
    """The diagnosis as a table: a line a number, a column a pooling."""
    lines = [_line(["phenomenon", *why]), _line(["---"] * (1 + len(why)))]
    for key, title in WHY.items():
        if any(key in numbers for numbers in why.values()):
            lines.append(_line([title, *(numbers[key].show(3) if key in numbers else "" for numbers in why.values())]))
    return lines


def _part_lines(parts: Mapping[str, PartGain]) -> Iterator[str]:
    yield _line(["part", "mean gain", "smallest", "largest"])
    yield _line(["---"] * 4)
    for part, gain in parts.items():
        yield _line([part, gain.show(signed=True), f"{gain.smallest:+.4f}", f"{gain.largest:+.4f}"])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
