"""The charts of the page mark what counts: the epoch that was kept, the peaks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from support.finished_run import MadeRun
from support.report_data import HISTORY, SETTINGS

from pipeline.core.files import read_json
from pipeline.core.tracks import get_track
from pipeline.evaluate.diagnostics import write_diagnostics
from pipeline.report.curves import phenomena, training_charts
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


def test_phenomena_have_words_and_a_chart_each(make_run: Callable[..., MadeRun], tmp_path: Path) -> None:
    data, out = make_run().folder / "data", tmp_path / "diagnostics.json"
    write_diagnostics(data / "manifest", data / "features", data / "maps", out, get_track("track3"))
    values = read_json(out)
    shown = phenomena(values)
    assert [text for text, _ in shown] == [values["words"][name] for name in ("p1", "p2", "p3")]
    weights, overlaps, peaks = (chart for _, chart in shown)
    assert (
        [line.name for line in weights.lines]
        == [line.name for line in overlaps.lines]
        == ["positive weights", "negative weights"]
    )
    assert len(peaks.lines[0].path.split("L")) == len(values["p3"]["standards"])
    values["p3"]["standards"] = []
    assert phenomena(values)[2][1] is None  # no chart, but the words
