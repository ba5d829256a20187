"""Tables of the stages as text."""

from pathlib import Path

import pytest

from pipeline.core.errors import StoreError
from pipeline.report.formatting import read_rows


def test_ids_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,iou_after\n0010,0.5\nNA,\n")
    assert read_rows(tmp_path / "a.csv") == [{"id": "0010", "iou_after": "0.5"}, {"id": "NA", "iou_after": ""}]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a\.csv: expected a table, found no file"):
        read_rows(tmp_path / "a.csv")
