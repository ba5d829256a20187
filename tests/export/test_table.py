"""The table as pandas reads it."""

from pathlib import Path

import pandas as pd
from support.export import NAMES, by_hand

from pipeline.export.table import TableWriter


def test_a_row_for_each_instance(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path, NAMES)
    writer.add(by_hand())
    writer.finish()
    table = pd.read_csv(tmp_path / "instances.csv")
    assert list(table.columns) == ["image", "class", "score", "x0", "y0", "x1", "y1"]
    assert table.values.tolist() == [
        ["a", "ant", 0.5, 0, 0, 2, 2],
        ["a", "honey bee", 0.25, 4, 2, 4, 3],
        ["a", "cow", 1.0, 6, 1, 6, 2],
        ["a", "honey bee", 0.25, 4, 0, 4, 0],
    ]
