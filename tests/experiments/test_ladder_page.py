"""The table, the CSV file and the figure of steps, by hand."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.experiments.ladder_page import Ladder, Rated, csv_rows, draw, markdown, write_ladder
from pipeline.experiments.ladder_steps import Cost


@pytest.fixture
def ladder() -> Ladder:
    first = Rated("CAM", "runs/a", 0.5, (0.4, 0.6), None, None, 0, 0, Cost({"train": 60.0, "extract": 5.0}))
    crf = Cost({"train": 60.0, "extract": 5.0, "refine": 30.0}, frozenset({"preprocess"}))
    second = Rated("+ CRF", "runs/a", 0.75, (0.7, 0.8), 0.25, (0.2, 0.3), 7, 1, crf)
    return Ladder("track3", "peak_iou", 8, [first, second], ("Note.",))


def test_markdown(ladder: Ladder) -> None:
    lines = markdown(ladder).splitlines()
    assert lines[0] == "# What each step is worth"
    assert lines[2].startswith("Track 3: weakly supervised object localization. 8 images of split val.")
    assert lines[4:8] == [
        "| step | peak IoU | interval | gain | its interval | images better, worse | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| CAM | 0.5000 | [0.400, 0.600] |  |  |  | 65 |",
        "| + CRF | 0.7500 | [0.700, 0.800] | +0.2500 | [+0.200, +0.300] | 7, 1 | ≥ 95 |",
    ]
    assert lines[9:] == ["Note.", "", "![Score, gain and seconds of each step](ladder.svg)"]


def test_csv(ladder: Ladder) -> None:
    header, first, second = csv_rows(ladder)
    assert header[:5] == ["step", "run", "peak_iou", "interval_low", "interval_high"]
    assert header[-6:] == [
        "seconds_preprocess", "seconds_train", "seconds_extract", "seconds_refine", "seconds_student", "not_recorded",
    ]  # fmt: skip
    found = dict(zip(header, second, strict=True))
    assert [found[key] for key in ("gain", "gain_interval_low", "gain_interval_high", "better", "worse")] == [
        0.25, 0.2, 0.3, 7, 1,
    ]  # fmt: skip
    assert (found["seconds_refine"], found["seconds_student"], found["not_recorded"]) == (30.0, None, "preprocess")
    assert first[5:10] == [None] * 5


def test_the_figure_has_every_number(ladder: Ladder) -> None:
    text = draw(ladder).decode()
    assert all(word in text for word in ("+ CRF", "0.750 (+0.250)", "≥ 95", "train", "refine", "seconds of all stages"))
    without = [replace(one, cost=Cost(), interval=None) for one in ladder.steps]
    assert "seconds" not in draw(replace(ladder, steps=without)).decode()


def test_the_bars_are_as_long_as_the_seconds(ladder: Ladder) -> None:
    """Stacked: preprocess, train, extract, refine."""
    from pipeline.experiments.ladder_page import _draw_seconds
    from pipeline.report.figures import new_axes

    _, (axes,) = new_axes(4, 2)
    _draw_seconds(axes, ladder)
    bars = [(bar.get_x(), bar.get_width()) for bars in axes.containers for bar in bars]
    assert bars == [(0, 60), (0, 60), (60, 5), (60, 5), (65, 0), (65, 30)]


def test_files(ladder: Ladder, tmp_path: Path) -> None:
    write_ladder(tmp_path / "out", ladder)
    assert (tmp_path / "out" / "ladder.md").read_text(encoding="utf-8") == markdown(ladder)
    rows = list(csv.DictReader((tmp_path / "out" / "ladder.csv").read_text().splitlines()))
    assert [row["peak_iou"] for row in rows] == ["0.500000", "0.750000"]
    assert (tmp_path / "out" / "ladder.svg").read_bytes() == draw(ladder)


def test_lines_for_a_terminal(ladder: Ladder) -> None:
    assert ladder.lines() == [
        "Peak IoU, 8 images, track3",
        "  CAM    0.5000",
        "  + CRF  0.7500  +0.2500 [+0.200, +0.300]",
        "Note.",
    ]
    assert re.match(r"Mean IoU", replace(ladder, metric="mean_iou", track="track1").lines()[0])
