"""A new key goes into every params file at its place, and nothing else changes."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.helpers import ROOT

from pipeline.core.errors import SettingsError
from pipeline.core.settings import read_params
from pipeline.params.add_key import add_key, main

TEXT = """tracks:
  track1:
    train:
      epochs: 60 # of the head
      schedule:
        name: cosine
        steps: []

    report: {images: 24}
  track3:
    train:
      epochs: 2
"""


def test_a_key_follows_the_one_that_is_named_or_the_last_and_its_comment_stands_once() -> None:
    assert add_key(TEXT, Path("p.yaml"), "train.ema", 0.0, "epochs", "0: off").splitlines() == [
        *TEXT.splitlines()[:4],
        "      ema: 0.0 # 0: off",
        *TEXT.splitlines()[4:],
        "      ema: 0.0",
    ]
    lines = add_key(TEXT, Path("p.yaml"), "train.ema", None).splitlines()
    assert lines.index("      ema:") == 7  # behind the block of the last key, before the blank line
    assert lines[8] == ""


def test_a_list_is_added_in_the_form_that_dvc_writes() -> None:
    added = add_key(TEXT, Path("p.yaml"), "train.ema", [0.9, 0.99], "epochs", "two")
    assert added.splitlines()[4:7] == ["      ema: # two", "      - 0.9", "      - 0.99"]


@pytest.mark.parametrize(
    ("key", "after", "message"),
    [
        ("train.epochs", None, "tracks.track1.train.epochs: expected a new key, found it already"),
        ("train.ema", "epoch", "expected a section without braces that has the key 'epoch', found"),
        ("report.width", None, "tracks.track1.report: expected a section without braces"),
        ("student.epochs", None, "tracks.track1.student: expected a section"),
    ],
)
def test_what_cannot_be_added_is_refused(key: str, after: str | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        add_key(TEXT, Path("p.yaml"), key, 1, after)


def test_a_list_below_a_key_stays_whole() -> None:
    """As ruamel.yaml writes it, hence every file that a program has written."""
    text = "tracks:\n  track1:\n    extract:\n      splits:\n      - val\n      - test\n      flip: true\n"
    added = add_key(text, Path("p.yaml"), "extract.width", 3, "splits")
    assert added == text.replace("- test\n", "- test\n      width: 3\n")


@pytest.mark.parametrize("value", ['"first\n    second"', "\n      # of both\n      - val"])
def test_a_layout_that_would_break_is_refused(value: str) -> None:
    text = f"tracks:\n  track1:\n    train:\n      note: {value}\n"
    assert YAML(typ="safe", pure=True).load(text)["tracks"]["track1"]["train"]["note"] in ("first second", ["val"])
    with pytest.raises(
        SettingsError, match=r"p\.yaml: tracks\.track1\.train\.ema: expected the key in the new text, found none"
    ):
        add_key(text, Path("p.yaml"), "train.ema", 1)


def test_all_shipped_files_take_a_key_in_both_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    assert main(["refine.crf.tolerance", "auto", "--after", "enabled"]) == 0
    files = [Path("params.yaml"), *sorted(Path("recipes").glob("*.yaml"))]
    assert capsys.readouterr().out.split() == [str(path) for path in files]
    for path in files:
        before = (ROOT / path).read_text().splitlines()
        after = path.read_text().splitlines()
        assert [line for line in after if line.strip() != "tolerance: auto"] == before
        for sections in read_params(path)["tracks"].values():
            assert list(sections["refine"]["crf"])[:2] == ["enabled", "tolerance"]
    assert main(["refine.crf.tolerance", "auto"]) == 1  # a second time
    assert "expected a new key" in capsys.readouterr().err


def test_a_file_without_tracks_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"p\.yaml: tracks: expected one of \['track1', 'track3'\], found none"):
        add_key("x: 1\n", Path("p.yaml"), "train.ema", 1)


def test_line_ends_stay_and_a_comment_is_one_line() -> None:
    text = add_key(TEXT.replace("\n", "\r\n"), Path("p.yaml"), "train.ema", 1, "epochs", "0:\noff")
    assert text == add_key(TEXT, Path("p.yaml"), "train.ema", 1, "epochs", "0: off").replace("\n", "\r\n")
