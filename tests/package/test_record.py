"""The record beside a submission: what it says, and what contradicts it."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.faults import good, save

from pipeline.core.files import sha256
from pipeline.core.provenance import Code
from pipeline.core.settings import read_params
from pipeline.core.tracks import get_track
from pipeline.package.record import MOST_BYTES, Record, compare_record, make_record, record_path, write_record

TRACK3 = get_track("track3")
SECTIONS: dict[str, Any] = {
    "train": {"rate": 1e-4, "pooling": "tap"},
    "report": {"images": 8},
    "package": {"split": "test"},
}
METRICS = {"peak_iou": 0.75, "peak_iou_interval": [0.7, 0.8], "images": 12, "before_crf": {"peak_iou": 0.5}}
CODE = Code("0123456789ab", False, {"torch": "2.0"})


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    save(good())(tmp_path / "x.zip")
    return tmp_path / "x.zip"


def _record(zipped: Path, metrics: dict[str, Any] | None = None, code: Code = CODE) -> Record:
    counts = {"sha256": sha256(zipped), "bytes": zipped.stat().st_size, "images": 2, "split": "test"}
    record = make_record(zipped, TRACK3, counts, SECTIONS, METRICS if metrics is None else metrics, code, ("a",))
    write_record(record_path(zipped), record)
    return record


def test_a_record_says_what_made_the_zip(zipped: Path, tmp_path: Path) -> None:
    _record(zipped)
    about = json.loads((tmp_path / "x.json").read_text())
    assert about["sha256"] == hashlib.sha256(zipped.read_bytes()).hexdigest()
    assert (about["track"], about["zip"], about["images"], about["split"]) == ("track3", "x.zip", 2, "test")
    assert (about["commit"], about["changed"], about["warnings"]) == ("0123456789ab", False, ["a"])
    assert about["val"] == {"metric": "peak_iou", "score": 0.75, "interval": [0.7, 0.8], "images": 12}
    assert {"python", "numpy", "torch", "lid-pipeline"} <= about["versions"].keys()
    assert abs(datetime.now(UTC) - datetime.fromisoformat(about["date"])) < timedelta(minutes=5)


def test_the_settings_are_text_that_can_be_run_again(zipped: Path, tmp_path: Path) -> None:
    settings = _record(zipped).settings
    assert settings.sha256 == hashlib.sha256(settings.text.encode()).hexdigest()
    (tmp_path / "again.yaml").write_text(settings.text)
    assert read_params(tmp_path / "again.yaml") == {name: SECTIONS[name] for name in ("train", "package")}


@pytest.mark.parametrize("metrics", [{}, {"peak_iou": None, "note": "no truth"}])
def test_without_truth_there_is_no_score(metrics: dict[str, Any], zipped: Path) -> None:
    assert _record(zipped, metrics).val is None


def test_one_image_has_a_score_without_an_interval(zipped: Path) -> None:
    record = _record(zipped, {"peak_iou": 0.5, "peak_iou_interval": None, "images": 1})
    assert record.val is not None
    assert record.val.interval is None
    assert record.title.endswith(", val peak_iou 0.5000")


def test_one_line_says_all(zipped: Path) -> None:
    record = replace(_record(zipped), date="2020-06-14T00:00:00+00:00")
    assert record.title == (
        f"made 2020-06-14T00:00:00+00:00 by commit 0123456789ab, settings {record.settings.sha256[:12]}, "
        "val peak_iou 0.7500 [0.7000, 0.8000]"
    )
    assert "by commit 0123456789ab with changes," in replace(record, changed=True).title
    assert "by an unknown commit," in replace(record, commit=None, changed=None).title


def test_a_zip_fits_its_own_record(zipped: Path) -> None:
    record = _record(zipped, code=Code(None, None, {}))
    compared = compare_record(zipped, TRACK3)
    assert compared.record == replace(record, val=record.val)
    assert (compared.problems, compared.warnings) == ((), ())


def test_other_bytes_and_another_track_are_problems(zipped: Path) -> None:
    _record(zipped)
    save(good()[:1])(zipped)
    bytes_line, track_line = compare_record(zipped, get_track("track1")).problems
    assert bytes_line.startswith("x.zip: expected the bytes that x.json describes (sha256 ")
    assert track_line.startswith("x.zip: expected a submission to track1, got one to track3, as x.json says; likely")


def test_without_a_record_there_is_nothing_to_say(zipped: Path, tmp_path: Path) -> None:
    assert compare_record(zipped, TRACK3) == compare_record(tmp_path / "no.zip", TRACK3)
    assert compare_record(zipped, TRACK3).record is None


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b"\xff", b'{"sha256": 3}', b"[" * 20_000, bytes(MOST_BYTES + 1)])
def test_another_file_of_that_name_is_a_warning(data: bytes, zipped: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(data)
    compared = compare_record(zipped, TRACK3)
    assert (compared.record, compared.problems) == (None, ())
    (line,) = compared.warnings
    assert line.startswith("x.json: no record of x.zip, not compared (")
