"""The table of the comparison of training methods: CSV, Markdown and a plot of what has been run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import write_bytes, write_text
from pipeline.core.summary import summarize
from pipeline.evaluate.run import to_csv
from pipeline.experiments.method_plan import PLAIN
from pipeline.experiments.method_runs import SCORES
from pipeline.report.figures import COLORS, new_axes, to_svg

Records = Sequence[Mapping[str, Any]]
WHEN = ("before", "after")  # the CRF
SCORE_TITLES = {"peak_iou": "peak IoU", "pxap": "PxAP", "gt_known_loc": "GT-known Loc", "max_box_acc_v2": "MaxBoxAccV2"}
TITLES = {f"{name}_{when}": f"{SCORE_TITLES[name]}, {when} CRF" for when in WHEN for name in SCORES}
TITLES |= {"accuracy": "accuracy", "cost": "training cost"}
DIGITS = {"cost": 2}
NOT_RUN, NO_VALUE = "not run", "–"
TABLE, TABLE_LINES, FIGURE = "table.md", "table.csv", "figure.svg"


def values_of(record: Mapping[str, Any], plain: float | None) -> dict[str, float | None]:
    """The numbers of one run by column.

    Args:
        plain: seconds of the plain training with the same seed, to which the cost is relative
    """
    scores = {f"{name}_{when}": record[when][name] for when in WHEN for name in SCORES}
    return {**scores, "accuracy": record["accuracy"], "cost": record["seconds"] / plain if plain else None}


def plain_seconds(records: Records) -> dict[tuple[str, int], float]:
    """How long the plain training took, by set and seed."""
    return {(record["set"], record["seed"]): record["seconds"] for record in records if record["title"] == PLAIN}


def cells(records: Records, title: str, name: str) -> list[str]:
    """The columns of a row as mean and spread over the seeds, or that it has not been run."""
    plain = plain_seconds(records)
    own = [record for record in records if (record["title"], record["set"]) == (title, name)]
    rows = [values_of(record, plain.get((name, record["seed"]))) for record in own]
    if not rows:
        return [NOT_RUN] * len(TITLES)
    return [_shown([row[column] for row in rows], DIGITS.get(column, 4)) for column in TITLES]


def _shown(values: Iterable[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return summarize(known).show(digits) if known else NO_VALUE


def csv_lines(records: Records) -> Iterator[list[Any]]:
    """A line for each run, below the names of the columns."""
    yield ["row", "set", "seed", *TITLES]
    plain = plain_seconds(records)
    for record in records:
        numbers = values_of(record, plain.get((record["set"], record["seed"])))
        yield [record["title"], record["set"], record["seed"], *numbers.values()]


def markdown(records: Records, titles: Sequence[str], sets: Iterable[str]) -> str:
    """A table for each set."""
    return "\n".join(_table(records, titles, name) for name in sets)


def _table(records: Records, titles: Sequence[str], name: str) -> str:
    seeds = sorted({record["seed"] for record in records if record["set"] == name})
    lines = [["method", *TITLES.values()], ["---"] * (len(TITLES) + 1)]
    lines += [[title, *cells(records, title, name)] for title in titles]
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {name}\n\nSeeds: {', '.join(map(str, seeds)) or NOT_RUN}.\n\n{rows}\n"


def plot(records: Records, titles: Sequence[str], sets: Sequence[str]) -> bytes:
    """Peak IoU before and after the CRF, a point for each seed, as SVG."""
    figure, every = new_axes(5 * len(sets), 0.4 * len(titles) + 1.4, len(sets))
    for axes, name in zip(every, sets, strict=True):
        own = [record for record in records if record["set"] == name and record["title"] in titles]
        places = [titles.index(record["title"]) for record in own]
        for when, marker, color in zip(WHEN, "o^", COLORS, strict=False):
            scores = [record[when]["peak_iou"] for record in own]
            axes.scatter(scores, places, marker=marker, color=color, label=f"{when} CRF")
        axes.set(title=name, xlabel="peak IoU", ylim=(len(titles) - 0.5, -0.5))
        axes.set_yticks(range(len(titles)), titles)
        axes.legend()
    return to_svg(figure)


def write_tables(records: Records, titles: Sequence[str], sets: Sequence[str], folder: Path) -> None:
    """`table.csv`, `table.md` and `figure.svg`."""
    write_text(folder / TABLE_LINES, to_csv(csv_lines(records)))
    write_text(folder / TABLE, markdown(records, titles, sets))
    write_bytes(folder / FIGURE, plot(records, titles, sets))
