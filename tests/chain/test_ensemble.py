"""Two seeds of the shrunk demo as one submission, and what each step of them is worth."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkout import Checkout

from pipeline.core.tracks import get_track
from pipeline.package.record import compare_record

TRACK = "track3"


@pytest.fixture(scope="module")
def seeds(make_checkout: Callable[[], Checkout]) -> list[Checkout]:
    """Track 3 with a student, with every seed 0 and with every seed 1."""
    checkouts = [make_checkout(), make_checkout()]
    for seed, checkout in enumerate(checkouts):
        checkout.set(f"{TRACK}.student.enabled", True)
        for stage in ("train", "student"):
            checkout.set(f"{TRACK}.{stage}.seed", seed)
        checkout.repro(f"package@{TRACK}")
    return checkouts


def run_of(checkout: Checkout) -> str:
    return str(checkout.file(f"data/{TRACK}"))


@pytest.mark.slow
def test_two_seeds_are_one_submission_and_one_ladder(seeds: list[Checkout], tmp_path: Path) -> None:
    first, second = seeds
    for of in ("maps", "student"):
        out = tmp_path / f"{of}.zip"
        words = ["--track", TRACK, "--of", of, "--jobs", "1", "--most", "2", "--out", str(out)]
        first.run("lid", "ensemble", f"zero={run_of(first)}", f"one={run_of(second)}", *words)
        with zipfile.ZipFile(out) as archive, zipfile.ZipFile(first.file(f"submissions/{TRACK}.zip")) as own:
            assert archive.namelist() == own.namelist()
        compared = compare_record(out, get_track(TRACK))
        assert (compared.problems, compared.warnings) == ((), ())
        report = json.loads((tmp_path / of / "ensemble.json").read_text())
        reports = [json.loads(checkout.file(f"data/{TRACK}/train.json").read_text()) for checkout in seeds]
        assert [one["networks"]["classifier"] for one in report["members"]] == [one["parameters"] for one in reports]
        assert report["limit"] == 150_000_000
        assert len(report["scores"]) == 3
        metrics = json.loads((tmp_path / of / "reports" / TRACK / "metrics.json").read_text())
        assert metrics.keys() >= {"peak_iou", "peak_iou_interval", "pxap", "before_crf"}
        assert (tmp_path / of / "index.html").is_file()
    steps = [run_of(first), str(tmp_path / "student")]
    first.run("lid", "ladder", *steps, "--out", str(tmp_path / "ladder"))
    rows = list(csv.DictReader((tmp_path / "ladder" / "ladder.csv").read_text().splitlines()))
    assert [row["step"] for row in rows[1:]] == ["+ CRF", "+ student", "+ the student's CRF", "+ ensemble of 2"]
    own = json.loads(first.file(f"reports/{TRACK}/metrics.json").read_text())
    assert float(rows[3]["peak_iou"]) == pytest.approx(own["peak_iou"], abs=1e-6)
    assert {row["not_recorded"] for row in rows} == {""}  # a run by DVC records all of its stages
    assert float(rows[4]["seconds_student"]) > float(rows[3]["seconds_student"]) > 0


@pytest.mark.slow
def test_a_run_and_its_copy_are_that_run(seeds: list[Checkout], tmp_path: Path) -> None:
    words = ["--track", TRACK, "--jobs", "1", "--most", "0", "--out", str(tmp_path / "same.zip")]
    copy = shutil.copytree(run_of(seeds[0]), tmp_path / "copy" / "data" / TRACK)
    seeds[0].run("lid", "ensemble", run_of(seeds[0]), str(copy), *words)
    assert (tmp_path / "same.zip").read_bytes() == seeds[0].file(f"submissions/{TRACK}.zip").read_bytes()
