"""The gallery: honest order, evenly spaced, labels and predictions named."""

import dataclasses
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.report_data import HEIGHT, SETTINGS, WIDTH

from pipeline.core.images import encode_png
from pipeline.core.store import Store, finish, write_shard
from pipeline.report.gallery import evenly, gallery
from pipeline.report.results import Results, read_student
from pipeline.report.run import render


def test_the_gallery_goes_from_best_to_worst(results: Results) -> None:
    shown = gallery(results, SETTINGS)
    assert [row.id for row in shown["scored"]] == ["000", "002", "003", "005"]
    assert [row.iou for row in shown["scored"]] == [0.9, 0.7, 0.6, 0.4]
    assert [row.rank for row in shown["scored"]] == ["1 of 6", "3 of 6", "4 of 6", "6 of 6"]
    assert [row.id for row in shown["unscored"]] == ["106", "107"]
    assert shown["quartiles"][0] == ("best", 0.9)
    assert shown["quartiles"][-1] == ("worst", 0.4)
    page = render(results, SETTINGS)
    places = [page.index(f"<code>{name}</code>") for name in ("000", "002", "003", "005", "106")]
    assert places == sorted(places)


def test_the_order_does_not_depend_on_the_order_of_the_file(results: Results) -> None:
    turned = dataclasses.replace(results, per_image=list(reversed(results.per_image)))
    assert gallery(turned, SETTINGS) == gallery(results, SETTINGS)


def test_images_without_a_score_stay_out(track3: Results) -> None:
    rows = [{**row, "iou_after": ""} if row["id"] == "000" else row for row in track3.per_image]
    shown = gallery(dataclasses.replace(track3, per_image=rows), SETTINGS)
    assert shown["scored"][0].id == "001"
    assert shown["total"] == 5


def test_rows_say_label_and_prediction(results: Results) -> None:
    row = gallery(results, SETTINGS)["scored"][1]  # 002: class index 2, probability 0.5
    assert [word.text for word in row.labels] == ["blue"]
    assert [word.text for word in row.predictions] == ["blue (0.50)"]
    assert row.is_right is True
    assert bool(row.predictions[0].color) == (results.track.name == "track1")
    assert [tile.name for tile in row.tiles][::4] == ["image", "overlap"]


def test_a_row_shows_first_stage_and_student_side_by_side(results: Results, tmp_path: Path) -> None:
    """The order is that of the scores of the student; what is drawn last is what is submitted."""
    black = np.frombuffer(encode_png(np.zeros((HEIGHT, WIDTH), np.uint8)), np.uint8)
    items = {name: {"before": arrays["after"], "after": black} for name, arrays in results.refined.items()}
    finish(tmp_path, [write_shard(tmp_path, 0, items)], {})
    plain, both = (
        gallery(given, SETTINGS)["scored"][0]
        for given in (results, dataclasses.replace(results, student=Store(tmp_path)))
    )
    names = [tile.name for tile in plain.tiles]
    assert [tile.name for tile in both.tiles] == [*names[:2], "first stage", "student without CRF", *names[2:]]
    one, other = ({tile.name: tile.uri for tile in row.tiles} for row in (plain, both))
    shown = names[2]  # the prediction
    assert other["first stage"] == other["student without CRF"] == one[shown] != other[shown]


def test_targets_of_split_train_are_no_predictions_of_the_student(results: Results, tmp_path: Path) -> None:
    arrays = results.refined.read("000")
    finish(tmp_path / "train", [write_shard(tmp_path / "train", 0, {"t": arrays})], {})
    for split in ("val", "test"):
        finish(tmp_path / split, [], {})
    assert read_student(tmp_path) is None
    finish(tmp_path / "test", [write_shard(tmp_path / "test", 0, {"106": arrays})], {})
    found = read_student(tmp_path)
    assert found is not None
    assert "106" in found


@given(st.integers(0, 300), st.integers(0, 40))
def test_evenly_takes_both_ends(count: int, most: int) -> None:
    places = evenly(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, count - 1)
