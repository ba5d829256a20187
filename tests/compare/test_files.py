"""What programs read of a comparison, and what a terminal shows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.compare.files import as_json, as_text, image_table, most_changed, write_files
from pipeline.compare.numbers import Compared, Comparison


def compared(name: str, score: float, ious: list[float], difference: float | None = None) -> Compared:
    ends = None if difference is None else (difference - 0.01, difference + 0.02)
    return Compared(
        name, f"runs/{name}", 4, score, (score - 0.1, score + 0.1), {"peak_threshold": 9.0}, difference, ends, 1, 2, 9,
        np.array([0.5, np.nan, 1.0]), np.array(ious),
    )  # fmt: skip


@pytest.fixture
def comparison() -> Comparison:
    runs = (compared("a", 0.5, [0.5, 0.25, np.nan]), compared("longer", 0.625, [0.625, 1.0, np.nan], 0.125))
    return Comparison(
        "track1", "segmentation", "mean_iou", {"classes": "foreground"}, ("x", "y", "z"), runs, {"a": 1}, ("Note.",)
    )


def test_json_by_hand(comparison: Comparison) -> None:
    found = as_json(comparison, ["ant", "bee"])
    assert {key: found[key] for key in ("track", "metric", "settings", "images", "left_out", "notes")} == {
        "track": "track1", "metric": "mean_iou", "settings": {"classes": "foreground"}, "images": 3,
        "left_out": {"a": 1}, "notes": ["Note."],
    }  # fmt: skip
    assert found["runs"][1] == {
        "name": "longer", "path": "runs/longer", "images": 4, "score": 0.625, "interval": [0.525, 0.725],
        "scores": {"peak_threshold": 9.0}, "difference": 0.125, "difference_interval": [0.115, 0.145],
        "images_better": 1, "images_worse": 2, "class_iou": {"background": 0.5, "ant": None, "bee": 1.0},
    }  # fmt: skip
    assert found["runs"][0]["difference"] is None
    assert len(found["verdicts"]) == 1


def test_the_table_of_images_has_the_largest_change_first(comparison: Comparison) -> None:
    assert most_changed(comparison) == [1, 0, 2]
    rows = list(csv.reader(image_table(comparison).splitlines()))
    assert rows == [
        ["id", "a", "longer", "change"],
        ["y", "0.250000", "1.000000", "0.750000"],
        ["x", "0.500000", "0.625000", "0.125000"],
        ["z", "", "", "0.000000"],
    ]


def test_both_files(comparison: Comparison, tmp_path: Path) -> None:
    write_files(tmp_path / "out", comparison, ["ant", "bee"])
    assert json.loads((tmp_path / "out/compare.json").read_text()) == as_json(comparison, ["ant", "bee"])
    assert (tmp_path / "out/images.csv").read_text() == image_table(comparison)


def test_lines_for_a_terminal(comparison: Comparison) -> None:
    lines = as_text(comparison)
    assert lines == [
        "Mean IoU, 3 images, track1",
        "  a       0.5000 [0.4000, 0.6000]",
        "  longer  0.6250 [0.5250, 0.7250]  +0.1250 [+0.1150, +0.1450], better on 1 images, worse on 2",
        "The mean IoU of longer is 0.1250 above a; 95 % interval of the difference [+0.1150, +0.1450]: more than other "
        "images of this kind would change.",
        "Note.",
    ]
