"""The search from the command line: it resumes, reads split val alone, and writes a recipe."""

import csv
import os
import re
import subprocess
import sys
import time

import pytest
from support.helpers import ROOT

from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.settings import read_params
from pipeline.experiments.search import main
from pipeline.experiments.search_trials import Scoring
from pipeline.params.check import check

SMALL = ["--budget", "8", "--jobs", "1"]


@pytest.fixture
def search(make_run, tmp_path, monkeypatch):
    """Make a run, and a function that searches its settings, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def make(track="track3", **sizes):
        run = make_run(track, **sizes)
        return run, lambda *more: main([*run.arguments, "--out", "found.yaml", *SMALL, *more])

    return make


def _rows(track="track3"):
    with open(f"reports/{track}/search.csv", newline="") as stream:  # noqa: PTH123
        return list(csv.DictReader(stream))


def _scores():
    """The table without the times."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in _rows()]


@pytest.fixture
def count(monkeypatch):
    """The points that were scored, in order."""
    real, scored = Scoring.score, []

    def score(self, point):
        scored.append(point)
        return real(self, point)

    monkeypatch.setattr(Scoring, "score", score)
    return scored


@pytest.mark.parametrize("options", [["--budget", "0"], ["--images", "-5"], ["--budget", "x"]])
def test_numbers_out_of_range_are_wrong_usage(options):
    with pytest.raises(SystemExit) as stopped:
        main(["--track", "track3", "--out", "found.yaml", *options])
    assert stopped.value.code == 2


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_it_finds_settings_that_are_not_worse_and_writes_them_as_a_recipe(search, tmp_path, capsys, track):
    run, find = search(track)
    assert find() == 0
    rows = _rows(track)
    start = next(float(row["score"]) for row in rows if row["trial"] == "0")
    assert float(rows[0]["score"]) >= start  # the best one stands first
    assert rows == sorted(rows, key=lambda row: -float(row["score"]))
    assert {row["trial"] for row in rows} == {str(number) for number in range(8)}
    chosen = check(tmp_path / "found.yaml")[track]
    assert chosen["refine"].exponent == float(rows[0]["refine.exponent"])
    before, after = read_params(run.params), read_params(tmp_path / "found.yaml")
    other = "track3" if track == "track1" else "track1"
    assert after["tracks"][other] == before["tracks"][other]
    assert {key: value for key, value in after["tracks"][track].items() if key not in ("extract", "refine")} == {
        key: value for key, value in before["tracks"][track].items() if key not in ("extract", "refine")
    }
    page = (tmp_path / "reports" / track / "search.md").read_text()
    assert f"{start:.4f} → **{float(rows[0]['score']):.4f}**: 8 trials" in page
    assert page in capsys.readouterr().out


def test_five_trials_and_then_more_are_the_trials_of_one_run(search, count):
    run, find = search()
    find("--budget", "12")  # Optuna's sampler draws the first ten at random
    expected, trials = _scores(), len(count)
    (run.folder / "data" / "search" / "journal.log").unlink()
    count.clear()
    find("--budget", "5")
    assert _scores() == [row for row in expected if int(row["trial"]) < 5]
    for _ in range(2):
        find("--budget", "12")
        assert _scores() == expected
        assert len(count) == trials  # none was scored twice


@pytest.mark.slow
def test_a_killed_process_leaves_a_study_that_goes_on(search, tmp_path):
    run, find = search()
    find("--budget", "6")
    expected = _scores()
    journal = run.folder / "data" / "search" / "journal.log"
    journal.unlink()
    words = [*run.arguments, "--out", "found.yaml", *SMALL, "--budget", "6"]
    command = [sys.executable, "-m", "pipeline.experiments.search", *words]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while process.poll() is None and not (journal.is_file() and journal.read_text().count('"threshold"') >= 2):
        time.sleep(0.005)
    while journal.with_name("journal.log.lock").is_symlink() and process.poll() is None:
        pass  # Optuna waits half a minute for the lock of a process that is gone
    process.kill()
    process.wait()
    assert find("--budget", "6") == 0
    assert _scores() == expected


def test_no_file_of_split_test_is_opened(search):
    run, find = search(test=2)
    for path in (run.folder / "images").glob("test_*"):
        path.unlink()
    assert find() == 0


def test_peaks_outside_the_window_are_not_chosen(search, tmp_path):
    _, find = search()
    find("--thresholds", "60", "200")
    rows = _rows()
    assert any(not 60 <= int(row["threshold"]) <= 200 for row in rows)  # there was something to refuse
    found = (tmp_path / "found.yaml").read_text().splitlines()[0]
    allowed = [row for row in rows if 60 <= int(row["threshold"]) <= 200]
    assert float(re.search(r"track3: ([\d.]+) on", found)[1]) == pytest.approx(
        max(float(row["score"]) for row in allowed), abs=1e-4
    )


def test_truth_of_split_test_is_not_looked_at_even_where_there_is_some(search):
    run, find = search(val=6, test=2)
    path = run.folder / "data" / "manifest"
    manifest = read_manifest(path)
    rows = [
        {**row, "mask": row["mask"] or "none.png", "labels": row["labels"] or [0]} for row in manifest.table.to_pylist()
    ]
    write_manifest(path, from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    assert find() == 0
    assert {row["images"] for row in _rows()} == {"6"}


def test_levels_of_other_maps_are_tried(search):
    run, find = search()
    for path in (run.folder / "images").glob("test_*"):
        path.unlink()
    levels = ['extract.negative_weights=["keep", "clamp"]', "extract.flip=[true, false]"]
    assert find(*(word for level in levels for word in ("--parameter", level))) == 0
    assert {row["extract.negative_weights"] for row in _rows()} == {"keep", "clamp"}
    assert {row["extract.flip"] for row in _rows()} == {"true", "false"}


def test_a_key_that_is_fixed_on_the_command_line_is_a_change_of_the_recipe(search, tmp_path):
    run, find = search()
    assert read_params(run.params)["tracks"]["track3"]["extract"]["percentile"] == 90.0
    assert find("--budget", "2", "--parameter", "extract.percentile=[95]") == 0
    assert "| extract.percentile | 90.0 | 95.0 |" in (tmp_path / "reports" / "track3" / "search.md").read_text()
    assert read_params(tmp_path / "found.yaml")["tracks"]["track3"]["extract"]["percentile"] == 95.0


def test_maps_of_other_params_are_refused(search, capsys):
    run, find = search()
    run.params.write_text(run.params.read_text().replace("percentile: 90.0", "percentile: 95.0"))
    assert find() == 1
    assert "expected maps scaled at percentile 95" in capsys.readouterr().err


@pytest.mark.parametrize(("parameter", "message"), [
    ("refine.exponent", "expected KEY="),
    ("refine.exponent=0.5", "expected a list of levels"),
    ("refine.exponent=[]", "expected a list of levels"),
    ("exponent=[1]", "expected one of"),
])  # fmt: skip
def test_a_parameter_that_makes_no_sense_is_refused(search, capsys, parameter, message):
    _, find = search()
    assert find("--parameter", parameter) == 1
    assert message in capsys.readouterr().err


def test_val_without_truth_is_refused(search, capsys):
    _, find = search(val=0)
    assert find() == 1
    assert "expected val images with usable truth" in capsys.readouterr().err
