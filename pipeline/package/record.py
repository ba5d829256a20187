"""What made a submission: a record beside the zip, `track3.json` beside `track3.zip`.

The record names the commit and the date of the run, the settings as text, the versions of libraries and the score of
split val. Commit and date are those of the run that made these bytes: where DVC takes the zip from its cache, it takes
the record with it. Nothing reads the record but `lid check`, so the zip and all later results do not depend on it.
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core.errors import StoreError
from pipeline.core.files import sha256, write_json
from pipeline.core.provenance import Code, without_folders
from pipeline.core.settings import to_yaml
from pipeline.core.tracks import Track
from pipeline.core.typed_json import read_typed, to_json
from pipeline.evaluate.metrics import interval_of, ranking

MOST_BYTES = 1 << 22  # of a record; a larger file is none
UNRECORDED = "report"  # the section that changes only what people see
_LIBRARIES = ("lid-pipeline", "numpy", "pillow")  # beside those of `pipeline.core.provenance`


@dataclass(frozen=True, slots=True)
class Settings:
    """The track's sections of the params file, but `report`.

    Attributes:
        sha256: of the text
        text: YAML, in the order of the file, without comments and anchors
    """

    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class ValScore:
    """The ranking score of the same run on split val.

    Attributes:
        metric: its key in metrics.json
        score: a share in [0, 1]
        interval: the ends of its 95 % confidence interval over images; None for fewer than two images
        images: how many were scored
    """

    metric: str
    score: float
    interval: tuple[float, float] | None
    images: int


@dataclass(frozen=True, slots=True)
class Record:
    """What made a submission.

    Attributes:
        track: `track1` or `track3`
        zip: the file's name
        sha256: of the zip
        bytes: of the zip
        images: predictions in it
        split: whose images are predicted
        date: when it was made, UTC, ISO 8601
        commit: of the code; None without git
        changed: whether `pipeline/`, `stages/` or `dvc.yaml` differed from the commit; None without git
        versions: of Python and of the libraries that can change numbers
        settings: as the params file had them
        val: the score on split val; None if it has no truth
        warnings: what is by the rules and mostly not meant
    """

    track: str
    zip: str
    sha256: str
    bytes: int
    images: int
    split: str
    date: str
    commit: str | None
    changed: bool | None
    versions: Mapping[str, str]
    settings: Settings
    val: ValScore | None
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """In one line."""
        commit = "an unknown commit" if self.commit is None else f"commit {self.commit}"
        scored = f", val {self.val.metric} {self.val.score:.4f}" if self.val else ""
        ends = f" [{self.val.interval[0]:.4f}, {self.val.interval[1]:.4f}]" if self.val and self.val.interval else ""
        changes = " with changes" if self.changed else ""
        return f"made {self.date} by {commit}{changes}, settings {self.settings.sha256[:12]}{scored}{ends}"


def record_path(zip_path: Path) -> Path:
    """Where the record of a zip is, if it has one."""
    return zip_path.with_suffix(".json")


def make_record(
    out: Path,
    track: Track,
    counts: Mapping[str, Any],
    sections: Mapping[str, Any],
    metrics: Mapping[str, Any],
    code: Code,
    warnings: tuple[str, ...] = (),
) -> Record:
    """Describe a zip that has just been made.

    Args:
        out: the zip
        track: its track
        counts: what `pipeline.package.run.package` returned
        sections: the track's sections of the params file
        metrics: of the same run, metrics.json
        code: commit and versions
        warnings: of its contents
    """
    text = to_yaml(without_folders({name: values for name, values in sections.items() if name != UNRECORDED}))
    return Record(
        track=track.name,
        zip=out.name,
        sha256=counts["sha256"],
        bytes=counts["bytes"],
        images=counts["images"],
        split=counts["split"],
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=code.commit,
        changed=code.changed,
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}, **code.packages},
        settings=Settings(hashlib.sha256(text.encode()).hexdigest(), text),
        val=_val_score(track, metrics),
        warnings=warnings,
    )


def _val_score(track: Track, metrics: Mapping[str, Any]) -> ValScore | None:
    key = ranking(track.task).key
    if metrics.get(key) is None:
        return None
    return ValScore(key, metrics[key], interval_of(metrics, key), metrics["images"])


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_json(path, to_json(record))


@dataclass(frozen=True, slots=True)
class Compared:
    """A zip against its record.

    Attributes:
        record: None if there is none that can be read
        problems: what contradicts it
        warnings: why the file beside the zip is no record
    """

    record: Record | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def compare_record(zip_path: Path, track: Track) -> Compared:
    """Compare a zip with the record beside it, if there is one.

    A record of other bytes or of another track is a problem; a file of that name that is no record is a warning.
    """
    if not zip_path.is_file() or not (path := record_path(zip_path)).is_file():
        return Compared()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise StoreError(f"{path}: expected at most {MOST_BYTES} bytes, got {path.stat().st_size}")
        record = read_typed(Record, path)
    except (StoreError, OSError) as error:
        return Compared(warnings=(f"{path.name}: no record of {zip_path.name}, not compared ({error})",))
    return Compared(record, tuple(_contradictions(zip_path, path.name, record, track)))


def _contradictions(zip_path: Path, name: str, record: Record, track: Track) -> list[str]:
    found = sha256(zip_path)
    problems = []
    if found != record.sha256:
        problems.append(
            f"{zip_path.name}: expected the bytes that {name} describes (sha256 {record.sha256:.12}…), got others "
            f"({found:.12}…); likely changed or made again after the record, or copied beside that of another zip"
        )
    if record.track != track.name:
        problems.append(
            f"{zip_path.name}: expected a submission to {track.name}, got one to {record.track}, as {name} says; "
            "likely the zip of the other track"
        )
    return problems
