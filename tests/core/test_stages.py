"""What a stage prints at its start and end."""

from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML
from support.helpers import ROOT

from pipeline.core.stages import MOST_LINES, SECONDS, STAGES, begin, read_seconds, record_seconds


def test_the_stages_are_those_of_the_chain_in_order() -> None:
    chain = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    assert tuple(chain) == STAGES


@pytest.mark.parametrize(
    ("running", "first"),
    [
        (None, "track1, stage 6 of 8: evaluate"),
        ("evaluate@track1", "track1, stage 6 of 8: evaluate"),
        ("evaluate-tap-seed0", "track1: evaluate"),
    ],
)
def test_a_stage_has_a_line_at_its_start_and_three_at_most_at_its_end(
    running: str | None, first: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if running:
        monkeypatch.setenv("DVC_STAGE", running)
    monkeypatch.chdir(tmp_path)
    begun = begin("evaluate", "track1")
    begun.end("what", "how good", None, "where", "more")
    assert capsys.readouterr().out.splitlines() == [first, "what (00:00)", "how good", "where"]
    assert MOST_LINES == 3


def test_tables_take_memory_of_the_system(capsys: pytest.CaptureFixture[str]) -> None:
    begin("evaluate", "track1")
    assert pa.default_memory_pool().backend_name == "system"


def test_in_ci_the_end_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.delenv("DVC_STAGE", raising=False)
    begin("train", "track3").end("what", "how good", "where")
    assert capsys.readouterr().out.splitlines() == ["track3, stage 2 of 8: train", "what (00:00)"]


@pytest.mark.parametrize("running", [None, "train@track1", "train-tap-seed0", "train@track3"])
def test_seconds_are_recorded_in_a_run_of_the_chain_alone(
    running: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if running:
        monkeypatch.setenv("DVC_STAGE", running)
    begin("train", "track3").end("what")
    found = read_seconds(tmp_path / "data" / "track3")
    assert found.keys() == ({"train"} if running == "train@track3" else set())
    assert (tmp_path / "data").exists() == (running == "train@track3")


def test_each_stage_keeps_its_last_seconds(tmp_path: Path) -> None:
    for stage, seconds in (("train", 1.26), ("refine", 7.0), ("train", 3.04)):
        record_seconds(tmp_path, stage, seconds)
    assert read_seconds(tmp_path) == {"refine": 7.0, "train": 3.0}
    assert [path.name for path in tmp_path.iterdir()] == [SECONDS]
