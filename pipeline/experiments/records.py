"""Records of finished runs: the results, with everything that is needed to repeat them.

Each finished run becomes one record, `docs/numbers/<slug>.json`, which is committed. A record with the same name
replaces the older one. Records contain no host name and no folder outside the project.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import Code, Machine, Provenance, provenance
from pipeline.core.settings import read_params, section
from pipeline.core.tracks import get_track
from pipeline.core.typed_json import from_json, read_typed, to_json
from pipeline.evaluate.metrics import Task
from pipeline.experiments.ablation_results import Results, Tables
from pipeline.experiments.project import RUN, TIMINGS

RECORDS = Path("docs/numbers")


@dataclass(frozen=True, slots=True)
class Record:
    """A finished run.

    Attributes:
        name: for people to read
        kind: what was run
        track: `track1` or `track3`
        params: the settings of the track
        code: that made the numbers
        machine: that made them
        command: what repeats the run, as it is to be typed
        seeds: of `train.seed`
        seconds: how long it took; None if not recorded
    """

    name: str
    kind: Literal["ablation", "chain"]
    track: str
    params: dict[str, Any]
    code: Code
    machine: Machine
    command: str
    seeds: tuple[int, ...]
    seconds: int | None

    @property
    def task(self) -> Task:
        """What the track asks for."""
        return get_track(self.track).task


@dataclass(frozen=True, slots=True)
class AblationRecord(Record):
    """A finished ablation."""

    results: Tables


@dataclass(frozen=True, slots=True)
class ChainRecord(Record):
    """A finished run of the chain, with the contents of metrics.json."""

    results: dict[str, Any]


AnyRecord = AblationRecord | ChainRecord
KINDS: dict[str, type[AblationRecord] | type[ChainRecord]] = {"ablation": AblationRecord, "chain": ChainRecord}


def ablation_record(folder: Path, name: str) -> AblationRecord:
    """The record of a finished ablation; its duration is the sum over its stages, each as it last ran.

    Raises:
        StoreError: if it is not finished
    """
    results = read_typed(Results, folder / "results.json")
    timings = read_json(folder / TIMINGS) if (folder / TIMINGS).is_file() else {}
    # commit and machine of the run, not of today
    made = read_typed(Provenance, folder / RUN) if (folder / RUN).is_file() else provenance()
    return AblationRecord(
        name=name,
        kind="ablation",
        track=results.track,
        params=_settings(folder / "params" / "preprocess.yaml", results.track),
        code=made.code,
        machine=made.machine,
        command=_ablation_command(results, folder),
        seeds=results.seeds,
        seconds=round(sum(timings.values())) or None,
        results=read_typed(Tables, folder / "results.json"),  # what it was run on stands beside it
    )


def _ablation_command(results: Results, folder: Path) -> str:
    seeds = ",".join(map(str, results.seeds))
    words = ["make ablation", f"RECIPE={results.recipe}", f"TRACK={results.track}", f"SEEDS={seeds}"]
    words += [*_name_words(results, folder), *_set_words(results.changes)]
    return " ".join([*words, *["GRID=1"] * ("grid" in results.groups)])


def _name_words(results: Results, folder: Path) -> list[str]:
    """The variable that names the folder, so that a variant is not repeated in the folder of its recipe."""
    name, dash, track = folder.resolve().name.rpartition("-")
    if not (name and dash) or track != results.track or name == Path(results.recipe).stem:
        return []
    return [f"NAME={shlex.quote(name)}"]


def _set_words(changes: Mapping[str, Any]) -> list[str]:
    """The variable of `make ablation` that repeats the changes to the recipe.

    >>> _set_words({"train.epochs": 2, "extract.sizes": [320], "train.flip": True})
    ["SET='train.epochs=2 extract.sizes=[320] train.flip=true'"]
    """
    words = [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in changes.items()]
    return [f"SET={shlex.quote(' '.join(words))}"] if words else []


def chain_record(
    params: Path, track: str, reports: Path, name: str, command: str, minutes: float | None
) -> ChainRecord:
    """The record of a finished run of the chain.

    Raises:
        StoreError: if it is not finished
    """
    made = provenance()
    return ChainRecord(
        name=name,
        kind="chain",
        track=track,
        params=_settings(params, track),
        code=made.code,
        machine=made.machine,
        command=command,
        seeds=(section(read_params(params), f"tracks.{track}.train.seed", params),),
        seconds=None if minutes is None else round(60 * minutes),
        results=read_json(reports / "metrics.json"),
    )


def _settings(params: Path, track: str) -> dict[str, Any]:
    settings: dict[str, Any] = without_folders(section(read_params(params), f"tracks.{track}", params))
    return settings


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


# --- files -----------------------------------------------------------------------------------------------------------


def add(record: AnyRecord, records: Path = RECORDS) -> Path:
    """Write a record under its name and track; return the file."""
    path = records / f"{slug(record.name)}-{record.track}-{record.kind}.json"
    write_json(path, to_json(record))
    return path


def slug(name: str) -> str:
    """A file name for a title.

    >>> slug("Butterflies, frozen backbone (2 seeds)")
    'butterflies-frozen-backbone-2-seeds'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def read_records(folder: Path) -> list[AnyRecord]:
    """All records, by track, name and kind.

    Raises:
        StoreError: if there is none, or a file is no record
    """
    records = [_read_record(path) for path in sorted(folder.glob("*.json"))]
    if not records:
        raise StoreError(
            f"{folder}: expected records of finished runs, found none; see `python -m pipeline.experiments.numbers "
            "--help`"
        )
    return sorted(records, key=lambda record: (record.track, record.name, record.kind))


def _read_record(path: Path) -> AnyRecord:
    values = read_json(path)
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind not in KINDS:
        raise StoreError(f"{path}: expected a record of `pipeline.experiments.numbers`, got another file")
    return from_json(KINDS[kind], values, path)
