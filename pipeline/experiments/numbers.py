"""The page of numbers, made from the records of finished runs only.

    python -m pipeline.experiments.numbers ablation ablation/butterflies-track3 --name "Butterflies, frozen backbone"
    python -m pipeline.experiments.numbers chain --track track3 --name "Demo" --command "make repro" [--minutes 5]
    python -m pipeline.experiments.numbers render

The first two add a record to `docs/numbers/`, each writes the page, `docs/numbers.md`.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import command
from pipeline.core.files import write_text
from pipeline.core.provenance import Code, Machine
from pipeline.core.settings import PARAMS, to_yaml
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.metrics import BASELINES, Task, ranking
from pipeline.experiments.ablation_results import Tables
from pipeline.experiments.ablation_tables import TITLES, known_groups, table_lines, why_lines
from pipeline.experiments.records import (
    RECORDS,
    AblationRecord,
    AnyRecord,
    ablation_record,
    add,
    chain_record,
    read_records,
)
from pipeline.report.formatting import format_count, number_table

PAGE = Path("docs/numbers.md")
WIDTH = 120  # columns of a line
ABOUT = (
    "Written by `python -m pipeline.experiments.numbers` from the records in `docs/numbers/`. Every number is of split "
    "val, by which some settings were chosen: the scores are optimistically biased. ± is the standard deviation "
    "between seeds. The column `published` is the paper's ablation on the images of LID 2020: compare the gain of each "
    "part, not the absolute scores (different data). A cell is a position of the feature map. The scores are "
    "defined in the [README](../README.md#how-to-read-the-numbers)."
)


def render(records: Sequence[AnyRecord]) -> str:
    """The page, in Markdown: a table of all runs, then each run with its numbers and everything that repeats it."""
    lines = ["# Numbers", "", *textwrap.wrap(ABOUT, WIDTH), ""]
    lines += ["| run | track | score | seeds | commit |", "|---|---|---|---|---|"]
    lines += [_table_line(record) for record in records]
    for record in records:
        lines += ["", f"## {_title(record)}", "", *_section(record)]
    return "\n".join(lines) + "\n"


def _table_line(record: AnyRecord) -> str:
    anchor = f"[{record.name}](#{_anchor(_title(record))})"
    cells = (f"{anchor}, {record.kind}", record.track, _headline(record), _seeds(record), _commit(record.code))
    return f"| {' | '.join(cells)} |"


def _title(record: AnyRecord) -> str:
    return f"{record.name}, {record.track}, {record.kind}"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _seeds(record: AnyRecord) -> str:
    return ", ".join(map(str, record.seeds))


def _commit(code: Code) -> str:
    return "unknown" if code.commit is None else f"`{code.commit}`{' with changes' if code.changed else ''}"


def _headline(record: AnyRecord) -> str:
    metric = ranking(record.task)
    if isinstance(record, AblationRecord):
        rows = record.results.groups["additive"]
        return f"{metric.label} {rows[0].scores[metric.key].show()} → {rows[-1].scores[metric.key].show()}"
    value = record.results.get(metric.key)
    return f"{metric.label} {value:.4f}" if value is not None else "no truth to score"


def _section(record: AnyRecord) -> list[str]:
    packages = ", ".join(f"{name} {number}" for name, number in record.code.packages.items())
    return [
        *_results(record),
        "",
        *_block("", record.command),
        "",
        f"- commit {_commit(record.code)}; {packages}",
        f"- seeds {_seeds(record)}; duration {duration(record.seconds)}",
        f"- machine: {_machine(record.machine)}",
        "",
        "<details><summary>settings</summary>",
        "",
        *_block("yaml", to_yaml(record.params, width=80).rstrip()),
        "",
        "</details>",
    ]


def _results(record: AnyRecord) -> list[str]:
    if isinstance(record, AblationRecord):
        return _ablation_lines(record.results, record.task)
    return _chain_lines(record.results)


def _block(language: str, text: str) -> list[str]:
    return [f"```{language}", text, "```"]


def _machine(machine: Machine) -> str:
    memory = f", {machine.memory_gib} GiB" if machine.memory_gib else ""
    return f"{machine.processor}, {machine.cores} cores{memory}, {machine.system}"


def duration(seconds: float | None) -> str:
    """Seconds as text for people.

    >>> duration(59), duration(3720), duration(None)
    ('59 s', '62 min', 'not recorded')
    """
    if seconds is None:
        return "not recorded"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ablation_lines(tables: Tables, task: Task) -> list[str]:
    lines = [f"{tables.images} images of split val."]
    for name in known_groups(tables):
        lines += ["", f"**{TITLES[name]}**", "", *table_lines(tables.groups[name], task)]
    lines += ["", *textwrap.wrap(" ".join(_sentences(tables)), WIDTH)]
    return [*lines, "", "**Diagnostics**", "", *why_lines(tables.why)] if tables.why else lines


def _sentences(tables: Tables) -> Iterator[str]:
    """The baselines and the classification accuracy, where they are known."""
    if baselines := [f"{BASELINES[key]} {value:.4f}" for key, value in tables.baselines.items()]:
        yield f"Baselines: {'; '.join(baselines)}."
    if accuracies := [f"with {name} {value.show()}" for name, value in tables.classification_accuracy.items()]:
        yield f"Classification accuracy {', '.join(accuracies)}."


def _chain_lines(metrics: Mapping[str, Any]) -> list[str]:
    lines = ["| score | with CRF | without |", "|---|---|---|"]
    for name, after, before in number_table(metrics):
        lines.append(f"| {name} | {_cell(after)} | {_cell(before)} |")
    return lines


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else format_count(value)


# --- command line ----------------------------------------------------------------------------------------------------


@command
def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    for record in _records(args):
        print(add(record, args.records))
    write_text(args.page, render(read_records(args.records)))
    print(args.page)
    return 0


def _records(args: argparse.Namespace) -> Iterable[AnyRecord]:
    if args.kind == "ablation":
        name = args.name or args.folder.resolve().name.removesuffix("-track1").removesuffix("-track3")
        yield ablation_record(args.folder, name)
    elif args.kind == "chain":
        reports = args.reports or Path("reports") / args.track
        yield chain_record(args.params, args.track, reports, args.name, args.command, args.minutes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--page", type=Path, default=PAGE)
    kinds = parser.add_subparsers(dest="kind", required=True)
    ablation = kinds.add_parser("ablation", help="add a finished ablation")
    ablation.add_argument("folder", type=Path)
    ablation.add_argument("--name", help="the folder's name if not given")
    chain = kinds.add_parser("chain", help="add a finished run of the chain")
    chain.add_argument("--track", required=True, choices=sorted(TRACKS))
    chain.add_argument("--name", required=True)
    chain.add_argument("--command", required=True, help="what repeats the run, as it is to be typed")
    chain.add_argument("--params", type=Path, default=PARAMS)
    chain.add_argument("--reports", type=Path, help="reports/<track> if not given")
    chain.add_argument("--minutes", type=float, help="how long it took")
    kinds.add_parser("render", help="write the page of the records that are there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
