"""The tables by hand: means over seeds, costs relative to the plain run, and what has not been run."""

from pathlib import Path
from typing import Any

from pipeline.experiments.method_tables import NO_VALUE, NOT_RUN, TITLES, cells, csv_lines, markdown, write_tables


def record(title: str, seed: int, peak: float, seconds: float, name: str = "butterflies") -> dict[str, Any]:
    scores = {"peak_iou": peak, "pxap": 0.5, "gt_known_loc": None, "max_box_acc_v2": None}
    after = {**scores, "peak_iou": peak + 0.1}
    return {
        "title": title, "set": name, "seed": seed, "before": scores, "after": after, "accuracy": 0.9,
        "seconds": seconds,
    }  # fmt: skip


RECORDS = [record("CAM", 0, 0.5, 10), record("CAM", 1, 0.6, 20), record("HaS", 0, 0.4, 15), record("HaS", 1, 0.4, 50)]


def test_a_row_by_hand() -> None:
    """Peak IoU 0.4 and 0.4; costs 15 / 10 and 50 / 20; no boxes, no box scores."""
    found = dict(zip(TITLES, cells(RECORDS, "HaS", "butterflies"), strict=True))
    assert found["peak_iou_before"] == "0.4000 ± 0.0000"
    assert found["peak_iou_after"] == "0.5000 ± 0.0000"
    assert found["gt_known_loc_after"] == NO_VALUE
    assert found["cost"] == "2.00 ± 0.71"
    assert dict(zip(TITLES, cells(RECORDS, "CAM", "butterflies"), strict=True))["cost"] == "1.00 ± 0.00"


def test_what_has_not_been_run_says_so() -> None:
    assert cells(RECORDS, "ADL", "butterflies") == [NOT_RUN] * len(TITLES)
    page = markdown(RECORDS, ["CAM", "ADL"], ["butterflies", "tiny_imagenet"])
    assert page.count(NOT_RUN) == 3 * len(TITLES) + 1  # ADL, both rows of the other set, and its seeds
    assert "Seeds: 0, 1." in page
    assert "| CAM | 0.5500 ± 0.0707 |" in page


def test_a_cost_without_the_plain_run_is_empty() -> None:
    alone = cells(RECORDS[2:], "HaS", "butterflies")
    assert dict(zip(TITLES, alone, strict=True))["cost"] == NO_VALUE


def test_files_have_a_line_for_each_run_and_equal_numbers_give_equal_bytes(tmp_path: Path) -> None:
    lines = list(csv_lines(RECORDS))
    assert lines[0][:4] == ["row", "set", "seed", "peak_iou_before"]
    assert [line[:3] for line in lines[1:]] == [[r["title"], "butterflies", r["seed"]] for r in RECORDS]
    assert lines[3][-1] == 1.5
    for _ in range(2):
        write_tables(RECORDS, ["CAM", "HaS"], ["butterflies", "tiny_imagenet"], tmp_path)
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(files) == {"table.csv", "table.md", "figure.svg"}
    write_tables(RECORDS, ["CAM", "HaS"], ["butterflies", "tiny_imagenet"], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert b"HaS" in files["figure.svg"]
