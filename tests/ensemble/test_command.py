"""`lid ensemble` from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import ROOT

from pipeline import cli
from pipeline.core.store import Store

Checkouts = dict[str, tuple[Path, Path]]
Capture = pytest.CaptureFixture[str]


def words(runs: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    paths = [str(runs[0] / "data" / "track3"), f"second={runs[1]}"]
    return ["ensemble", *paths, "--track", "track3", "--split", "val", "--jobs", "1", "--out", str(out), *more]


def test_a_submission_its_record_and_its_page(maps: Checkouts, tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(words(maps["track3"], tmp_path / "both.zip", "--most", "2")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Peak IoU, 8 images, track3"
    assert lines[-1] == f"{tmp_path / 'both.zip'}: checked, 8 predictions"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "both.json", "both.zip"]
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [
        "compare.json", "data", "ensemble.json", "gallery", "images.csv", "index.html", "reports",
    ]  # fmt: skip


def test_programs_read_json(students: Checkouts, tmp_path: Path, capsys: Capture) -> None:
    more = ["--json", "--folder", str(tmp_path / "elsewhere"), "--weights", "1,0", "--limit", "0", "--most", "0"]
    assert cli.main(words(students["track3"], tmp_path / "both.zip", *more)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["parameters"], found["package"]["images"]) == (170, 8)
    report = json.loads((tmp_path / "elsewhere" / "ensemble.json").read_text())
    assert (report["of"], [one["weight"] for one in report["members"]]) == ("student", [1.0, 0.0])
    assert len(Store(tmp_path / "elsewhere" / "data" / "track3" / "refined" / "val")) == 8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--weights", "1,b"], "--weights: expected numbers with commas between them, such as 1,2, got '1,b'"),
        (["--weights", "1"], "--weights: expected 2 numbers of at least 0"),
        (["--of", "student"], "--of: expected runs with a student, got "),
        (["--limit", "100"], "expected fewer than 100 parameters of all networks together, got 120"),
        (["--split", "test"], "--split: expected images of split test, found none in the manifest of track3_a"),
    ],
)
def test_what_is_refused_is_one_message(
    maps: Checkouts, tmp_path: Path, more: list[str], message: str, capsys: Capture
) -> None:
    assert cli.main(words(maps["track3"], tmp_path / "both.zip", *more)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "both.zip").exists()


def test_wrong_usage_loads_no_library() -> None:
    code = "import sys; sys.modules.update(torch=None, numpy=None); from pipeline.cli import main; sys.exit(main())"
    for more, message in (
        (["a"], "expected at least two runs"),
        (["a", "b", "--weights", "1"], "--weights: expected 2"),
    ):
        given = [sys.executable, "-c", code, "ensemble", *more, "--track", "track3", "--out", "x.zip"]
        done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(message)


def test_the_zip_has_the_name_of_one(maps: Checkouts, tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(words(maps["track3"], tmp_path / "both")) == 1
    assert "both: expected a name that ends with .zip" in capsys.readouterr().err
