"""The charts of the page mark what counts: the epoch that was kept, the peaks."""

import dataclasses

from support.report_data import HISTORY, SETTINGS

from pipeline.report.curves import training_charts
from pipeline.report.results import Results
from pipeline.report.run import render


def test_training_marks_the_epoch_that_was_kept(track3: Results) -> None:
    loss, accuracy = training_charts(track3)
    assert [(line.name, line.text) for line in loss.lines] == [("train", "last 0.667"), ("val", "epoch 2 kept: 1.250")]
    assert accuracy.lines[0].marks[0][2] == "val: 0.750 at 2"
    by_held_out = {**track3.counts, "train": {**track3.counts["train"], "selected_by": "held_out"}}
    loss, _ = training_charts(dataclasses.replace(track3, counts=by_held_out))
    assert [line.name for line in loss.lines] == ["train", "held-out train images"]
    empty = [{**row, "val_loss": "", "val_accuracy": ""} for row in HISTORY]  # no val images
    charts = training_charts(dataclasses.replace(track3, history=empty))
    assert [[line.name for line in chart.lines] for chart in charts] == [["train"]]


def test_the_curve_marks_its_peaks(track3: Results) -> None:
    page = render(track3, SETTINGS)
    assert "peak 0.800 at 90" in page
    assert "peak 0.500 at 100" in page
