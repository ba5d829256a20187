"""Items of the gallery: what is right and wrong in an image, by hand, and the layers of both tracks."""

import base64
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.report_data import HEIGHT, SETTINGS, WIDTH, item_ids, make_results

from pipeline.core.images import decode_png, encode_png
from pipeline.core.store import Store, finish, write_shard
from pipeline.report.items import gallery_of
from pipeline.report.results import Results, read_student
from pipeline.report.settings import ReportSettings

ALL = ReportSettings(images=100, width=64)


def test_the_gallery_shows_all_scored_images_the_worst_first(results: Results) -> None:
    gallery = gallery_of(results, ALL)
    assert item_ids(gallery, "val") == ["005", "004", "003", "002", "001", "000"]
    assert item_ids(gallery, "test") == ["106", "107"]
    assert [item.numbers["iou"] for item in gallery.items[:2]] == [0.4, 0.5]
    assert gallery.items[0].caption == "without CRF 0.400"
    assert gallery.items[-1].numbers["iou"] is None


def test_the_order_does_not_depend_on_the_order_of_the_file(results: Results) -> None:
    turned = dataclasses.replace(results, per_image=list(reversed(results.per_image)))
    assert gallery_of(turned, ALL) == gallery_of(results, ALL)


def test_items_say_label_and_prediction(results: Results) -> None:
    item = next(item for item in gallery_of(results, ALL).items if item.id == "002")
    assert list(item.labels) == list(item.predicted) == [2]
    assert list(item.chances) == [0.5]
    assert item.numbers["chance"] == 0.5


def test_layers_are_of_the_task(results: Results) -> None:
    kinds = {layer.name: layer.kind for layer in gallery_of(results, SETTINGS).layers}
    prediction, truth = ("heat", "mask") if results.localizes else ("labels", "labels")
    assert kinds == {"image": "photo", "map": "heat", "prediction": prediction, "truth": truth, "overlap": "overlap"}


def test_pixels_of_prediction_and_truth_are_exact(results: Results) -> None:
    item = next(item for item in gallery_of(results, ALL).items if item.id == "001")
    assert (item.size, item.full) == ((WIDTH, HEIGHT), True)
    stored = decode_png(results.refined.read("001")["after"], "001")
    np.testing.assert_array_equal(_pixels(item.images["prediction"]), stored)
    # the prediction is the truth, moved by one pixel; a mask of Track 3 is 0 and 1
    truth = np.roll(stored, -1, axis=1)
    np.testing.assert_array_equal(_pixels(item.images["truth"]), truth > 0 if results.localizes else truth)


def test_a_small_gallery_says_that_its_pixels_are_fewer(results: Results) -> None:
    item = gallery_of(results, ReportSettings(images=1, width=24)).items[0]
    assert (item.size, item.full) == ((24, 16), False)
    assert _pixels(item.images["prediction"]).shape == (16, 24)


def test_kinds_of_error_by_hand(track3: Results) -> None:
    """The box is 24 pixels wide; moved by n, n columns of it are missed and n are surplus, of a union of 24 + n."""
    kinds = {item.id: list(item.kinds) for item in gallery_of(track3, ALL).items}
    assert kinds["002"] == []  # 2 of 26: less than a tenth
    assert kinds["003"] == ["missed", "false"]  # 3 of 27
    assert kinds["106"] == []  # no truth


def test_a_wrong_class_is_a_kind_of_error(track3: Results, tmp_path: Path) -> None:
    wrong = {name: {**arrays, "predicted": np.array([(arrays["classes"][0] + 1) % 3], np.int32)}
             for name, arrays in track3.maps.items()}  # fmt: skip
    finish(tmp_path, [write_shard(tmp_path, 0, wrong)], {})
    item = gallery_of(dataclasses.replace(track3, maps=Store(tmp_path)), ALL).items[-3]
    assert (item.id, list(item.labels), list(item.predicted)) == ("000", [0], [1])
    assert list(item.kinds) == ["class"]
    assert list(item.pairs) == [(1, 2, 1.0)]


def test_confused_classes_lead_to_their_images(tmp_path: Path) -> None:
    """Image 000: class id 1; half of its box is predicted as class id 3."""
    results = make_results(tmp_path / "images", "track1")
    items = {name: dict(arrays) for name, arrays in results.refined.items()}
    prediction = decode_png(items["000"]["after"], "000")
    prediction[:, WIDTH // 2 :] *= 3
    items["000"]["after"] = np.frombuffer(encode_png(prediction), np.uint8)
    finish(tmp_path / "other", [write_shard(tmp_path / "other", 0, items)], {})
    gallery = gallery_of(dataclasses.replace(results, refined=Store(tmp_path / "other")), ALL)
    item = next(item for item in gallery.items if item.id == "000")
    assert list(item.pairs) == [(1, 3, 1 / 8)]  # the box is a quarter of the image
    assert list(item.kinds) == ["class_false", "confused"]
    assert list(item.predicted) == [0, 2]
    assert gallery.pair_names[3] == "blue"


def test_the_slider_starts_at_the_best_threshold(results: Results) -> None:
    gallery = gallery_of(results, SETTINGS)
    if results.localizes:
        assert (gallery.threshold, gallery.iou) == (90, ("prediction", "truth"))
        assert gallery.pooled is not None
        assert gallery.pooled[90] == max(gallery.pooled) == pytest.approx(0.8)
    else:
        assert (gallery.threshold, gallery.iou, gallery.pooled) == (None, None, None)


def test_without_scores_there_is_no_order_by_them(results: Results) -> None:
    gallery = gallery_of(dataclasses.replace(results, per_image=[], table=[]), ALL)
    assert [sort.key for sort in gallery.sorts] == ["chance", "id"]
    assert (gallery.headline, gallery.iou) == ("", None)
    assert [item.id for item in gallery.items] == ["000", "001", "003", "004", "106", "107", "002", "005"]


def test_first_stage_and_student_stand_side_by_side(results: Results, tmp_path: Path) -> None:
    black = np.frombuffer(encode_png(np.zeros((HEIGHT, WIDTH), np.uint8)), np.uint8)
    items = {name: {"before": arrays["after"], "after": black} for name, arrays in results.refined.items()}
    finish(tmp_path, [write_shard(tmp_path, 0, items)], {})
    plain, both = (gallery_of(given, ALL) for given in (results, dataclasses.replace(results, student=Store(tmp_path))))
    titles = [layer.title for layer in plain.layers]
    assert [layer.title for layer in both.layers] == [*titles[:2], "first stage", "student", *titles[3:]]
    one, other = plain.items[0].images, both.items[0].images
    assert other["first"] == one["prediction"] != other["prediction"]


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


def test_many_images_are_made_by_several_processes_in_the_same_order(tmp_path: Path) -> None:
    results = make_results(tmp_path / "images", val=50, test=2)
    gallery = gallery_of(results, ALL)
    assert len(gallery.items) == 52
    assert gallery.items == gallery_of(results, ALL).items


def _pixels(uri: str) -> np.ndarray:
    return decode_png(np.frombuffer(base64.b64decode(uri.removeprefix("data:image/png;base64,")), np.uint8), "a")
