"""`lid compare` from the command line."""

import json
from pathlib import Path

import pytest

from pipeline import cli

Checkouts = dict[str, tuple[Path, Path]]
Capture = pytest.CaptureFixture[str]


def test_two_runs_on_one_page(checkouts: Checkouts, tmp_path: Path, capsys: Capture) -> None:
    plain, crf = checkouts["track3"]
    words = ["compare", f"plain={plain}", f"CRF={crf}", "--out", str(tmp_path / "out"), "--most", "3"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Peak IoU, 8 images, track3"
    assert lines[-1] == str(tmp_path / "out" / "index.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.json", "gallery", "images.csv", "index.html",
    ]  # fmt: skip
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "compare.json").read_text())
    metrics = [json.loads((root / "reports/track3/metrics.json").read_text()) for root in (plain, crf)]
    assert [run["score"] for run in found["runs"]] == pytest.approx([one["peak_iou"] for one in metrics])
    assert [run["interval"] for run in found["runs"]] == [one["peak_iou_interval"] for one in metrics]


def test_wrong_usage(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["compare", "one", "--out", str(tmp_path)]) == 1
    assert "expected at least two runs or zips to compare" in capsys.readouterr().err
    assert cli.main(["compare", "no", "nothing", "--out", str(tmp_path)]) == 1
    assert "no: expected a checkout with a finished run" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_one_line(checkouts: Checkouts, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["compare", *map(str, checkouts["track3"]), "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'file'}: expected a folder, found a file\n"
