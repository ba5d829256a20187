"""`lid ladder` on finished runs: scores as the runs report them, gains as `lid compare` has them."""

import csv
from pathlib import Path

import pytest
from support.fixtures import single_thread
from support.prediction import make_checkout
from support.student_run import with_student

from pipeline import cli
from pipeline.compare.entrants import Choices, open_entrants
from pipeline.compare.numbers import compare
from pipeline.core.errors import SettingsError
from pipeline.core.files import read_json, write_json
from pipeline.ensemble import command as ensemble
from pipeline.experiments.ladder import expand, make_ladder

__all__ = ["single_thread"]

Capture = pytest.CaptureFixture[str]
OLD = {"extract": {"negative_weights": "keep", "scale": "max"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, Path]:
    """Plain maps, the full method, the same with a student; each with the parameters of its network."""
    root = tmp_path_factory.mktemp("ladder")
    made = {
        "plain": make_checkout(root / "plain", "track3", **OLD),
        "full": make_checkout(root / "full", "track3"),
    }
    for checkout in made.values():
        write_json(checkout / "data" / "track3" / "train.json", {"parameters": 10})
    return {**made, "student": with_student(made["full"], "track3", root / "student").parents[1]}


def test_the_steps_of_several_runs(runs: dict[str, Path], tmp_path: Path) -> None:
    student = runs["student"] / "data" / "track3"
    found = make_ladder([f"{runs['plain']}:before_crf", str(student)])
    assert [one.name for one in found.steps] == [
        "CAM, TAP", "+ NWC, + PaS", "+ CRF", "+ student", "+ the student's CRF",
    ]  # fmt: skip
    plain, metrics = (read_json(runs[name] / "reports/track3/metrics.json") for name in ("plain", "student"))
    first = metrics["first_stage"]
    assert [one.score for one in found.steps] == pytest.approx(
        [plain["before_crf"]["peak_iou"], first["before_crf"]["peak_iou"], first["peak_iou"],
         metrics["before_crf"]["peak_iou"], metrics["peak_iou"]]
    )  # fmt: skip
    assert (found.steps[0].gain, found.steps[0].gain_interval) == (None, None)
    for place, step in enumerate(("refined", "student_before_crf", "student"), start=2):
        before = ("before_crf", "refined", "student_before_crf")[place - 2]
        pair = compare(open_entrants([f"{student}:{before}", f"{student}:{step}"], Choices())).entrants[1]
        rated = found.steps[place]
        assert (rated.gain, rated.gain_interval) == (pair.difference, pair.difference_interval)
        assert (rated.better, rated.worse) == (pair.better, pair.worse)
    assert found.notes[-1].startswith("The best of 5 on the images that choose it looks better than it is.")


def test_names_that_are_given(runs: dict[str, Path]) -> None:
    given = [f"old={runs['plain']}:refined", f"new={runs['full']}"]
    assert [one.name for one in make_ladder(given).steps] == ["old", "new, before CRF", "new, after CRF"]
    twice = make_ladder([f"same={runs['plain']}:refined", f"same={runs['full']}:refined"]).steps
    assert [one.name for one in twice] == ["plain: same", "full: same"]


def test_a_name_that_several_runs_have_follows_that_of_its_run(runs: dict[str, Path]) -> None:
    first, second = (str(runs[name] / "data" / "track3") for name in ("plain", "full"))
    both = make_ladder([first, second]).steps
    assert [one.name for one in both] == ["plain: CAM, TAP", "plain: + CRF", "full: CAM, TAP, NWC, PaS", "full: + CRF"]
    assert [one.gain is None for one in both] == [True, False, True, False], "a run that follows another begins anew"
    steps = [f"{runs['full']}:before_crf", second, f"{runs['full']}:before_crf", f"{runs['full']}:refined"]
    assert [one.name for one in make_ladder(steps).steps][-3:] == ["+ CRF (3)", "− CRF", "+ CRF (5)"], "one run"


def test_scores_without_their_data_are_one_step(runs: dict[str, Path], tmp_path: Path) -> None:
    """As those of a row of an ablation."""
    (tmp_path / "reports").symlink_to(runs["full"] / "reports")
    assert expand("", tmp_path, None) == [("", tmp_path)]
    assert len(make_ladder([f"{tmp_path}:before_crf", str(tmp_path)]).steps) == 2


def test_the_command_with_an_ensemble(runs: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    words = [str(runs["plain"]), str(runs["full"]), "--track", "track3", "--split", "val", "--jobs", "1", "--most", "0"]
    assert ensemble.main([*words, "--out", str(tmp_path / "both.zip")]) == 0
    metrics = read_json(tmp_path / "both" / "reports" / "track3" / "metrics.json")
    capsys.readouterr()
    steps = [f"{runs['plain']}:refined", str(tmp_path / "both")]
    assert cli.main(["ladder", *steps, "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["CAM,", "TAP,", "CRF", *lines[1].split()[3:]]
    assert lines[2].startswith("  + ensemble of 2 ")
    assert lines[-1] == str(tmp_path / "out" / "ladder.md")
    rows = list(csv.DictReader((tmp_path / "out" / "ladder.csv").read_text().splitlines()))
    assert float(rows[1]["peak_iou"]) == pytest.approx(metrics["peak_iou"], abs=1e-6)


def test_what_is_refused(runs: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SettingsError, match="expected at least two steps, got "):
        make_ladder([f"{runs['full']}:refined"])
    assert cli.main(["ladder", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "expected a checkout with a finished run" in capsys.readouterr().err
    other = make_checkout(tmp_path / "other", "track1")
    with pytest.raises(SettingsError, match=r"full:refined': 'track3', '.*other:refined': 'track1'}"):
        make_ladder([f"{runs['full']}:refined", f"{other}:refined"])


def test_a_file_in_place_of_the_folder_is_one_line(runs: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "x"):
        assert cli.main(["ladder", str(runs["full"]), "--out", str(out)]) == 1
        assert capsys.readouterr().err == f"{tmp_path / 'file'}: expected a folder, found a file\n"
