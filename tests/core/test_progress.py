"""Progress on a terminal, in a file, and in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.terminal import run_in_terminal

from pipeline.core import progress as module
from pipeline.core.progress import in_ci, line, note, progress

WORK = """
import time
from pipeline.core import progress as module
module.EVERY = 0.2
with module.progress(total=10, title="refine", done=4) as bar:
    for _ in range(6):
        time.sleep(0.1)
        bar.update(1)
    module.note(bar, "beside")
print("the end")
"""
CALL = [sys.executable, "-c", WORK]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **more}


@pytest.mark.parametrize(("columns", "width"), [(60, 60), (0, 80)])
def test_a_terminal_shows_a_bar_that_is_wiped_at_the_end(columns: int, width: int) -> None:
    shown, status = run_in_terminal(CALL, columns, environment=environment())
    assert status == 0
    drawn = [text for text in shown.split("\r") if text.startswith("refine:")]
    assert drawn[-1].startswith("refine: 100%")
    assert "10/10" in drawn[-1]
    assert "image/s" in drawn[-1]
    assert {len(text.rstrip("\n")) for text in drawn} <= {width, width - 1}
    *_, wiped, last = shown.split("\r")
    assert wiped.strip() == ""
    assert last == "the end\n"
    assert "beside\n" in shown


def test_a_file_gets_a_line_at_each_interval() -> None:
    done = subprocess.run(CALL, capture_output=True, text=True, env=environment(), check=True)
    *lines, beside = done.stderr.splitlines()
    assert (done.stdout, beside) == ("the end\n", "beside")
    assert 2 <= len(lines) < 10  # of 0.6 seconds or more, at 0.2 and later
    assert all(text.startswith("refine: ") and text.endswith(" to go") and "\r" not in text for text in lines)
    assert " of 10 images, " in lines[0]


def test_work_that_ends_within_the_interval_writes_nothing_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), title="check")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_in_ci_nothing_is_written_on_a_terminal_either() -> None:
    shown, status = run_in_terminal(CALL, environment=environment(CI="true"))
    assert (shown, status) == ("the end\n", 0)


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("", False), ("0", False), ("False", False)]
)
def test_what_counts_as_ci(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", value)
    assert in_ci() is expected
    monkeypatch.delenv("CI")
    assert in_ci() is False


def test_in_ci_work_is_counted_by_nobody_and_still_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    assert list(progress(range(3), title="check")) == [0, 1, 2]
    with progress(total=3, title="check") as bar:
        bar.update(3)
        bar.set_postfix(loss="0.5", refresh=False)


def test_a_note_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(total=3, title="check") as bar:
        note(bar, "epoch 1")
    assert capsys.readouterr() == ("", "epoch 1\n")


def test_the_rate_is_that_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    bar = progress(total=100, title="refine", done=90)
    bar.start_t -= 10
    bar.update(5)
    bar.display()
    bar.close()
    told = capsys.readouterr().err
    assert told.startswith("refine: 95 of 100 images, 95 %, 0.")
    assert told.endswith(" images/s, 00:10 to go\n")


@given(st.integers(1, 10**6), st.data())
def test_what_remains_follows_from_the_rate(total: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(1, total))
    text = line("x", "image", done, total, rate=2.0)
    minutes, seconds = divmod(int((total - done) / 2), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
    assert text == f"x: {done} of {total} images, {done / total * 100:.0f} %, 2 images/s, {left} to go"


def test_every_bar_of_the_project_is_this_one() -> None:
    """None of tqdm's own: it would draw in CI and in files."""
    modules = Path(module.__file__).parents[1].rglob("*.py")
    assert [path.name for path in modules if " tqdm(" in path.read_text(encoding="utf-8")] == ["progress.py"]
