"""Files of results: each machine keeps its own, and the last one's rows are `results.json`."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.harness import Outcome
from benchmarks.machine import cpu_model, file_name, join_name, machine_name
from benchmarks.page import END, START, rewrite
from benchmarks.records import FOLDER, add_outcome, read_record, read_records, write_record
from benchmarks.works import WORKS
from pipeline.core.files import read_json

FIRST, SECOND = WORKS[0], WORKS[1]
ROW = ("work", "reference", "ratio", "spread", "reach", "machine")


def test_a_new_outcome_replaces_the_old_one_in_whatever_list_it_was(tmp_path: Path) -> None:
    record = read_record(tmp_path, "m")
    assert record == {"machine": "m", "results": [], "skipped": [], "failed": []}
    record = add_outcome(record, SECOND, Outcome(skipped="none here"), "cpu")
    record = add_outcome(record, FIRST, Outcome(failed="KeyError: 'x'"), "cpu")
    assert record["skipped"] == [{"work": SECOND.name, "reason": "none here"}]
    assert record["failed"] == [{"work": FIRST.name, "reason": "KeyError: 'x'"}]
    record = add_outcome(record, SECOND, Outcome((1.0, 3.0)), "cpu")
    record = add_outcome(record, FIRST, Outcome((2.0, 2.0)), "cpu")
    assert record["skipped"] == record["failed"] == []
    assert [(row["work"], row["ratio"]) for row in record["results"]] == [(FIRST.name, 2.0), (SECOND.name, 2.0)]
    assert tuple(record["results"][0]) == ROW


def test_results_of_a_work_that_is_gone_are_dropped() -> None:
    old = {"machine": "m", "results": [{"work": "gone"}], "skipped": [], "failed": [], "demo": {"train@track1": 1.0}}
    new = add_outcome(old, FIRST, Outcome((1.0, 1.0)), "cpu")
    assert [row["work"] for row in new["results"]] == [FIRST.name]
    assert new["demo"] == {"train@track1": 1.0}


def test_no_machine_overwrites_another(tmp_path: Path) -> None:
    one = add_outcome(read_record(tmp_path, "one"), FIRST, Outcome((1.0, 1.0)), "cpu")
    two = add_outcome(read_record(tmp_path, "two"), FIRST, Outcome((2.0, 2.0)), "cpu")
    write_record(tmp_path, one)
    write_record(tmp_path, two)
    assert read_records(tmp_path) == [one, two]
    assert read_json(tmp_path / "results.json") == two["results"]
    assert read_record(tmp_path, "one") == one


def test_machines_have_short_names() -> None:
    assert join_name("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", 8) == "Intel Core i7-8550U, 8 cores"
    assert join_name("AMD Ryzen 7 5800X 8-Core Processor", 16) == "AMD Ryzen 7 5800X, 16 cores"
    assert file_name("Intel Core i7-8550U, 8 cores") == "intel-core-i7-8550u-8-cores.json"
    assert cpu_model("processor\t: 0\n") == ""
    assert machine_name().endswith(("core", "cores"))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "performance.md"
    path.write_text(f"# Performance\n\n{START}\noutdated\n{END}\n\nafter\n")
    return path


def run(tmp_path: Path, page: Path, *words: str) -> int:
    return command.main([*words, "--results", str(tmp_path), "--page", str(page)])


def test_the_command_measures_keeps_and_shows(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {
        "peak_iou": Outcome((60.0, 61.0)), "confusion": Outcome((19.0, 18.0)), "crf_fast": Outcome(failed="E: x"),
        "extract_fp32": Outcome(skipped="no bf16"),
    }  # fmt: skip
    asked: list[Any] = []

    def call(work: Any, device: str, seconds: float) -> Outcome:
        asked.append((work.name, device, seconds))
        return outcomes[work.name]

    monkeypatch.setattr(command, "run_alone", call)
    assert run(tmp_path, page, "--only", ",".join(outcomes), "--seconds", "7") == 1  # one has failed
    assert asked == [(name, "cpu", 7.0) for name in ("extract_fp32", "crf_fast", "peak_iou", "confusion")]
    text = page.read_text()
    assert text.startswith("# Performance\n")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "outdated" not in text
    assert "**60.5** | 60.2 to 60.8 | 50 | yes |" in text
    assert "**18.5** | 18.2 to 18.8 | 20 | no |" in text
    assert "- `extract_fp32`: no bf16" in text
    assert "- `crf_fast`: E: x" in text
    assert capsys.readouterr().out.strip() in text
    assert run(tmp_path, page, "--only", "peak_iou") == 0  # the failure of another work is not this run's
    assert "- `crf_fast`: E: x" in page.read_text()


def test_the_demo_is_timed_if_asked_for(tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run_alone", lambda work, device, seconds: Outcome((1.0, 1.0)))
    monkeypatch.setattr(command, "demo_seconds", lambda: {"train@track1": 20.4, "train@track3": 21.0})
    assert run(tmp_path, page, "--only", "peak_iou", "--demo") == 0
    assert "both tracks: 41 s; train 41 s." in page.read_text()


def test_wrong_usage_is_refused(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, page, "--only", "crf") == 2
    assert "error: works: expected some of" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_page_without_its_marks_is_an_error() -> None:
    for text in ("", START, f"{END}\n{START}", f"{START}\n{START}\n{END}", f"{START}{END}{END}"):
        with pytest.raises(ValueError, match="once each, in this order"):
            rewrite(text, [])


def test_results_of_the_last_machine_are_those_of_its_file() -> None:
    rows = read_json(FOLDER / "results.json")
    assert rows
    (record,) = [one for one in read_records() if one["machine"] == rows[0]["machine"]]
    assert record["results"] == rows
    for row in rows:
        assert tuple(sorted(row)) == tuple(sorted(ROW))
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
