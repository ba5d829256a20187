"""The results of an ablation as CSV and Markdown."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from support.ablation import SEEDS, collected

from pipeline.core.summary import summarize
from pipeline.evaluate.run import to_csv
from pipeline.experiments.ablation_tables import (
    PartGain,
    ScoredRow,
    csv_rows,
    markdown,
    table_lines,
    why_lines,
)


def _row(title: str, **scores: float) -> ScoredRow:
    known = {key: summarize([value]) for key, value in scores.items()}
    return ScoredRow(title, (True, False, False, False), "label_map", 0.5, known)


def test_the_page_shows_means_spreads_gains_and_the_published_row(ablation: Path) -> None:
    lines = markdown(collected(ablation)).splitlines()
    last = next(line for line in lines if line.startswith("| + TAP"))
    assert last.split(" | ")[1:6] == ["✓", "✓", "✓", "✓", "0.7050 ± 0.0071"]
    assert last.split(" | ")[6:10] == ["[0.705, 0.705]", "+0.1600 ± 0.0000", "[+0.160, +0.160]", "0.6370"]
    assert lines[2] == "2 images of split val, mean ± standard deviation over seeds 0, 1."
    assert "| everything foreground | 0.2500 |" in lines
    assert "Classification accuracy with GAP: 0.6250 ± 0.1768." in lines  # 0.5 and 0.75
    assert "| TAP | +0.1600 ± 0.0000 | +0.1600 | +0.1600 |" in lines
    assert "pxap" not in " ".join(lines).lower()  # null in every run: left out, not shown as 0
    assert lines.index("## Parts added one after another") < lines.index("## All combinations")
    assert sum("| published |" in line for line in lines) == 1  # only where the paper has these rows


def test_a_table_has_no_column_that_some_row_lacks() -> None:
    rows = [_row("a", mean_iou=0.5, pixel_accuracy=0.75), _row("b", mean_iou=0.25)]
    assert table_lines(rows, "segmentation") == [
        "|  | CRF | PaS | NWC | TAP | mean IoU |",
        "| --- | --- | --- | --- | --- | --- |",
        "| a | ✓ |  |  |  | 0.5000 |",
        "| b | ✓ |  |  |  | 0.2500 |",
    ]  # the paper's scores are of Track 3


def test_thresholds_are_whole_numbers() -> None:
    *_, line = table_lines([_row("a", peak_iou=0.5, peak_threshold=120)], "localization")
    assert line == "| a | ✓ |  |  |  | 0.5000 | 0.5000 | 120 |"


def test_csv_has_a_line_for_each_row_and_seed(ablation: Path) -> None:
    table = list(csv.DictReader(io.StringIO(to_csv(csv_rows(collected(ablation))))))
    assert len(table) == (5 + 4 + 16) * (len(SEEDS) + 2)
    by_seed = {row["seed"]: row for row in table if (row["table"], row["row"]) == ("additive", "+ NWC")}
    line = by_seed["1"]
    assert [line[part] for part in ("CRF", "PaS", "NWC", "TAP")] == ["1", "1", "1", "0"]
    assert (line["peak_iou"], line["pxap"], line["peak_threshold"]) == ("0.550000", "", "101")
    assert (by_seed["mean"]["peak_iou"], by_seed["spread"]["peak_iou"]) == ("0.545000", "0.007071")


def test_the_diagnosis_stands_beside_the_rows(ablation: Path) -> None:
    page = markdown(collected(ablation))
    assert "| P2 density of negative evidence on the object over beside it | 1.500 ± 0.707 | 2.500 ± 0.707 |" in page
    assert "rank correlation" not in page  # not defined with either seed


def test_a_number_of_one_pooling_leaves_the_other_cell_empty() -> None:
    lines = why_lines({"GAP": {}, "TAP": {"p3.top_overlap": summarize([0.5])}})
    assert lines[0] == "| phenomenon | GAP | TAP |"
    assert lines[2:] == ["| P3 channels whose maxima share one cell |  | 0.500 |"]


def test_what_is_not_known_has_no_heading(ablation: Path) -> None:
    page = markdown(replace(collected(ablation), why={}, parts={}, seeds=(3,)))
    assert "## Diagnostics" not in page
    assert "What each part is worth" not in page
    assert "2 images of split val, seed 3." in page


def test_a_gain_is_shown_as_a_summary() -> None:
    assert PartGain(0.5, 0.25, (), -1.0, 1.0).show(2, signed=True) == "+0.50 ± 0.25"
