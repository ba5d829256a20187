"""The search from the command line: it resumes, reads split val alone, and writes a recipe."""

import csv
import json

import pytest
from support.helpers import RECIPE

from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.settings import read_params
from pipeline.experiments import search_scorer as searching
from pipeline.experiments.search import main
from pipeline.experiments.search_results import write_recipe
from pipeline.params.check import check

SMALL = ["--budget", "12", "--images", "3", "--jobs", "1"]


def _main(run, *more, out="found.yaml"):
    table = run.folder / "search.csv"
    return main([*run.arguments, "--out", str(run.folder / out), "--table", str(table), *SMALL, *more])


def _journal(run):
    return (run.folder / "data" / "search" / "journal.jsonl").read_text().splitlines()


def _rows(run):
    with (run.folder / "search.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_it_finds_settings_that_are_not_worse_and_writes_them_as_a_recipe(make_run, track):
    run = make_run(track)
    assert _main(run) == 0
    full = [row for row in _rows(run) if row["images"] == "6"]
    start = next(float(row["score"]) for row in full if row["phase"] == "start")
    assert float(full[0]["score"]) >= start  # the best one stands first
    assert full == sorted(full, key=lambda row: -float(row["score"]))
    chosen = check(run.folder / "found.yaml")[track]
    assert chosen["refine"].exponent == float(full[0]["refine.exponent"])
    before, after = read_params(run.params), read_params(run.folder / "found.yaml")
    other = "track3" if track == "track1" else "track1"
    assert after["tracks"][other] == before["tracks"][other]
    assert {key: value for key, value in after["tracks"][track].items() if key not in ("extract", "refine")} == {
        key: value for key, value in before["tracks"][track].items() if key not in ("extract", "refine")
    }


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


def test_a_second_run_measures_nothing_and_says_the_same(make_run, monkeypatch):
    run = make_run()
    _main(run)
    before, table = _journal(run), (run.folder / "search.csv").read_bytes()
    recipe = (run.folder / "found.yaml").read_bytes()
    monkeypatch.setattr(searching, "measure", lambda *_: pytest.fail("measured again"))
    _main(run)
    assert _journal(run) == before
    assert (run.folder / "search.csv").read_bytes() == table
    assert (run.folder / "found.yaml").read_bytes() == recipe


def test_a_killed_run_goes_on_where_it_stopped(make_run, monkeypatch):
    whole, killed = make_run(), make_run()  # the second call makes the same run again, in the same folder
    _main(whole)
    expected, scores = (whole.folder / "found.yaml").read_bytes(), _scores(whole)
    (whole.folder / "data" / "search" / "journal.jsonl").unlink()
    real, calls = searching.measure, []

    def dies(*words):
        calls.append(len(words[2]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(searching, "measure", dies)
    with pytest.raises(KeyboardInterrupt):
        _main(killed)
    done = len(_journal(killed))
    assert done == sum(calls[:2])
    with (killed.folder / "data" / "search" / "journal.jsonl").open("a") as stream:
        stream.write('{"key": "half a li')  # what a crash of the machine leaves
    calls.clear()
    monkeypatch.setattr(searching, "measure", lambda *words: calls.append(len(words[2])) or real(*words))
    _main(killed)
    assert len(_journal(killed)) == done + sum(calls)
    assert (killed.folder / "found.yaml").read_bytes() == expected
    assert _scores(killed) == scores


def _scores(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in _rows(run)]


def test_a_longer_budget_uses_the_trials_of_a_shorter_one(make_run):
    run = make_run()
    _main(run, "--budget", "8")
    short = len(_journal(run))
    _main(run, "--budget", "20")
    keys = [json.loads(line)["key"] for line in _journal(run)]
    assert len(keys) == len(set(keys))  # nothing was measured twice
    assert short < len(keys) < short + len(_rows(run))  # some of the longer run's trials were there


def test_no_file_of_split_test_is_opened(make_run):
    run = make_run(test=2)
    for path in (run.folder / "images").glob("test_*"):
        path.unlink()
    assert _main(run) == 0


def test_peaks_outside_the_window_are_not_chosen(make_run):
    run = make_run()
    _main(run, "--thresholds", "60", "200")
    rows = _rows(run)
    assert any(
        not 60 <= int(row["threshold"]) <= 200 for row in rows if row["images"] == "6"
    )  # there was something to refuse
    found = (run.folder / "found.yaml").read_text().splitlines()[0]
    allowed = [row for row in rows if row["images"] == "6" and 60 <= int(row["threshold"]) <= 200]
    assert float(found.split()[-4]) == pytest.approx(max(float(row["score"]) for row in allowed), abs=1e-4)


def test_truth_of_split_test_is_not_looked_at_even_where_there_is_some(make_run):
    run = make_run(val=6, test=2)
    path = run.folder / "data" / "manifest"
    manifest = read_manifest(path)
    rows = [
        {**row, "mask": row["mask"] or "none.png", "labels": row["labels"] or [0]} for row in manifest.table.to_pylist()
    ]
    write_manifest(path, from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    assert _main(run) == 0
    assert {row["images"] for row in _rows(run)} == {"3", "6"}


def test_other_maps_are_made_once_and_of_split_val_alone(make_run):
    run = make_run()
    for path in (run.folder / "images").glob("test_*"):
        path.unlink()
    parameters = [
        "--parameter",
        'extract.negative_weights=["keep", "clamp"]',
        "--parameter",
        "extract.flip=[true, false]",
    ]
    assert _main(run, *parameters, "--budget", "20") == 0
    made = sorted((run.folder / "data" / "search").glob("maps-*"))
    assert 1 <= len(made) <= 3
    stamps = [(folder / "val" / "index.json").stat().st_mtime_ns for folder in made]
    ids = json.loads((made[0] / "val" / "index.json").read_text())["shards"][0]["ids"]
    assert sorted(ids) == [f"val_{n}" for n in range(6)]
    (run.folder / "data" / "search" / "journal.jsonl").unlink()
    assert _main(run, *parameters, "--budget", "20") == 0
    assert [(folder / "val" / "index.json").stat().st_mtime_ns for folder in made] == stamps
    assert {row["extract.negative_weights"] for row in _rows(run)} == {"keep", "clamp"}


def test_another_truth_or_other_code_is_another_trial(make_run, monkeypatch):
    run = make_run()
    _main(run, "--budget", "2")
    before = len(_journal(run))
    monkeypatch.setattr(searching, "sha256", lambda path: "another")
    _main(run, "--budget", "2")
    assert len(_journal(run)) == 2 * before


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
