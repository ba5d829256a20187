"""Example images for `dvc plots`."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.report_data import make_results

from pipeline.report.examples import MOST, spaced, write_examples
from pipeline.report.strip import CELL


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_every_scored_image_has_a_picture_of_four_cells(track: str, tmp_path: Path) -> None:
    results = make_results(tmp_path / "images", track)
    for name in ("one", "two"):
        write_examples(results, tmp_path / name)
    files = sorted((tmp_path / "one").iterdir())
    scored = sorted(row["id"] for row in results.per_image if row["iou_after"])
    assert [path.stem for path in files] == scored
    with Image.open(files[0]) as image:
        assert image.size == (int(100 * CELL * 4), int(100 * (CELL + 0.4)))
        pixels = np.array(image.convert("RGB"))
    cells = np.split(pixels, 4, axis=1)
    assert all(cell.std() > 10 for cell in cells)
    assert not np.array_equal(cells[2], cells[3])  # before and after differ
    assert all(path.read_bytes() == (tmp_path / "two" / path.name).read_bytes() for path in files)


def test_without_scores_there_is_one_picture_that_says_so(tmp_path: Path) -> None:
    results = dataclasses.replace(make_results(tmp_path / "images"), per_image=[])
    write_examples(results, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["none.png"]


@pytest.mark.parametrize("count", [0, 1, MOST, MOST + 1, 1000])
def test_never_more_than_a_few_and_always_the_first(count: int) -> None:
    chosen = spaced([f"{n:04d}" for n in range(count)])
    assert len(chosen) == min(count, len(chosen)) <= MOST
    assert list(chosen[:1]) == ["0000"][:count]
    steps = {int(b) - int(a) for a, b in pairwise(chosen)}
    assert len(steps) <= 1
