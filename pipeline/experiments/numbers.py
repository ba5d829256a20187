"""The page of numbers: results with everything that is needed to repeat them.

    python -m pipeline.experiments.numbers ablation ablation/butterflies-track3 --name "Butterflies, frozen backbone"
    python -m pipeline.experiments.numbers chain --track track3 --name "Demo" --command "make repro" [--minutes 5]
    python -m pipeline.experiments.numbers render

Each finished run becomes one record, `docs/numbers/<slug>.json`, which is committed; the page, `docs/numbers.md`, is
made of all records and nothing else. A record with the same name replaces the older one. Records name no host and no
folder outside the project.
"""

import argparse
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError, StoreError
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.settings import PARAMS, read_params, section, to_yaml
from pipeline.core.tracks import TRACKS, get_track
from pipeline.evaluate.metrics import BASELINES, ranking
from pipeline.experiments.compare import TITLES, known_groups, show, table_lines, why_lines
from pipeline.experiments.project import RUN, TIMINGS
from pipeline.experiments.provenance import code, machine
from pipeline.report.formatting import format_count, number_table

RECORDS = Path("docs/numbers")
PAGE = Path("docs/numbers.md")
WIDTH = 120  # columns of a line


def without_folders(value: Any) -> Any:
    """Plain values in which absolute paths are cut to their last part.

    >>> without_folders({"root": "/home/me/photos", "sizes": [320], "name": "folder"})
    {'root': '…/photos', 'sizes': [320], 'name': 'folder'}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and (value.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", value)):
        return "…/" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def slug(name: str) -> str:
    """A file name for a title.

    >>> slug("Butterflies, frozen backbone (2 seeds)")
    'butterflies-frozen-backbone-2-seeds'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# --- records ---------------------------------------------------------------------------------------------------------


def ablation_record(folder: Path, name: str) -> dict[str, Any]:
    """The record of a finished ablation; its duration is the sum over its stages, each as it last ran.

    Raises:
        StoreError: if it is not finished
    """
    results = read_json(folder / "results.json")
    seeds = ",".join(map(str, results["seeds"]))
    words = ["make ablation", f"RECIPE={results['recipe']}", f"TRACK={results['track']}", f"SEEDS={seeds}"]
    words += _set_words(results.get("changes", {}))
    seconds = read_json(folder / TIMINGS) if (folder / TIMINGS).is_file() else {}
    groups = {key: [_slim(row) for row in rows] for key, rows in results["groups"].items()}
    found = {key: results.get(key, {}) for key in ("images", "parts", "baselines", "classification_accuracy", "why")}
    made = read_json(folder / RUN) if (folder / RUN).is_file() else {}  # commit and machine of the run, not of today
    return {
        **_about(name, "ablation", results["track"], folder / "params" / "preprocess.yaml"),
        **made,
        "command": " ".join([*words, *["GRID=1"] * ("grid" in results["groups"])]),
        "seeds": results["seeds"],
        "seconds": round(sum(seconds.values())) or None,
        "results": {**found, "groups": groups},
    }


def _set_words(changes: Mapping[str, Any]) -> list[str]:
    """The variable of `make ablation` that repeats the changes to the recipe.

    >>> _set_words({"train.epochs": 2, "extract.sizes": [320], "train.flip": True})
    ["SET='train.epochs=2 extract.sizes=[320] train.flip=true'"]
    """
    words = [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in changes.items()]
    return [f"SET={shlex.quote(' '.join(words))}"] if words else []


def _slim(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("title", "parts", "output", "published", "scores", "gain") if key in row}


def chain_record(
    params: Path, track: str, reports: Path, name: str, command: str, minutes: float | None
) -> dict[str, Any]:
    """The record of a finished run of the chain.

    Raises:
        StoreError: if it is not finished
    """
    return {
        **_about(name, "chain", track, params),
        "command": command,
        "seeds": [section(read_params(params), f"tracks.{track}.train.seed", params)],
        "seconds": None if minutes is None else round(60 * minutes),
        "results": read_json(reports / "metrics.json"),
    }


def _about(name: str, kind: str, track: str, params: Path) -> dict[str, Any]:
    sections = section(read_params(params), f"tracks.{track}", params)
    return {
        "name": name,
        "kind": kind,
        "track": track,
        "params": without_folders(sections),
        "code": code(),
        "machine": machine(),
    }


def add(record: Mapping[str, Any], records: Path = RECORDS) -> Path:
    """Write a record under its name and track; return the file."""
    path = records / f"{slug(record['name'])}-{record['track']}-{record['kind']}.json"
    write_json(path, record)
    return path


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All records, by track, name and kind.

    Raises:
        StoreError: if there is none, or a file is no record
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if not isinstance(record, dict) or not {"name", "kind", "track", "results"} <= record.keys():
            raise StoreError(f"{path}: expected a record of `pipeline.experiments.numbers`, got another file")
        records.append(record)
    if not records:
        raise StoreError(
            f"{folder}: expected records of finished runs, found none; see `python -m pipeline.experiments.numbers "
            "--help`"
        )
    return sorted(records, key=lambda record: (record["track"], record["name"], record["kind"]))


