"""Stage `package`: params and stores in, a zip and its counts out."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.files import read_json, sha256, write_json
from pipeline.core.images import encode_png
from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.store import finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.package.record import compare_record
from stages.package import main


def _arguments(tmp_path: Path, track: str, split: str) -> list[str]:
    row = {"id": "a", "file": "a.jpg", "width": 6, "height": 4, "labels": [0], "split": "test",
           "mask": None, "boxes": None, "bytes": 0}  # fmt: skip
    write_manifest(tmp_path / "manifest", from_rows([row], ["x", "y"], tmp_path, "labels"))
    prediction = np.frombuffer(encode_png(np.full((4, 6), 2, np.uint8)), np.uint8)
    finish(
        tmp_path / "refined" / "test",
        [write_shard(tmp_path / "refined" / "test", 0, {"a": {"before": prediction, "after": prediction}})],
        {},
    )
    finish(tmp_path / "student" / "test", [], {})  # switched off
    write_json(tmp_path / "metrics.json", {"peak_iou": 0.5, "peak_iou_interval": [0.4, 0.6], "images": 7})
    (tmp_path / "params.yaml").write_text(f"tracks: {{{track}: {{package: {{split: {split}}}}}}}")
    return ["--params", str(tmp_path / "params.yaml"), "--track", track, "--manifest", str(tmp_path / "manifest"),
            "--refined", str(tmp_path / "refined"), "--student", str(tmp_path / "student"),
            "--metrics", str(tmp_path / "metrics.json"), "--out", str(tmp_path / f"submissions/{track}.zip"),
            "--record", str(tmp_path / f"submissions/{track}.json"),
            "--report", str(tmp_path / "package.json")]  # fmt: skip


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_package_writes_the_zip_and_its_counts(track: str, tmp_path: Path) -> None:
    main(_arguments(tmp_path, track, "test"))
    out = tmp_path / f"submissions/{track}.zip"
    assert zipfile.ZipFile(out).namelist() == ["a.png"]
    counts = read_json(tmp_path / "package.json")
    assert counts.pop("classes_in_predictions", None) == (1 if track == "track1" else None)
    assert counts == {
        "split": "test", "images": 1, "bytes": out.stat().st_size, "sha256": sha256(out), "smallest_value": 2,
        "largest_value": 2,
        "constant_images": 1, "images_without_foreground": 0,
    }  # fmt: skip


def test_package_records_what_made_the_zip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(_arguments(tmp_path, "track3", "test"))
    zipped, record = tmp_path / "submissions/track3.zip", read_json(tmp_path / "submissions/track3.json")
    assert record["sha256"] == sha256(zipped)
    assert record["settings"]["text"] == "package:\n  split: test\n"
    assert record["val"] == {"metric": "peak_iou", "score": 0.5, "interval": [0.4, 0.6], "images": 7}
    assert (record["warnings"], capsys.readouterr().err) == ([], "")  # of a single image 2 everywhere may be right
    compared = compare_record(zipped, get_track("track3"))
    assert (compared.record is not None, compared.problems, compared.warnings) == (True, (), ())


def test_the_zip_does_not_depend_on_its_record(tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, "track3", "test")
    zipped = tmp_path / "submissions/track3.zip"
    main(arguments)
    before = zipped.read_bytes()
    write_json(tmp_path / "metrics.json", {"note": "no truth"})
    main(arguments)
    assert zipped.read_bytes() == before
    assert read_json(tmp_path / "submissions/track3.json")["val"] is None


def test_the_students_predictions_are_packed_where_there_are_some(tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, "track3", "test")
    of_student = np.frombuffer(encode_png(np.full((4, 6), 9, np.uint8)), np.uint8)
    store = tmp_path / "student" / "test"
    finish(store, [write_shard(store, 0, {"a": {"before": of_student, "after": of_student}})], {})
    main(arguments)
    assert read_json(tmp_path / "package.json")["largest_value"] == 9  # 2 in the refined map


def test_package_refuses_a_split_that_is_no_prediction(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tracks\.track3\.package\.split: expected 'val' or 'test', got 'train'"):
        main(_arguments(tmp_path, "track3", "train"))
