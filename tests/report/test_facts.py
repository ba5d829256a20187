"""How a run came about: at the top, in the last section, and in few words."""

import dataclasses

from support.report_data import ORIGIN

from pipeline.report.facts import about_run, facts, method_chips
from pipeline.report.results import Origin, Results


def test_data_set_commit_and_date_stand_at_the_top(track3: Results) -> None:
    source = {"preprocess": {"source": {"name": "folder", "root": "data/raw/folder"}}}
    shown = dict(about_run(dataclasses.replace(track3, params=source)))
    assert shown["data set"] == "folder in data/raw/folder"
    assert shown["images"] == "0 train, 6 val, 2 test"
    assert (shown["commit"], shown["made"]) == (ORIGIN.commit, ORIGIN.made)
    assert "commit" not in dict(about_run(dataclasses.replace(track3, origin=Origin())))


def test_the_commands_that_repeat_a_run_name_its_commit(track3: Results) -> None:
    assert facts(track3).commands.splitlines()[0] == "git checkout 0123abc"
    assert facts(dataclasses.replace(track3, origin=Origin())).commands.startswith("dvc repro report@track3")


def test_durations_are_those_that_were_measured(track3: Results) -> None:
    assert facts(track3).durations == []
    history = [{"epoch": "1", "seconds": "70.5"}, {"epoch": "2", "seconds": "70"}]
    timed = dataclasses.replace(track3, history=history, student_history=history[:1])
    assert facts(timed).durations == [
        ("training the classifier", "2 min in 2 epochs"),
        ("training the student", "70 s in 1 epochs"),
    ]
    frozen = dataclasses.replace(timed, params={"train": {"backbone": {"trained": False}}})
    assert facts(frozen).durations[0][0] == "training the classifier, without its features"


def test_rules_that_no_image_met_are_left_out(track3: Results) -> None:
    quirks = {"a": {"images": 0, "rule": "grey"}, "b": {"images": 2, "rule": "large"}}
    counts = {**track3.counts, "preprocess": {"quirks": quirks, "images": 3}}
    found = facts(dataclasses.replace(track3, counts=counts))
    assert found.quirks == [(2, "large")]
    assert dict(found.stages)["preprocess"] == [("images", 3)]


def test_method_chips_name_the_method() -> None:
    params = {
        "train": {"pooling": "tap", "tap_threshold": 0.05, "backbone": {"name": "net"}},
        "extract": {"negative_weights": "clamp", "scale": "percentile", "percentile": 98.0},
        "refine": {"crf": {"enabled": True, "iterations": 10}, "output": "label_map_one_class"},
    }
    assert method_chips(params) == ["net", "TAP, θ = 0.05", "NWC", "PaS 98", "CRF, 10 iterations", "one class an image"]
    assert method_chips({"refine": {"crf": {"enabled": False}}}) == ["no CRF"]
    second = {"enabled": True, "decoder": {"name": "upernet"}}
    assert method_chips({"student": second}) == ["student, upernet"]
    assert method_chips({"student": {**second, "enabled": False}}) == []
