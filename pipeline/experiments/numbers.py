"""The page of numbers, made from the records of finished ablations, and of the comparison of methods, only.

    python -m pipeline.experiments.numbers ablation ablation/butterflies-track3 --name "Butterflies, frozen backbone"
    python -m pipeline.experiments.numbers methods ablation/methods
    python -m pipeline.experiments.numbers render

The first two add a record below `docs/numbers/`, which is committed; all write the page, `docs/numbers.md`. A record
has the results and everything that is needed to repeat them, but no host name and no folder outside the project.
"""

import argparse
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import StoreError, command
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.provenance import Code, Machine, Provenance, provenance, without_folders
from pipeline.core.settings import read_params, section, to_yaml
from pipeline.core.tracks import get_track
from pipeline.core.typed_json import read_typed, to_json
from pipeline.evaluate.metrics import BASELINES, Task, ranking
from pipeline.experiments.ablation import RUN, TIMINGS
from pipeline.experiments.ablation_rows import PREPROCESS
from pipeline.experiments.ablation_tables import Results, Tables, choice_sentence, table_lines, why_lines
from pipeline.experiments.method_numbers import add_methods, methods_lines
from pipeline.report.formatting import format_duration, markdown_table

RECORDS = Path("docs/numbers")
PAGE = Path("docs/numbers.md")
WIDTH = 120  # columns of a line
ABOUT = (
    "Written by `python -m pipeline.experiments.numbers` from the records in `docs/numbers/`. Every number is of split "
    "val, by which some settings were chosen: the scores are optimistically biased. ± is the standard deviation "
    "between seeds, brackets are 95 % intervals over images. A row that is chosen on one half of the images and scored "
    "on the other has a score without the bias of that choice. The column `published` is the paper's ablation on the "
    "images of LID 2020: compare the gain of each part, not the absolute scores (different data). A cell is a position "
    "of the feature map. The scores are defined in the [metrics](how/metrics.md)."
)


@dataclass(frozen=True, slots=True)
class Record:
    """A finished ablation."""

    name: str  # for people to read
    kind: Literal["ablation"]
    track: str
    params: dict[str, Any]  # the settings of the track
    code: Code  # that made the numbers
    machine: Machine  # that made them
    command: str  # what repeats the run, as it is to be typed
    seeds: tuple[int, ...]  # of `train.seed`
    seconds: int | None  # how long its stages took, each as it last ran; None if not recorded
    results: Tables


def ablation_record(folder: Path, name: str) -> Record:
    """The record of a finished ablation.

    Raises:
        StoreError: if it is not finished
    """
    results = read_typed(Results, folder / "results.json")
    timings = read_json(folder / TIMINGS) if (folder / TIMINGS).is_file() else {}
    # commit and machine of the run, not of today
    made = read_typed(Provenance, folder / RUN) if (folder / RUN).is_file() else provenance()
    params = folder / PREPROCESS
    return Record(
        name=name,
        kind="ablation",
        track=results.track,
        params=without_folders(section(read_params(params), f"tracks.{results.track}", params)),
        code=made.code,
        machine=made.machine,
        command=_command(results, folder.resolve().name),
        seeds=results.seeds,
        seconds=round(sum(timings.values())) or None,
        results=read_typed(Tables, folder / "results.json"),  # what it was run on stands beside it
    )


def _command(results: Results, folder: str) -> str:
    """What repeats the ablation; a variant is not repeated in the folder of its recipe, so the folder is named."""
    words = ["make ablation", f"RECIPE={results.recipe}", f"TRACK={results.track}"]
    words.append(f"SEEDS={','.join(map(str, results.seeds))}")
    name, dash, track = folder.rpartition("-")
    if name and dash and track == results.track and name != Path(results.recipe).stem:
        words.append(f"NAME={shlex.quote(name)}")
    if changes := [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in results.changes.items()]:
        words.append(f"SET={shlex.quote(' '.join(changes))}")
    return " ".join([*words, *["GRID=1"] * ("grid" in results.groups)])


def add(record: Record, records: Path) -> Path:
    """Write a record under its name and track, in place of an older one; return the file."""
    slug = re.sub(r"[^a-z0-9]+", "-", record.name.lower()).strip("-")
    path = records / f"{slug}-{record.track}-{record.kind}.json"
    write_json(path, to_json(record))
    return path


