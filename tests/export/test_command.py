"""`lid export` from the command line."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from support.prediction import Finished

from pipeline import cli
from pipeline.core.images import read_mask


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


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


def test_predict_writes_the_formats_beside_its_masks(
    runs: dict[str, Finished], tmp_path: Path, capsys: Capture
) -> None:
    run = runs["track1"]
    words = ["predict", str(run.folder), *map(str, run.images[:3]), "--out", str(tmp_path), "--device", "cpu"]
    assert cli.main([*words, "--format", "voc", "--format", "csv", "--class", "cow", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["exported"]["images"]) == (3, 3)
    assert found["exported"]["instances"] == found["instances"] == len(read_rows(tmp_path / "csv/instances.csv"))
    assert found["exported"]["left_out"] == found["left_out"]
    assert {row["class"] for row in read_rows(tmp_path / "csv/instances.csv")} == {"cow"}
    lost = 0
    for n in range(3):
        exported, predicted = (
            read_mask(tmp_path / f"{name}/val_{n}.png") for name in ("voc/SegmentationClass", "scores")
        )
        assert not exported[exported != predicted].any(), "what is exported has the class of the prediction"
        lost += int((exported != predicted).sum())
    assert lost <= found["left_out"], "a component below 0.0005 of 48 x 64 pixels is one pixel"
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {"masks", "scores", "overlays", "gallery", "voc", "csv"}


def test_what_predict_exported_is_no_input_of_it(runs: dict[str, Finished], tmp_path: Path, capsys: Capture) -> None:
    photos = Path(shutil.copytree(runs["track3"].images[0].parent, tmp_path / "photos"))
    for _ in range(2):
        words = ["predict", str(runs["track3"].folder), str(photos), "--out", str(photos), "--format", "voc", "--json"]
        assert cli.main(words) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 16  # images and masks of the set
