"""Records of finished ablations, and the page that is made of them alone."""

from dataclasses import replace

import pytest
from support.helpers import ROOT
from support.record import RESULTS, ablation_results

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import Machine
from pipeline.experiments.method_numbers import methods_lines
from pipeline.experiments.numbers import ablation_record, add, main, read_records, render


@pytest.fixture
def record(make_run, tmp_path):
    return ablation_record(ablation_results(tmp_path / "ablation", make_run().params), "My set")


def test_an_ablation_keeps_its_own_commit_machine_and_time(record, tmp_path) -> None:
    assert record.command == "make ablation RECIPE=recipes/a.yaml TRACK=track3 SEEDS=0,1 SET=train.epochs=2"
    assert (record.seconds, record.code.commit, record.seeds) == (120, "abc", (0, 1))
    assert record.machine == Machine("slow", 2, None, "Linux")
    assert record.params["extract"]["percentile"] == 90.0
    path = add(record, tmp_path / "records")
    assert path.name == "my-set-track3-ablation.json"
    assert "/tmp" not in path.read_text()
    values = read_json(path)["results"]
    assert values["images"] == 6
    assert not {"seeds", "track", "recipe", "changes"} & values.keys()  # they stand beside the results
    assert read_records(path.parent) == [record]


@pytest.mark.parametrize(
    ("changes", "grid", "words"),
    [
        ({}, False, ""),
        ({"train.epochs": 2}, False, " SET=train.epochs=2"),
        ({"extract.sizes": [320], "train.flip": True}, True, " SET='extract.sizes=[320] train.flip=true' GRID=1"),
    ],
)
def test_changes_and_the_grid_are_repeated(make_run, tmp_path, changes, grid, words) -> None:
    folder = ablation_results(tmp_path / "a-track3", make_run().params)
    results = read_json(folder / "results.json")
    if grid:
        results["groups"]["grid"] = results["groups"]["additive"]
    write_json(folder / "results.json", {**results, "changes": changes})
    assert ablation_record(folder, "a").command == f"make ablation RECIPE=recipes/a.yaml TRACK=track3 SEEDS=0,1{words}"


@pytest.mark.parametrize(
    ("folder", "words"),
    [("a-track3", ""), ("a-trained-track3", "NAME=a-trained "), ("my folder-track3", "NAME='my folder' ")],
)
def test_a_variant_is_repeated_in_its_own_folder(make_run, tmp_path, folder: str, words: str) -> None:
    record = ablation_record(ablation_results(tmp_path / folder, make_run().params), "a set")
    assert record.command.startswith(f"make ablation RECIPE=recipes/a.yaml TRACK=track3 SEEDS=0,1 {words}SET=")


def test_absolute_roots_are_cut(make_run, tmp_path) -> None:
    run = make_run()
    run.params.write_text(run.params.read_text().replace("root: data/raw/folder", f"root: {run.folder}/photos"))
    record = ablation_record(ablation_results(tmp_path / "ablation", run.params), "a")
    assert record.params["preprocess"]["source"]["root"] == "…/photos"


def test_what_was_not_recorded_is_said(make_run, tmp_path) -> None:
    folder = ablation_results(tmp_path / "ablation", make_run().params)
    (folder / "timings.json").unlink()
    (folder / "run.json").unlink()
    record = ablation_record(folder, "a")
    assert record.seconds is None
    assert record.machine.cores is not None  # of today
    assert "duration not recorded" in render([record])


def test_an_unfinished_ablation_is_an_error(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"results\.json: expected a file, found none"):
        ablation_record(tmp_path, "a set")


def test_a_record_of_the_same_name_replaces_the_older_one(record, tmp_path) -> None:
    for seconds in (1, 2):
        add(replace(record, seconds=seconds), tmp_path / "records")
    (found,) = read_records(tmp_path / "records")
    assert found.seconds == 2


def test_the_order_is_that_of_track_and_name(record, tmp_path) -> None:
    for name, track in (("b", "track3"), ("a", "track3"), ("c", "track1")):
        add(replace(record, name=name, track=track), tmp_path / "records")
    found = [(one.track, one.name) for one in read_records(tmp_path / "records")]
    assert found == [("track1", "c"), ("track3", "a"), ("track3", "b")]


def test_committed_records_are_the_same_after_reading_and_writing(tmp_path) -> None:
    for record in read_records(ROOT / "docs" / "numbers"):
        path = add(record, tmp_path)
        assert path.read_bytes() == (ROOT / "docs" / "numbers" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [({"a": 1}, r"other\.json: name: expected Record"), ({"kind": "chain", "name": "a"}, r"other\.json: kind: ")],
)
def test_other_files_are_refused(tmp_path, values, message) -> None:
    write_json(tmp_path / "other.json", values)
    with pytest.raises(StoreError, match=message):
        read_records(tmp_path)


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_shows_numbers_command_commit_seeds_duration_machine_and_params(record) -> None:
    page = render([record])
    for text in (
        "| [My set](#my-set-track3-ablation), ablation | track3 | "
        "peak IoU 0.5000 ± 0.0100 → 0.5000 ± 0.0100 | 0, 1 | `abc` |",
        "\n## My set, track3, ablation\n\n6 images of split val.\n\n**Parts added one after another**\n",
        "| + TAP | ✓ | ✓ | ✓ | ✓ | 0.5000 ± 0.0100 | 0.5000 |",
        "\nBaselines: everything foreground 0.2500. Classification accuracy with GAP 0.5000 ± 0.0100.\n",
        "| P3 channels whose maxima share one cell | 0.500 ± 0.010 |",
        f"\n```\n{record.command}\n```\n",
        "seeds 0, 1; duration 2 min",
        "- machine: slow, 2 cores, Linux",
        "percentile: 90.0",
    ):
        assert text in page
    assert render([record]) == page


@pytest.mark.parametrize(
    ("commit", "changed", "words"),
    [(None, None, "commit unknown"), ("abc", True, "commit `abc` with changes"), ("abc", False, "commit `abc`")],
)
def test_commits_are_said(record, commit, changed, words) -> None:
    assert f"- {words}; " in render([replace(record, code=replace(record.code, commit=commit, changed=changed))])


def test_numbers_that_are_not_known_leave_no_words(record) -> None:
    page = render([replace(record, results=replace(RESULTS, baselines={}, classification_accuracy={}, why={}))])
    assert "Baselines" not in page
    assert "accuracy with" not in page
    assert "**Diagnostics**" not in page


def test_the_command_adds_a_record_and_writes_the_page(make_run, tmp_path, monkeypatch) -> None:
    ablation_results(tmp_path / "butterflies-track3", make_run().params)
    monkeypatch.chdir(tmp_path)
    assert main(["ablation", "butterflies-track3"]) == 0
    assert (tmp_path / "docs/numbers/butterflies-track3-ablation.json").is_file()
    assert (tmp_path / "docs/numbers.md").read_text() == render(read_records(tmp_path / "docs/numbers"))


def test_no_records_are_said(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["render"]) == 1
    assert "found none" in capsys.readouterr().err


def test_the_page_in_the_repository_is_that_of_the_records() -> None:
    page = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
    records = ROOT / "docs" / "numbers"
    assert page == render(read_records(records), methods_lines(records)), "run make numbers"