def read_records(folder: Path) -> list[Record]:
    """All records, by track and name.

    Raises:
        StoreError: if there is none, or a file is no record
    """
    records = [read_typed(Record, path) for path in folder.glob("*.json")]
    if not records:
        raise StoreError(
            f"{folder}: expected records of finished runs, found none; see `python -m pipeline.experiments.numbers "
            "--help`"
        )
    return sorted(records, key=lambda record: (record.track, record.name))


def render(records: Sequence[Record], methods: Iterable[str] = ()) -> str:
    """The page, in Markdown: a table of all runs, then each run with its numbers and everything that repeats it.

    Args:
        methods: lines of the comparison of training methods
    """
    rows = []
    for record in records:
        anchor = re.sub(r"[^\w\- ]", "", _title(record).lower()).replace(" ", "-")
        run = f"[{record.name}](#{anchor}), {record.kind}"
        rows.append((run, record.track, _headline(record), _seeds(record), record.code.title))
    table = markdown_table(["run", "track", "score", "seeds", "commit"], rows)
    lines = ["# Numbers", "", *textwrap.wrap(ABOUT, WIDTH), "", *table]
    for record in records:
        lines += ["", f"## {_title(record)}", "", *_section(record)]
    return "\n".join([*lines, *methods]) + "\n"


def _title(record: Record) -> str:
    return f"{record.name}, {record.track}, {record.kind}"


def _seeds(record: Record) -> str:
    return ", ".join(map(str, record.seeds))


def _headline(record: Record) -> str:
    metric = ranking(get_track(record.track).task)
    first, *_, last = (row.scores[metric.key].show() for row in record.results.groups["additive"])
    return f"{metric.label} {first} → {last}"


def _section(record: Record) -> list[str]:
    tables, task = record.results, get_track(record.track).task
    lines = [f"{tables.images} images of split val."]
    for title, rows in tables.titled():
        lines += ["", f"**{title}**", "", *table_lines(rows, task)]
    lines += ["", *textwrap.wrap(" ".join(_sentences(tables, task)), WIDTH)]
    if tables.why:
        lines += ["", "**Diagnostics**", "", *why_lines(tables.why)]
    return [*lines, "", *_origin(record)]


def _sentences(tables: Tables, task: Task) -> Iterator[str]:
    """The choice of a row, the baselines and the classification accuracy, where they are known."""
    if tables.choice:
        yield choice_sentence(tables.choice, task)
    if baselines := [f"{BASELINES[key]} {value:.4f}" for key, value in tables.baselines.items()]:
        yield f"Baselines: {'; '.join(baselines)}."
    if accuracies := [f"with {name} {value.show()}" for name, value in tables.classification_accuracy.items()]:
        yield f"Classification accuracy {', '.join(accuracies)}."


def _origin(record: Record) -> Iterator[str]:
    """What repeats a run, and where and with what it ran."""
    yield from ("```", record.command, "```", "")
    packages = ", ".join(f"{name} {number}" for name, number in record.code.packages.items())
    yield f"- commit {record.code.title}; {packages}"
    yield f"- seeds {_seeds(record)}; duration {format_duration(record.seconds)}"
    yield f"- machine: {record.machine.title}"
    settings = to_yaml(record.params, width=80).rstrip()
    yield from ("", "<details><summary>settings</summary>", "", "```yaml", settings, "```", "", "</details>")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    ablation = kinds.add_parser("ablation", help="add a finished ablation")
    ablation.add_argument("folder", type=Path)
    ablation.add_argument("--name", help="the folder's name if not given")
    methods = kinds.add_parser("methods", help="add the comparison of training methods")
    methods.add_argument("folder", type=Path)
    kinds.add_parser("render", help="write the page of the records that are there")
    args = parser.parse_args(arguments)
    if args.kind == "ablation":
        name = args.name or args.folder.resolve().name.removesuffix("-track1").removesuffix("-track3")
        print(add(ablation_record(args.folder, name), RECORDS))
    if args.kind == "methods":
        print(add_methods(args.folder, RECORDS))
    write_text(PAGE, render(read_records(RECORDS), methods_lines(RECORDS)))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
