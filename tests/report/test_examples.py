"""Example images for `dvc plots`."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.report_data import make_results

from pipeline.core.store import Store, finish, write_shard
from pipeline.report.examples import MOST, write_examples
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


def test_of_many_images_a_few_are_taken_the_first_and_the_last_among_them(tmp_path: Path) -> None:
    results = make_results(tmp_path / "images", val=MOST + 3)
    write_examples(results, tmp_path / "out")
    scored = sorted(row["id"] for row in results.per_image)
    names = sorted(path.stem for path in (tmp_path / "out").iterdir())
    assert len(names) == MOST
    assert (names[0], names[-1]) == (scored[0], scored[-1])


def test_a_threshold_is_strict_where_the_scores_are_compared_so(tmp_path: Path) -> None:
    """The prediction is 0 and 255: at t = 255 {score > t} is empty and has no border."""
    results = make_results(tmp_path / "images", val=1)
    for name, comparison in (("at_least", ">="), ("above", ">")):
        metrics = {**results.metrics, "peak_threshold": 255, "comparison": comparison}
        write_examples(dataclasses.replace(results, metrics=metrics), tmp_path / name)
    with Image.open(tmp_path / "at_least" / "000.png") as border, Image.open(tmp_path / "above" / "000.png") as none:
        assert np.any(np.array(border) != np.array(none))


@pytest.mark.filterwarnings("error")
def test_ids_are_text_in_any_script(tmp_path: Path) -> None:
    """No formula, which $^$ would be a broken one of, and no warning of a font that lacks a letter."""
    results = make_results(tmp_path / "images", val=1)
    image_id = "$^$ \u8776"
    (arrays,) = [results.refined.read("000")]
    finish(tmp_path / "refined", [write_shard(tmp_path / "refined", 0, {image_id: dict(arrays)})], {})
    ids = [image_id, *results.manifest.ids()[1:]]
    place = results.manifest.table.schema.get_field_index("id")
    table = results.manifest.table.set_column(place, "id", pa.array(ids))
    renamed = dataclasses.replace(
        results,
        manifest=dataclasses.replace(results.manifest, table=table),
        refined=Store(tmp_path / "refined"),
        per_image=[{**results.per_image[0], "id": image_id}],
    )
    write_examples(renamed, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{image_id}.png"]
