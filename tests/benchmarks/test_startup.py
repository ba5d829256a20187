"""What a user waits for: the times are those of the work, and an error is no time."""

from pathlib import Path

import pytest
from support.checkout import ROOT

from benchmarks import startup
from benchmarks.demo import copy_project
from benchmarks.startup import outs, ratios, rounds, seconds


def test_the_first_round_is_dropped_and_rounds_are_interleaved() -> None:
    called: list[str] = []

    def clock(name: str, value: float):  # type: ignore[no-untyped-def]
        return lambda: called.append(name) or value

    assert rounds([clock("a", 1.0), clock("b", 2.0)], 2) == [[1.0, 2.0], [1.0, 2.0]]
    assert called == ["a", "b"] * 3
    assert ratios([[1.0, 2.0], [3.0, 2.0]], 1) == [0.5, 1.5]


def test_seconds_are_those_of_the_child() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    assert 0.45 < seconds(["-c", busy]) < 5
    assert seconds(["-c", "import time; time.sleep(1)"]) < 0.5  # waiting is no work
    with pytest.raises(RuntimeError, match="got 1, "):
        seconds(["-c", "raise SystemExit(1)"])


def test_a_chain_that_still_has_something_to_do_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="Running stage"):
        seconds(["-c", "print(\"Running stage 'train@track1':\")"])


def test_help_prints_help() -> None:
    with pytest.raises(RuntimeError, match="usage: lid"):
        seconds(["-c", f"try:\n    {startup.HELP}\nexcept SystemExit:\n    print('Running stage')"])


def test_outs_are_those_of_both_tracks() -> None:
    found = outs()
    assert len(found) == len(set(found))
    assert {"data/track1/maps/val", "data/track3/model", "submissions/track1.zip"} <= set(found)
    assert not [out for out in found if "$" in out]


def test_the_copy_is_a_project_of_its_own(tmp_path: Path) -> None:
    copy_project(tmp_path)
    assert (tmp_path / "dvc.yaml").read_text() == (ROOT / "dvc.yaml").read_text()
    assert (tmp_path / ".dvc").is_dir()
    assert not list(tmp_path.rglob("__pycache__"))
    assert not (tmp_path / "data" / "track1").exists()