# --- page ------------------------------------------------------------------------------------------------------------


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """The page, in Markdown: a table of all runs, then each run with its numbers and everything that repeats it."""
    lines = [
        "# Numbers",
        "",
        "Written by `python -m pipeline.experiments.numbers` from the records in `docs/numbers/`. Every number is of "
        "split",
        "val: some settings were chosen by it, so it is a little too good. ± is the standard deviation between "
        "seeds. The column",
        "`published` is the paper's ladder, on the photographs of LID 2020: for the gain of each part, not for the "
        "height.",
        "",
        "| run | track | score | seeds | commit |",
        "|---|---|---|---|---|",
    ]
    for record in records:
        anchor = f"[{record['name']}](#{_anchor(_title(record))})"
        seeds = ", ".join(map(str, record["seeds"]))
        lines.append(
            f"| {anchor}, {record['kind']} | {record['track']} | {_headline(record)} | {seeds} | {_commit(record)} |"
        )
    for record in records:
        lines += ["", f"## {_title(record)}", "", *_section(record)]
    return "\n".join(lines) + "\n"


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['name']}, {record['track']}, {record['kind']}"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _commit(record: Mapping[str, Any]) -> str:
    commit, changed = record["code"]["commit"], record["code"]["changed"]
    return "unknown" if commit is None else f"`{commit}`{' with changes' if changed else ''}"


def _headline(record: Mapping[str, Any]) -> str:
    metric = ranking(get_track(record["track"]).task)
    if record["kind"] == "ablation":
        rows = record["results"]["groups"]["additive"]
        first, last = (row["scores"][metric.key] for row in (rows[0], rows[-1]))
        return f"{metric.label} {show(first)} → {show(last)}"
    value = record["results"].get(metric.key)
    return f"{metric.label} {value:.4f}" if value is not None else "no truth to score"


def _section(record: Mapping[str, Any]) -> list[str]:
    results = _ablation_lines(record) if record["kind"] == "ablation" else _chain_lines(record["results"])
    about = record["machine"]
    memory = f", {about['memory_gib']} GiB" if about["memory_gib"] else ""
    packages = ", ".join(f"{name} {number}" for name, number in record["code"]["packages"].items())
    return [
        *results,
        "",
        "```",
        record["command"],
        "```",
        "",
        f"- commit {_commit(record)}; {packages}",
        f"- seeds {', '.join(map(str, record['seeds']))}; duration {duration(record['seconds'])}",
        f"- machine: {about['processor']}, {about['cores']} cores{memory}, {about['system']}",
        "",
        "<details><summary>settings</summary>",
        "",
        "```yaml",
        to_yaml(record["params"], width=80).rstrip(),
        "```",
        "",
        "</details>",
    ]


def duration(seconds: float | None) -> str:
    """Seconds as people say them.

    >>> duration(59), duration(3720), duration(None)
    ('59 s', '62 min', 'not recorded')
    """
    if seconds is None:
        return "not recorded"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ablation_lines(record: Mapping[str, Any]) -> list[str]:
    results, task = record["results"], get_track(record["track"]).task
    lines = [f"{results['images']} images of split val."]
    for name in known_groups(results):
        lines += ["", f"**{TITLES[name]}**", "", *table_lines(results["groups"][name], task)]
    baselines = [f"{BASELINES[key]} {value:.4f}" for key, value in results["baselines"].items()]
    accuracies = [f"Accuracy with {name} {show(value)}" for name, value in results["classification_accuracy"].items()]
    lines += ["", *textwrap.wrap(f"Baselines: {'; '.join(baselines)}. {'; '.join(accuracies)}.", WIDTH)]
    return [*lines, "", "**Why**", "", *why_lines(results["why"])] if results.get("why") else lines


def _chain_lines(metrics: Mapping[str, Any]) -> list[str]:
    lines = ["| score | with CRF | without |", "|---|---|---|"]
    for name, after, before in number_table(metrics):
        lines.append(f"| {name} | {_cell(after)} | {_cell(before)} |")
    return lines


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else format_count(value)


# --- command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    try:
        for record in _records(args):
            print(add(record, args.records))
        write_text(args.page, render(read_records(args.records)))
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    print(args.page)
    return 0


def _records(args: argparse.Namespace) -> Iterable[dict[str, Any]]:
    if args.kind == "ablation":
        name = args.name or args.folder.resolve().name.removesuffix("-track1").removesuffix("-track3")
        yield json.loads(json.dumps(ablation_record(args.folder, name)))
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
