"""What steps are made of and what they cost, from reports written by hand."""

from pathlib import Path
from typing import Any

import pytest
from support.helpers import merge

from pipeline.compare.steps import STEPS
from pipeline.core.errors import StoreError
from pipeline.core.files import write_json, write_text
from pipeline.core.stages import STAGES
from pipeline.core.tracks import get_track
from pipeline.experiments.ladder_steps import STAGES_OF, About, Cost, about_step, cost_of, difference_of, parts_of

REPORTS: dict[str, Any] = {
    "model/design": {"pooling": "tap"},
    "extract": {"settings": {"negative_weights": "clamp", "scale": "percentile", "map": "cam"}},
    "refine": {"settings": {"crf": {"enabled": True}, "affinity": {"iterations": 0}}},
    "student": {"enabled": True, "settings": {"random_walk": {"enabled": True}, "crf": {"enabled": True}}},
}
TRACK = get_track("track3")


def write_run(checkout: Path, **changes: Any) -> Path:
    """The reports of a run without its stores; return its `data/track3`."""
    data = checkout / "data" / "track3"
    for name, values in merge(REPORTS, changes).items():
        write_json(data / f"{name}.json", values)
    write_text(checkout / "reports" / "track3" / "image_counts.npz", "")
    return data


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("before_crf", "CAM TAP NWC PaS"),
        ("refined", "CAM TAP NWC PaS CRF"),
        ("student_before_crf", "CAM TAP NWC PaS CRF student random-walk"),
        ("student", "CAM TAP NWC PaS CRF student random-walk the-student's-CRF"),
    ],
)
def test_the_parts_of_a_step(tmp_path: Path, step: str, parts: str) -> None:
    found = parts_of(write_run(tmp_path), STEPS[step])
    assert [part.replace(" ", "-") for part in found] == parts.split()


def test_parts_that_are_switched_off(tmp_path: Path) -> None:
    off = {
        "model/design": {"pooling": "gap"},
        "extract": {"settings": {"negative_weights": "keep", "scale": "max", "map": "layercam"}},
        "refine": {"settings": {"crf": {"enabled": False}, "affinity": {"iterations": 3}}},
        "student": {"settings": {"random_walk": {"enabled": False}, "crf": {"enabled": False}}},
    }
    data = write_run(tmp_path, **off)
    assert parts_of(data, STEPS["refined"]) == ("LAYERCAM", "affinity")
    assert parts_of(data, STEPS["student"]) == ("LAYERCAM", "affinity", "student")


def test_names_are_what_is_added_and_taken() -> None:
    plain, full, other = (About(name, tuple(parts), Cost()) for name, parts in (("a", "xy"), ("b", "xyz"), ("c", "xz")))
    unknown = About("d", (), Cost())
    assert [difference_of(*pair) for pair in ((None, plain), (plain, full), (full, other), (other, plain))] == [
        "x, y", "+ z", "− y", "+ y, − z",
    ]  # fmt: skip
    assert [difference_of(*pair) for pair in ((full, full), (None, unknown), (full, unknown), (unknown, full))] == [
        "b", "d", "d", "b",
    ]  # fmt: skip


# --- seconds ----------------------------------------------------------------------------------------------------------


def test_recorded_seconds_are_those_of_the_stages_behind_a_step(tmp_path: Path) -> None:
    data = write_run(tmp_path)
    write_json(data / "seconds.json", {stage: 10.0 + place for place, stage in enumerate(STAGES)})
    before, student = (cost_of([data], STEPS[step]) for step in ("before_crf", "student"))
    assert (before.seconds, before.partial) == ({"preprocess": 10.0, "train": 11.0, "extract": 12.0}, frozenset())
    assert (before.total, before.show()) == (33.0, "33")
    assert student.total == sum(range(10, 15))
    twice = cost_of([data, data], STEPS["before_crf"])
    assert (twice.total, twice.show()) == (66.0, "66")
    assert STAGES_OF.keys() == STEPS.keys()


def test_without_a_record_the_epochs_are_a_bound(tmp_path: Path) -> None:
    data = write_run(tmp_path)
    assert cost_of([data], STEPS["student"]) == Cost({}, frozenset(STAGES_OF["student"]))
    write_text(data / "history.csv", "epoch,train_loss,seconds\n1,0.5,2.5\n2,0.4,\n3,0.4,3.5\n")
    write_text(data / "student" / "history.csv", "round,epoch,train_loss,seconds\n1,1,0.5,40\n")
    found = cost_of([data], STEPS["student"])
    assert (found.seconds, found.show()) == ({"train": 6.0, "student": 40.0}, "≥ 46")
    assert found.partial == set(STAGES_OF["student"])
    write_json(data / "seconds.json", {"train": 60.0})
    recorded = cost_of([data], STEPS["before_crf"])
    assert (recorded.seconds, recorded.partial) == ({"train": 60.0}, {"preprocess", "extract"})
    write_text(data / "history.csv", "epoch,train_loss\n1,0.5\n")
    (data / "seconds.json").unlink()
    assert cost_of([data], STEPS["before_crf"]).show() == "–"


# --- about a path -----------------------------------------------------------------------------------------------------


def test_a_run_and_its_step(tmp_path: Path) -> None:
    data = write_run(tmp_path / "mine")
    whole, step = about_step(tmp_path / "mine", TRACK), about_step(Path(f"{data}:before_crf"), TRACK)
    assert (whole.name, whole.parts[-1]) == ("mine", "CRF")  # there are no predictions of a student
    assert (step.name, step.parts[-1]) == ("mine, before CRF", "PaS")


def test_scores_alone_tell_nothing_of_their_parts(tmp_path: Path) -> None:
    write_text(tmp_path / "gap-keep" / "image_counts.npz", "")
    assert about_step(tmp_path / "gap-keep", TRACK) == About("gap-keep", (), Cost())


def test_an_ensemble_costs_what_its_members_cost(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in "ab"]
    for data in runs:
        write_json(data / "seconds.json", dict.fromkeys(STAGES, 1.0))
    members = [{"run": str(data), "weight": 1.0} for data in runs]
    write_json(tmp_path / "both" / "ensemble.json", {"of": "maps", "members": [*members, {"run": "c", "weight": 0}]})
    found = about_step(tmp_path / "both", TRACK)
    assert (found.name, found.parts[-2:]) == ("ensemble of 2", ("CRF", "ensemble of 2"))
    assert found.cost.show() == "8"
    write_json(
        tmp_path / "both" / "ensemble.json",
        {"of": "student", "members": [members[0], {"run": str(tmp_path / "lost"), "weight": 1}]},
    )
    assert about_step(tmp_path / "both", TRACK).cost.show() == "≥ 5"
    write_json(tmp_path / "both" / "ensemble.json", {"of": "student", "members": []})
    with pytest.raises(StoreError, match=r"ensemble\.json: expected the members of an ensemble, got none"):
        about_step(tmp_path / "both", TRACK)
