"""What a step of a finished run is made of, and how long its stages took, by the run's own records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.compare.entrants import reports_of, short_name
from pipeline.compare.steps import STEPS, Step, has_predictions, split_step
from pipeline.core.errors import StoreError
from pipeline.core.files import read_json
from pipeline.core.stages import STAGES, read_seconds
from pipeline.core.tracks import Track
from pipeline.report.formatting import NONE, get, number, read_rows

STAGES_OF = {  # up to the last one that a step needs
    step: STAGES[: STAGES.index(last) + 1]
    for step, last in (
        ("before_crf", "extract"),
        ("refined", "refine"),
        ("student_before_crf", "student"),
        ("student", "student"),
    )
}
HISTORIES = {"train": "history.csv", "student": "student/history.csv"}  # seconds of epochs, below `data/<track>`
ENSEMBLE = "ensemble.json"


@dataclass(frozen=True, slots=True)
class Cost:
    """The seconds behind a step.

    Attributes:
        seconds: by stage, of all runs that it takes
        partial: stages of which only the epochs of a training are known, or nothing
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()

    @property
    def total(self) -> float | None:
        """Of all stages that are known; None if none is."""
        return sum(self.seconds.values()) if self.seconds else None

    def show(self) -> str:
        """For tables; a sum that lacks a stage is a bound.

        >>> Cost({"train": 60.0, "extract": 2.4}).show(), Cost({"train": 60.0}, frozenset({"extract"})).show()
        ('62', '≥ 60')
        >>> Cost().show()
        '–'
        """
        return NONE if self.total is None else f"{'≥ ' if self.partial else ''}{self.total:.0f}"


@dataclass(frozen=True, slots=True)
class About:
    """What a step is.

    Attributes:
        name: of the run, and of the step, if one was named
        parts: what it is made of, in the order in which the method adds it; empty where that is not known
        cost: the seconds of its stages
    """

    name: str
    parts: tuple[str, ...]
    cost: Cost


def about_step(path: Path, track: Track) -> About:
    """What a run says of one of its steps; where its `data/<track>` is not there, nothing but its name."""
    run, step = split_step(path)
    if (run / ENSEMBLE).is_file():
        return _of_ensemble(run, track)
    data = _data_of(run, track)
    if data is None:
        return About(short_name(path), (), Cost())
    submitted = STEPS["student" if has_predictions(data, "student") else "refined"]
    return About(short_name(path), parts_of(data, step or submitted), cost_of([data], step or submitted))


def difference_of(before: About | None, about: About) -> str:
    """The name of a step: all parts of the first one, then what is added to the step before, or taken from it.

    Where the parts are not known or the same, the name of the run.

    >>> first, crf = About("a", ("CAM", "NWC"), Cost()), About("a", ("CAM", "NWC", "CRF"), Cost())
    >>> difference_of(None, first), difference_of(first, crf), difference_of(crf, crf)
    ('CAM, NWC', '+ CRF', 'a')
    """
    if before is None:
        return ", ".join(about.parts) or about.name
    if not before.parts or not about.parts:
        return about.name
    added = [f"+ {part}" for part in about.parts if part not in before.parts]
    taken = [f"− {part}" for part in before.parts if part not in about.parts]
    return ", ".join([*added, *taken]) or about.name


def parts_of(data: Path, step: Step) -> tuple[str, ...]:
    """The parts of the method in a step, by the reports of the run's stages."""
    design, extract = (_read(data / name) for name in ("model/design.json", "extract.json"))
    refine, student = (_read(data / f"{name}.json").get("settings", {}) for name in ("refine", "student"))
    settings = extract.get("settings", {})
    is_student = step.stage == "student"
    parts = {
        str(settings.get("map", "cam")).upper(): True,
        "TAP": design.get("pooling") == "tap",
        "NWC": settings.get("negative_weights") == "clamp",
        "PaS": settings.get("scale") == "percentile",
        "affinity": bool(get(refine, "affinity", "iterations")),
        "CRF": bool(get(refine, "crf", "enabled")) and (is_student or step.array == "after"),
        "student": is_student,
        "random walk": is_student and bool(get(student, "random_walk", "enabled")),
        "the student's CRF": is_student and step.array == "after" and bool(get(student, "crf", "enabled")),
    }
    return tuple(part for part, is_on in parts.items() if is_on)


def cost_of(runs: Iterable[Path], step: Step) -> Cost:
    """The seconds of the stages that make a step, summed over runs.

    `seconds.json` has those of stages that DVC ran; else the epochs of a training are known, if it wrote a history.

    Args:
        runs: folders `data/<track>`
    """
    seconds, partial = dict[str, float](), set[str]()
    for data in runs:
        recorded = read_seconds(data)
        for stage in STAGES_OF[step.key]:
            found = recorded.get(stage, _epochs(data, stage))
            if found is not None:
                seconds[stage] = seconds.get(stage, 0.0) + found
            if stage not in recorded:
                partial.add(stage)
    return Cost(seconds, frozenset(partial))


def _epochs(data: Path, stage: str) -> float | None:
    """The seconds of the epochs of a training; None without a history."""
    path = data / HISTORIES.get(stage, "")
    if stage not in HISTORIES or not path.is_file():
        return None
    known = [value for row in read_rows(path) if (value := number(row.get("seconds"))) is not None]
    return sum(known) if known else None


def _of_ensemble(folder: Path, track: Track) -> About:
    """An ensemble: the parts of its first member, and the seconds of all members that are still there."""
    report = _read(folder / ENSEMBLE)
    members = [Path(one["run"]) for one in report.get("members", ()) if one.get("weight")]
    if not members:
        raise StoreError(f"{folder / ENSEMBLE}: expected the members of an ensemble, got none; likely another file")
    step = STEPS["student" if report.get("of") == "student" else "refined"]
    there = [run for run in members if (run / "extract.json").is_file()]
    cost = cost_of(there, step)
    if len(there) < len(members):
        cost = Cost(cost.seconds, cost.partial | set(STAGES_OF[step.key]))
    name = f"ensemble of {len(members)}"
    return About(name, (*parts_of(there[0], step), name) if there else (), cost)


def _data_of(run: Path, track: Track) -> Path | None:
    """`data/<track>` of a run, if it is there."""
    reports = reports_of(run, track.name)
    data = reports.parent.parent / "data" / track.name
    return data if reports.name == track.name and (data / "extract.json").is_file() else None


def _read(path: Path) -> Mapping[str, Any]:
    found: Any = read_json(path) if path.is_file() else {}
    return found if isinstance(found, Mapping) else {}
