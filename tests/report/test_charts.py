"""The charts of the page mark what counts: peaks, the epoch that was kept, intervals of groups."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.finished_run import MadeRun
from support.report_data import HISTORY, make_results

from pipeline.core.files import read_json
from pipeline.core.tracks import get_track
from pipeline.evaluate.diagnostics import write_diagnostics
from pipeline.evaluate.image_counts import ImageCounts
from pipeline.report.charts import by_group, confusion_chart, iou_curves, phenomena, training_charts
from pipeline.report.results import Results
from pipeline.report.vega import Chart


def _names(chart: Chart | None) -> list[tuple[str, str]]:
    assert chart is not None
    return [(key.name, key.text) for key in chart.legend]


def test_the_curve_marks_its_peaks_beside_predictions_that_use_no_pixel(track3: Results) -> None:
    chart = iou_curves(track3)
    assert _names(chart) == [
        ("with CRF, pooled", "peak 0.800 at 90"),
        ("without CRF, pooled", "peak 0.500 at 100"),
        ("best centered disc", "0.438"),
        ("everything foreground", "0.312"),
    ]
    assert iou_curves(dataclasses.replace(track3, table=[])) is None


def test_training_marks_the_epoch_that_was_kept(track3: Results) -> None:
    loss, accuracy = training_charts(track3)
    assert _names(loss) == [("train", "last 0.667"), ("val", "epoch 2 kept: 1.250")]
    assert _names(accuracy) == [("val, one view", "epoch 2 kept: 0.750")]
    assert accuracy.spec["layer"][1]["data"]["values"] == [{"line": "val, one view", "x": 2, "y": 0.75}]
    by_held_out = {**track3.counts, "train": {**track3.counts["train"], "selected_by": "held_out"}}
    assert _names(training_charts(dataclasses.replace(track3, counts=by_held_out))[0])[1][0] == "held-out train images"
    empty = [{**row, "val_loss": "", "val_accuracy": ""} for row in HISTORY]  # no val images
    assert [_names(chart) for chart in training_charts(dataclasses.replace(track3, history=empty))] == [
        [("train", "last 0.667")]
    ]


def test_every_round_of_the_student_has_a_line(track3: Results) -> None:
    rows = [{"round": str(round_), "epoch": str(epoch), "train_loss": "0.5"} for round_ in (1, 2) for epoch in (1, 2)]
    student = training_charts(dataclasses.replace(track3, student_history=rows))[-1]
    assert [name for name, _ in _names(student)] == ["round 1", "round 2"]


def test_the_score_by_number_of_classes(tmp_path: Path) -> None:
    """Two images of one class, right; one image of two classes, the second of which is taken for the first."""
    results = make_results(tmp_path / "images", "track1")
    counts = np.zeros((3, 3, 4), np.int32)  # right, true and predicted pixels of 4 class ids
    counts[:2, :, :2] = 10
    counts[2, 1, 1:3] = 10
    counts[2, 2, 1], counts[2, 0, 1] = 20, 10
    chart = by_group(dataclasses.replace(results, image_counts=ImageCounts(("a", "b", "c"), counts, counts)))
    assert chart is not None
    one, two = chart.spec["data"]["values"]
    assert one == {"name": "1\n2 images", "value": 1.0, "low": 1.0, "high": 1.0}
    assert two == {"name": "2\n1 image", "value": (10 / 20 + 0) / 2}  # one image has no interval


def test_the_score_by_size_of_the_object(track3: Results) -> None:
    counts = np.zeros((3, 2, 256), np.int32)
    counts[0, :, 200], counts[0, 1, 0] = (4, 4), 92  # 4 of 100 pixels: IoU 4 / 8
    counts[1:, 0, 200], counts[1:, 1, 0] = 40, 60  # 40 of 100: all found
    chart = by_group(dataclasses.replace(track3, image_counts=ImageCounts(("a", "b", "c"), counts, counts)))
    assert chart is not None
    small, large = chart.spec["data"]["values"]
    assert (small["name"], small["value"]) == ("≤ 5%\n1 image", 0.5)
    assert (large["name"], large["value"], large["low"]) == ("> 30%\n2 images", 1.0, 1.0)


def test_one_group_is_no_chart(results: Results) -> None:
    assert by_group(results) is None  # every box is a quarter of its image, every image has one class
    assert by_group(dataclasses.replace(results, image_counts=None)) is None


def test_confusion_has_a_cell_for_every_pair_that_occurs(results: Results) -> None:
    chart = confusion_chart(results)
    assert chart is not None
    assert len(chart.spec["data"]["values"]) == len(results.confusion)
    assert chart.spec["encoding"]["tooltip"][-1]["title"] == ("images" if results.localizes else "pixels")


def test_phenomena_have_words_and_a_chart_each(make_run: Callable[..., MadeRun], tmp_path: Path) -> None:
    data, out = make_run().folder / "data", tmp_path / "diagnostics.json"
    write_diagnostics(data / "manifest", data / "features", data / "maps", out, get_track("track3"))
    values = read_json(out)
    shown = phenomena(values)
    assert [text for _, text, _ in shown] == [values["words"][name] for name in ("p1", "p2", "p3")]
    weights, overlaps, peaks = (chart for _, _, chart in shown)
    signs = ["positive weights", "negative weights"]
    assert [name for name, _ in _names(weights)] == [name for name, _ in _names(overlaps)] == signs
    assert peaks is not None
    assert len(peaks.spec["data"]["values"]) == len(values["p3"]["standards"])
    values["p3"]["standards"] = []
    assert phenomena(values)[2][::2] == ("", None)  # no conclusion, no chart, but the words


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_an_interval_of_a_group_holds_its_value(track: str, tmp_path: Path) -> None:
    results = make_results(tmp_path / "images", track, val=40)
    assert results.image_counts is not None
    counts = results.image_counts.after.copy()
    if track == "track3":
        counts[:20, 1, 0] += 3000  # half of the objects are small now
    else:
        counts[:20, 1, 1:] += 1  # half of the images have all classes now
    chart = by_group(dataclasses.replace(results, image_counts=ImageCounts(results.image_counts.ids, counts, counts)))
    assert chart is not None
    for bar in chart.spec["data"]["values"]:
        assert bar["low"] <= bar["value"] <= bar["high"]
        assert bar["low"] < bar["high"]
