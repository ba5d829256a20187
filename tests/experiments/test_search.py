"""The search from the command line: it resumes, reads split val alone, and writes a recipe."""

import csv
import os
import re
import subprocess
import sys
import time

import pytest
from support.helpers import RECIPE, ROOT

from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.settings import read_params
from pipeline.core.tracks import get_track
from pipeline.experiments.search import Search, main, run_search
from pipeline.experiments.search_results import Result, along, best_of, changes, write_recipe
from pipeline.experiments.search_space import Space, make_space
from pipeline.experiments.search_trials import Run, Score, Scoring
from pipeline.params.check import check

SMALL = ["--budget", "8", "--jobs", "1"]


def _main(run, *more, out="found.yaml"):
    table = run.folder / "search.csv"
    return main([*run.arguments, "--out", str(run.folder / out), "--table", str(table), *SMALL, *more])


def _rows(run):
    with (run.folder / "search.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _scores(run):
    """The table without the times."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in _rows(run)]


@pytest.fixture
def count(monkeypatch):
    """The points that were scored, in order."""
    real, scored = Scoring.score, []

    def score(self, point):
        scored.append(point)
        return real(self, point)

    monkeypatch.setattr(Scoring, "score", score)
    return scored


@pytest.mark.parametrize("options", [["--budget", "0"], ["--images", "-5"]])
def test_numbers_out_of_range_are_wrong_usage(options, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--track", "track3", "--out", "found.yaml", *options])
    assert stopped.value.code == 2
    assert "invalid whole number from" in capsys.readouterr().err


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_it_finds_settings_that_are_not_worse_and_writes_them_as_a_recipe(make_run, track):
    run = make_run(track)
    assert _main(run) == 0
    rows = _rows(run)
    start = next(float(row["score"]) for row in rows if row["trial"] == "0")
    assert float(rows[0]["score"]) >= start  # the best one stands first
    assert rows == sorted(rows, key=lambda row: -float(row["score"]))
    assert {row["trial"] for row in rows} == {str(number) for number in range(8)}
    chosen = check(run.folder / "found.yaml")[track]
    assert chosen["refine"].exponent == float(rows[0]["refine.exponent"])
    before, after = read_params(run.params), read_params(run.folder / "found.yaml")
    other = "track3" if track == "track1" else "track1"
    assert after["tracks"][other] == before["tracks"][other]
    assert {key: value for key, value in after["tracks"][track].items() if key not in ("extract", "refine")} == {
        key: value for key, value in before["tracks"][track].items() if key not in ("extract", "refine")
    }
    page = (run.folder / "search.md").read_text()
    assert f"{start:.4f} → **{float(rows[0]['score']):.4f}**: 8 trials" in page


def test_a_recipe_keeps_comments_and_what_did_not_change(tmp_path):
    text = RECIPE.read_text()
    old = read_params(RECIPE)["tracks"]["track3"]
    point = {"extract.percentile": old["extract"]["percentile"], "refine.crf.iterations": 7, "refine.exponent": 3.0}
    write_recipe(RECIPE, "track3", point, tmp_path / "out.yaml", "a note")
    written = (tmp_path / "out.yaml").read_text()
    assert written.startswith(f"# a note\n{text[:40]}")
    changed = [
        (a.strip(), b.strip()) for a, b in zip(text.splitlines(), written.splitlines()[1:], strict=True) if a != b
    ]
    expected = {
        (f"exponent: {old['refine']['exponent']}", "exponent: 3.0"),
        (f"iterations: {old['refine']['crf']['iterations']}", "iterations: 7"),
    }
    assert set(changed) == expected


def test_the_ends_of_two_parameters_are_switches_of_the_recipe():
    start = make_space(read_params(RECIPE)["tracks"]["track3"], get_track("track3"), {}).start
    written = changes({**start, "extract.percentile": 100.0, "refine.crf.iterations": 0})
    assert written["extract.scale"] == "max"
    assert written["refine.crf.enabled"] is False
    assert not {"extract.percentile", "refine.crf.iterations", "refine.crf.bilateral.compat"} & written.keys()


def _result(number, level, score, value=None):
    return Result(number, {"a": level}, score, None, score if value is None else value, 1.0)


def test_on_a_tie_the_recipe_stays_and_what_is_not_allowed_does_not_win():
    assert best_of([_result(2, 3, 0.5), _result(0, 1, 0.5), _result(1, 2, 0.9, value=-0.1)]).number == 0
    assert best_of([_result(0, 1, 0.5), _result(3, 2, 0.6), _result(2, 2, 0.6)]).number == 2


def test_a_parameter_is_shown_with_the_best_score_of_each_level():
    results = [_result(0, 1, 0.5), _result(1, 2, 0.4), _result(2, 2, 0.6), _result(3, 1, 0.1)]
    assert along(results, Space({"a": (1, 2, 4)}, {"a": 1}), "a") == [(1, 0.5), (2, 0.6)]


def test_five_trials_and_then_more_are_the_trials_of_one_run(make_run, count):
    run = make_run()
    _main(run, "--budget", "12")  # Optuna's sampler draws the first ten at random
    expected, trials = _scores(run), len(count)
    (run.folder / "data" / "search" / "journal.log").unlink()
    count.clear()
    _main(run, "--budget", "5")
    assert _scores(run) == [row for row in expected if int(row["trial"]) < 5]
    for _ in range(2):
        _main(run, "--budget", "12")
        assert _scores(run) == expected
        assert len(count) == trials  # none was scored twice


class Hill:
    """In place of `Scoring`: highest at a = 5, b = 2, c = 1."""

    key, images = "hill", 1

    def __init__(self, scratch, fails_at=None):
        self.run = Run(*[scratch] * 6)
        self.fails_at, self.asked = fails_at, []

    def score(self, point):
        self.asked.append(point)
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        return Score(1.0 - (point["a"] - 5) ** 2 / 50 - (point["b"] - 2) ** 2 / 50 - 0.1 * (1 - point["c"]), None)


SPACE = Space({"a": tuple(range(9)), "b": tuple(range(9)), "c": (0, 1)}, {"a": 0, "b": 8, "c": 0})


def _search(folder, sampler="tpe", seed=0, **more):
    folder.mkdir(exist_ok=True)
    return Search(Hill(folder, **more), SPACE, sampler, seed, (0, 255))


def _asked(results):
    return [(result.number, result.point, result.score) for result in results]


def test_the_first_trial_is_the_recipe_and_the_sampler_finds_the_top_of_a_hill(tmp_path):
    results = run_search(_search(tmp_path), budget=40, minutes=0, jobs=1)
    assert results[0].point == SPACE.start
    assert best_of(results).score > 0.95
    random = run_search(_search(tmp_path, "random"), budget=40, minutes=0, jobs=1)
    late = [sum(result.score for result in some[20:]) for some in (results, random)]
    assert late[0] > late[1]  # what was learned from the first trials


def test_a_point_that_was_scored_is_not_scored_again(tmp_path):
    search = _search(tmp_path)
    results = run_search(search, budget=40, minutes=0, jobs=1)
    points = [tuple(result.point.values()) for result in results]
    assert len(search.scoring.asked) == len(set(points)) < len(points)


def test_the_seed_decides(tmp_path):
    first, same, other = (
        run_search(_search(tmp_path / name, seed=seed), budget=8, minutes=0, jobs=1)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert _asked(first) == _asked(same) != _asked(other)


def test_a_longer_budget_has_the_trials_of_a_shorter_one(tmp_path):
    whole = run_search(_search(tmp_path / "whole", "random"), budget=12, minutes=0, jobs=1)
    parts = [run_search(_search(tmp_path / "parts", "random"), budget, 0, jobs=1) for budget in (5, 12, 5)]
    assert [_asked(part) for part in parts] == [_asked(whole[:5]), _asked(whole), _asked(whole[:5])]


@pytest.mark.parametrize("at", [1, 7, 14])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path, at):
    whole = run_search(_search(tmp_path / "whole"), budget=16, minutes=0, jobs=1)
    with pytest.raises(KeyboardInterrupt):
        run_search(_search(tmp_path / "cut", fails_at=at), budget=16, minutes=0, jobs=1)
    assert _asked(run_search(_search(tmp_path / "cut"), budget=16, minutes=0, jobs=1)) == _asked(whole)


def test_several_processes_share_the_trials(tmp_path):
    results = run_search(_search(tmp_path), budget=9, minutes=0, jobs=2)
    assert [result.number for result in results] == list(range(9))
    assert results[0].point == SPACE.start


def test_when_the_time_is_over_no_trial_begins(tmp_path):
    assert len(run_search(_search(tmp_path), budget=9, minutes=1e-9, jobs=1)) == 1  # the recipe has a score


def test_half_a_line_of_the_journal_is_cut_off(tmp_path):
    whole = run_search(_search(tmp_path), budget=3, minutes=0, jobs=1)
    with (tmp_path / "journal.log").open("a") as stream:
        stream.write('{"op_code": 4, "wor')  # what a crash of the machine leaves
    for _ in range(2):  # the first call would append to it, the second could not read it
        assert _asked(run_search(_search(tmp_path), budget=4, minutes=0, jobs=1))[:3] == _asked(whole)


@pytest.mark.slow
def test_a_killed_process_leaves_a_study_that_goes_on(make_run):
    run = make_run()
    _main(run, "--budget", "6")
    expected = _scores(run)
    journal = run.folder / "data" / "search" / "journal.log"
    journal.unlink()
    words = [*run.arguments, "--out", str(run.folder / "o.yaml"), "--table", str(run.folder / "search.csv"), *SMALL]
    command = [sys.executable, "-m", "pipeline.experiments.search", *words, "--budget", "6"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while process.poll() is None and not (journal.is_file() and journal.read_text().count('"result"') >= 2):
        time.sleep(0.005)
    while journal.with_name("journal.log.lock").is_symlink() and process.poll() is None:
        pass  # Optuna waits half a minute for the lock of a process that is gone
    process.kill()
    process.wait()
    assert _main(run, "--budget", "6") == 0
    assert _scores(run) == expected


def test_no_file_of_split_test_is_opened(make_run):
    run = make_run(test=2)
    for path in (run.folder / "images").glob("test_*"):
        path.unlink()
    assert _main(run) == 0


def test_peaks_outside_the_window_are_not_chosen(make_run):
    run = make_run()
    _main(run, "--thresholds", "60", "200")
    rows = _rows(run)
    assert any(not 60 <= int(row["threshold"]) <= 200 for row in rows)  # there was something to refuse
    found = (run.folder / "found.yaml").read_text().splitlines()[0]
    allowed = [row for row in rows if 60 <= int(row["threshold"]) <= 200]
    assert float(re.search(r"track3: ([\d.]+) on", found)[1]) == pytest.approx(
        max(float(row["score"]) for row in allowed), abs=1e-4
    )


def test_truth_of_split_test_is_not_looked_at_even_where_there_is_some(make_run):
    run = make_run(val=6, test=2)
    path = run.folder / "data" / "manifest"
    manifest = read_manifest(path)
    rows = [
        {**row, "mask": row["mask"] or "none.png", "labels": row["labels"] or [0]} for row in manifest.table.to_pylist()
    ]
    write_manifest(path, from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    assert _main(run) == 0
    assert {row["images"] for row in _rows(run)} == {"6"}


def test_levels_of_other_maps_are_tried(make_run):
    run = make_run()
    for path in (run.folder / "images").glob("test_*"):
        path.unlink()
    levels = ['extract.negative_weights=["keep", "clamp"]', "extract.flip=[true, false]"]
    assert _main(run, *(word for level in levels for word in ("--parameter", level))) == 0
    assert {row["extract.negative_weights"] for row in _rows(run)} == {"keep", "clamp"}
    assert {row["extract.flip"] for row in _rows(run)} == {"true", "false"}


def test_maps_of_other_params_are_refused(make_run, capsys):
    run = make_run()
    run.params.write_text(run.params.read_text().replace("percentile: 90.0", "percentile: 95.0"))
    assert _main(run) == 1
    assert "expected maps scaled at percentile 95" in capsys.readouterr().err


@pytest.mark.parametrize(("parameter", "message"), [
    ("refine.exponent", "expected key="),
    ("refine.exponent=0.5", "expected key="),
    ("refine.exponent=[]", "expected key="),
    ("exponent=[1]", "expected one of"),
])  # fmt: skip
def test_a_parameter_that_makes_no_sense_is_refused(make_run, capsys, parameter, message):
    assert _main(make_run(), "--parameter", parameter) == 1
    assert message in capsys.readouterr().err


def test_val_without_truth_is_refused(make_run, capsys):
    run = make_run(val=0)
    assert _main(run) == 1
    assert "expected val images with usable truth" in capsys.readouterr().err
