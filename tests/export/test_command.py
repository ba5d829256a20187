"""`lid export` from the command line."""

import json
from pathlib import Path

import pytest
from support.prediction import Finished

from pipeline import cli

Capture = pytest.CaptureFixture[str]


def test_the_command_says_what_it_wrote(runs: dict[str, Finished], tmp_path: Path, capsys: Capture) -> None:
    words = ["export", str(runs["track3"].folder), "--format", "csv", "--format", "coco", "--out", str(tmp_path)]
    assert cli.main([*words, "--threshold", "0", "--min-area", "3000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "8 images, 5 instances, 3 smaller ones left out; threshold 0 (given)", f"{tmp_path}/coco", f"{tmp_path}/csv",
    ]  # fmt: skip
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["left_out"], found["folders"]) == (8, 0, [f"{tmp_path}/coco", f"{tmp_path}/csv"])


def test_errors_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["export", str(tmp_path / "no"), "--format", "csv", "--out", str(tmp_path)]) == 1
    assert "no: expected the folder of a finished run" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", "x", "--format", "xml", "--out", "y"])
    assert stopped.value.code == 2
