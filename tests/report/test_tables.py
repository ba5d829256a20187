"""Tables of classes and of confused pairs: values by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.report_data import make_results

from pipeline.evaluate.image_counts import ImageCounts
from pipeline.report.results import Results
from pipeline.report.tables import MOST_CELLS, class_table, confusion_cells, confusion_pairs, confusion_table


@pytest.fixture
def track1(tmp_path: Path) -> Results:
    return make_results(tmp_path / "images", "track1")


def test_classes_of_label_maps_stand_from_worst_to_best_and_absent_ones_last(track1: Results) -> None:
    table = class_table(track1)
    assert table is not None
    assert [row[0].text for row in table.rows] == ["background", "green", "red<b>&"]
    assert [row[2].text for row in table.rows] == ["0.900", "0.950", "–"]
    green = table.rows[1]
    assert (green[1].value, green[1].mark) == (0.95, 0.2)
    assert green[4].text == "2"  # images 001 and 004
    assert green[0].class_index == 1
    assert table.rows[0][0].class_index is None  # no image is of the background alone


def test_classes_of_score_maps_are_pooled_over_their_images(track3: Results) -> None:
    """A box of 24 x 16 pixels, moved by 0 and 3 columns (class 0), 1 and 4 (1), 2 and 5 (2)."""
    table = class_table(track3)
    assert table is not None
    ious = {row[0].text: row[2].sort for row in table.rows}
    expected = {name: (24 + 24 - a - b) / (24 + 24 + a + b)
                for name, a, b in (("red<b>&", 0, 3), ("green", 1, 4), ("blue", 2, 5))}  # fmt: skip
    assert ious == pytest.approx(expected)
    assert [row[0].text for row in table.rows] == ["blue", "green", "red<b>&"]
    assert [cell.text for cell in table.rows[0][4:]] == ["2", "0.400", "1.000"]


def test_a_wrong_class_lowers_the_share_that_is_right(track3: Results) -> None:
    rows = [{**row, "predicted": "green"} for row in track3.per_image]
    table = class_table(dataclasses.replace(track3, per_image=rows))
    assert table is not None
    assert {row[0].text: row[6].text for row in table.rows} == {"red<b>&": "0.000", "green": "1.000", "blue": "0.000"}


def test_without_scores_there_is_no_table(results: Results) -> None:
    counts = ImageCounts((), np.zeros((0, 2, 256), np.int32), np.zeros((0, 2, 256), np.int32))
    assert class_table(dataclasses.replace(results, table=[], image_counts=counts)) is None


def test_pairs_lead_to_their_images(results: Results) -> None:
    table = confusion_table(results)
    assert table is not None
    rows = [[cell.text for cell in row] for row in table.rows]
    if results.localizes:
        assert rows == [["green", "blue", "3", "0.750"]]
        assert table.rows[0][0].pair == "2,3"
    else:
        assert rows == [["background", "green", "1\u2009000", "0.125"], ["green", "blue", "250", "0.250"]]
        assert [row[0].pair for row in table.rows] == ["0,2", "2,3"]


def test_nothing_confused_is_no_table(track3: Results) -> None:
    right = dataclasses.replace(track3, confusion=track3.confusion[:1])
    assert confusion_pairs(right) == []
    assert confusion_table(right) is None


def test_cells_are_shares_of_the_true_class(results: Results) -> None:
    cells, names = confusion_cells(results)
    assert names == (["green", "blue"] if results.localizes else ["background", "green", "blue"])
    confused = next(cell for cell in cells if (cell["row"], cell["column"]) == ("green", "blue"))
    assert (confused["share"], confused["pair"]) == (0.75 if results.localizes else 0.25, [2, 3])


def test_a_class_may_be_called_background(track3: Results) -> None:
    manifest = dataclasses.replace(track3.manifest, classes=("background", "green", "blue"))
    rows = [{"truth": "background", "predicted": "green", "images": "1"}]
    table = confusion_table(dataclasses.replace(track3, manifest=manifest, confusion=rows))
    assert table is not None
    assert table.rows[0][0].pair == "1,2"


def test_too_many_classes_are_no_square(track3: Results) -> None:
    classes = tuple(f"c{number}" for number in range(MOST_CELLS + 1))
    manifest = dataclasses.replace(track3.manifest, classes=classes)
    rows = [{"truth": "c0", "predicted": "c1", "images": "1"}]
    assert confusion_cells(dataclasses.replace(track3, manifest=manifest, confusion=rows)) == ([], [])
