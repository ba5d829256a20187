"""The record of the comparison of methods, and its section of the page of numbers."""

from pathlib import Path

import pytest

from pipeline.core.errors import StoreError
from pipeline.core.files import write_json
from pipeline.core.provenance import Code, Machine, Provenance
from pipeline.core.typed_json import to_json
from pipeline.experiments.method_numbers import CHOSEN, FILES, add_methods, methods_lines
from pipeline.experiments.method_runs import ORIGIN
from pipeline.experiments.method_tables import write_tables


def finished(folder: Path) -> Path:
    scores = {"peak_iou": 0.5, "pxap": 0.5, "gt_known_loc": None, "max_box_acc_v2": None}
    run = {"title": "CAM", "set": "butterflies", "seed": 0, "before": scores, "after": scores, "accuracy": 0.9}
    folder.mkdir()
    write_tables([{**run, "seconds": 10.0}], ["CAM"], ["butterflies"], folder)
    write_json(folder / CHOSEN, {"CAM": {}})
    write_json(folder / ORIGIN, to_json(Provenance(Code("abc", False, {}), Machine("slow", 2, None, "Linux"))))
    return folder


def test_the_section_has_the_table_its_origin_and_links_to_the_rest(tmp_path: Path) -> None:
    kept = add_methods(finished(tmp_path / "run"), tmp_path / "numbers")
    assert {path.name for path in kept.iterdir()} == set(FILES.values())
    page = "\n".join(methods_lines(tmp_path / "numbers"))
    assert "## Training methods side by side" in page
    assert "| CAM | 0.5000 |" in page
    assert "numbers/methods/table.csv" in page
    assert "- commit `abc`; machine: slow, 2 cores, Linux" in page


def test_without_a_record_there_is_no_section(tmp_path: Path) -> None:
    assert list(methods_lines(tmp_path)) == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = finished(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(StoreError, match=f"found no {name}$"):
        add_methods(folder, tmp_path / "numbers")
