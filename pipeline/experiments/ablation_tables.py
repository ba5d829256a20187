"""The results of an ablation: the rows of its tables, and the tables in CSV and Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.summary import Summary
from pipeline.core.tracks import get_track
from pipeline.evaluate.diagnostics_text import LABELS
from pipeline.evaluate.intervals import Interval, show_interval
from pipeline.evaluate.metrics import BASELINES, Task, columns_of, ranking
from pipeline.evaluate.nested import NestedChoice
from pipeline.evaluate.scorer import Cell
from pipeline.experiments.ablation_rows import PARTS
from pipeline.report.formatting import markdown_table

TITLES = {
    "additive": "Parts added one after another",
    "without_crf": "The same without the CRF",
    "outputs": "One class or several, on the maps of the last row",
    "grid": "All combinations",
}


@dataclass(frozen=True, slots=True)
class PartGain(Summary):
    """What one part adds to the ranking score, over all combinations of the other parts; the smallest and the largest
    over the combinations are means over the seeds."""

    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One row of a table."""

    title: str  # for people to read
    parts: tuple[bool, ...]  # which of `PARTS` are on; the first says whether the scores are those after the CRF
    output: str  # `refine.output`
    published: float | None  # the authors' score
    scores: dict[str, Summary]  # by key; what is not known of every seed is left out
    gain: Summary | None = None  # of the ranking score over the row before, seed by seed
    interval: Interval | None = None  # of the mean ranking score, over images
    gain_interval: Interval | None = None  # of the mean gain, over images


@dataclass(frozen=True, slots=True)
class Choice:
    """The best of all rows."""

    title: str  # of the row
    rows: int  # how many there are
    nested: NestedChoice  # what the choice is worth; its first candidate is the row with all parts


@dataclass(frozen=True, slots=True)
class Tables:
    """The numbers of an ablation."""

    images: int  # scored, of split val
    groups: dict[str, tuple[ScoredRow, ...]]  # rows by table
    parts: dict[str, PartGain]  # by part, if all combinations were run
    baselines: dict[str, float]  # scores of predictions that use no map, by key
    classification_accuracy: dict[str, Summary]  # by pooling, `GAP` and `TAP`
    why: dict[str, dict[str, Summary]]  # numbers of the diagnosis, by pooling and by their place in diagnostics.json
    choice: Choice | None = None  # None for fewer than four images

    def titled(self) -> Iterator[tuple[str, Sequence[ScoredRow]]]:
        """The title and the rows of every table that there is, in the order of the page."""
        return ((title, self.groups[name]) for name, title in TITLES.items() if name in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Tables):
    """The numbers of an ablation, and what it was run on: the contents of `results.json`."""

    track: str
    recipe: str
    seeds: tuple[int, ...]
    changes: dict[str, Any] = field(default_factory=dict)  # of keys of the recipe

    @property
    def task(self) -> Task:
        """What the track asks for."""
        return get_track(self.track).task


def csv_rows(results: Results) -> Iterator[list[Cell]]:
    """A line for each row and seed, then one with the means and one with the spreads."""
    names = list(columns_of(results.task))
    yield ["table", "row", *PARTS, "output", "seed", *names]
    for group in TITLES:
        for row in results.groups.get(group, ()):
            about: list[Cell] = [group, row.title, *(int(on) for on in row.parts), row.output]
            scores = [row.scores.get(name) for name in names]
            for position, seed in enumerate(results.seeds):
                yield [*about, seed, *(score.values[position] if score else None for score in scores)]
            yield [*about, "mean", *(score.mean if score else None for score in scores)]
            yield [*about, "spread", *(score.spread if score else None for score in scores)]


def markdown(results: Results) -> str:
    """The page of an ablation."""
    seeds = ", ".join(map(str, results.seeds))
    over = f"mean ± standard deviation over seeds {seeds}" if len(results.seeds) > 1 else f"seed {seeds}"
    lines = [f"# Ablation: {results.recipe}, {results.track}", "", f"{results.images} images of split val, {over}."]
    for title, rows in results.titled():
        lines += ["", f"## {title}", "", *table_lines(rows, results.task)]
    if results.parts:
        lines += ["", "## What each part is worth, over the combinations of the others", ""]
        gains = [
            (part, gain.show(signed=True), f"{gain.smallest:+.4f}", f"{gain.largest:+.4f}")
            for part, gain in results.parts.items()
        ]
        lines += markdown_table(["part", "mean gain", "smallest", "largest"], gains)
    if results.choice:
        lines += ["", "## Choosing among the rows", "", choice_sentence(results.choice, results.task)]
    baselines = [(BASELINES[key], f"{value:.4f}") for key, value in results.baselines.items()]
    lines += ["", "## Baselines", "", *markdown_table(["prediction", "IoU"], baselines)]
    for name, accuracy in results.classification_accuracy.items():
        lines += ["", f"Classification accuracy with {name}: {accuracy.show()}."]
    if results.why:
        lines += ["", "## Diagnostics", "", *why_lines(results.why)]
    return "\n".join(lines) + "\n"


def table_lines(rows: Sequence[ScoredRow], task: Task) -> list[str]:
    """One table: the switches, the ranking score, the gain over the row before, both with their 95 % intervals over
    images, and the other scores.

    Columns that no row needs are left out: gains, published scores, scores that some row lacks.
    """
    first, *others = [metric for key, metric in columns_of(task).items() if all(key in row.scores for row in rows)]
    columns = {part: ["✓" if row.parts[number] else "" for row in rows] for number, part in enumerate(PARTS)}
    columns[first.label] = [row.scores[first.key].show(first.digits) for row in rows]
    if any(row.interval for row in rows):
        columns["interval"] = [show_interval(row.interval) for row in rows]
    if any(row.gain for row in rows):
        columns["gain"] = [row.gain.show(signed=True) if row.gain else "" for row in rows]
    if any(row.gain_interval for row in rows):
        columns["its interval"] = [show_interval(row.gain_interval, signed=True) for row in rows]
    if task == "localization" and any(row.published for row in rows):
        columns["published"] = [f"{row.published:.4f}" if row.published else "" for row in rows]
    for metric in others:
        columns[metric.label] = [row.scores[metric.key].show(metric.digits) for row in rows]
    titles = [row.title for row in rows]
    return markdown_table(["", *columns], list(zip(titles, *columns.values(), strict=True)))


def choice_sentence(choice: Choice, task: Task) -> str:
    """Which row is best, and what it is worth on images that did not choose it."""
    told = choice.nested.show(ranking(task).label, "the row with all parts")
    return f"Best of {choice.rows} rows: {choice.title}. {told}"


def why_lines(why: Mapping[str, Mapping[str, Summary]]) -> list[str]:
    """The diagnosis as a table: a line a number, a column a pooling."""
    known = {key: [numbers.get(key) for numbers in why.values()] for key in LABELS}
    rows = [(LABELS[key], *(one.show(3) if one else "" for one in found)) for key, found in known.items() if any(found)]
    return markdown_table(["phenomenon", *why], rows)
