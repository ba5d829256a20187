"""The gallery's files and index: complete or not there, and exact pixels."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import StoreError
from pipeline.core.images import decode_png
from pipeline.report.gallery import (
    FOLDER,
    PART,
    Gallery,
    Item,
    Layer,
    Sort,
    check_gallery_place,
    layer_uri,
    photo_uri,
    sample_pixels,
    shown_size,
    write_gallery,
)


def _items(count: int) -> list[Item]:
    return [Item(f"{number:03d}", (1, 1), {"image": f"data:{number}"}) for number in range(count)]


def _parts(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """What each part hands over, by file."""
    calls = {path.name: re.fullmatch(r"galleryPart\((\d+), (.*)\);\n", path.read_text()) for path in folder.iterdir()}
    return {name: json.loads(call[2]) for name, call in calls.items() if call and name == f"part-{int(call[1]):05d}.js"}


def test_every_item_is_in_the_part_that_the_index_names(tmp_path: Path) -> None:
    items = _items(PART + 1)
    write_gallery(tmp_path / FOLDER, items)
    parts = _parts(tmp_path / FOLDER)
    assert sorted(parts) == ["part-00000.js", "part-00001.js"]
    index = Gallery([Layer("image", "image", "photo")], items, [], "", "", [Sort("id", "id")]).index()
    for item in index["items"]:
        assert parts[f"part-{item['part']:05d}.js"][item["id"]] == {"image": f"data:{int(item['id'])}"}


def test_a_gallery_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    write_gallery(tmp_path / FOLDER, _items(2 * PART))
    first = (tmp_path / FOLDER / "part-00000.js").read_bytes()
    write_gallery(tmp_path / FOLDER, _items(PART))
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]  # nothing temporary is left
    assert {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == {"part-00000.js": first}
    write_gallery(tmp_path / FOLDER, [])
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_an_old_gallery_stays_if_the_new_one_cannot_be_made(tmp_path: Path) -> None:
    write_gallery(tmp_path / FOLDER, _items(2))
    with pytest.raises(ValueError, match="JSON"):
        write_gallery(tmp_path / FOLDER, [Item("a", (1, 1), {"image": float("nan")})])  # type: ignore[dict-item]
    assert sorted(_parts(tmp_path / FOLDER)["part-00000.js"]) == ["000", "001"]
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_an_item_has_the_layers_whose_images_it_has() -> None:
    layers = [
        Layer("image", "image", "photo", contour="refined"),
        Layer("truth", "truth", "mask"),
        Layer("overlap", "overlap", "overlap", of="refined", truth="truth"),
    ]
    both = Item("a", (2, 1), {"image": "x", "refined": "y", "truth": "z"}, numbers={"iou": 1 / 3, "gain": None})
    alone = Item("b", (2, 1), {"image": "x", "refined": "y"})
    index = Gallery(layers, [both, alone], ["cat"], "iou", "IoU", [Sort("iou", "worst first")]).index()
    assert [item["layers"] for item in index["items"]] == [["image", "truth", "overlap"], ["image"]]
    assert index["items"][0]["numbers"] == {"iou": 0.333333, "gain": None}
    assert index["layers"][0] == {"name": "image", "title": "image", "kind": "photo", "contour": "refined"}
    assert list(index["overlap"]) == ["hit", "missed", "false", "confused", "ignored"]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_pixels_of_a_layer_are_a_sample_of_the_image(width: int, height: int, most: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    data = base64.b64decode(layer_uri(values, most).removeprefix("data:image/png;base64,"))
    shown = decode_png(np.frombuffer(data, np.uint8), "a")
    assert (shown.shape[1], shown.shape[0]) == shown_size(width, height, most)
    assert set(shown.ravel()) <= set(values.ravel())
    if max(width, height) <= most:
        np.testing.assert_array_equal(shown, values)


def test_a_sample_keeps_the_sides_of_an_image() -> None:
    values = np.repeat(np.array([[1, 2]], np.uint8), [30, 30], axis=1).repeat(40, axis=0)
    assert sample_pixels(values, 30).tolist() == [[1] * 15 + [2] * 15] * 20


def test_a_photograph_is_made_smaller() -> None:
    assert photo_uri(np.zeros((60, 80, 3), np.uint8), 40).startswith("data:image/jpeg;base64,")
    assert len(photo_uri(np.zeros((60, 80, 3), np.uint8), 8)) < len(photo_uri(np.zeros((60, 80, 3), np.uint8), 80))


def test_a_folder_of_others_is_never_replaced(tmp_path: Path) -> None:
    write_gallery(tmp_path / FOLDER, _items(2))
    write_gallery(tmp_path / FOLDER, _items(1))  # of an earlier page: replaced
    (tmp_path / FOLDER / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"gallery: expected no such folder, .*, found \['mine\.jpg'\]"):
        write_gallery(tmp_path / FOLDER, _items(1))
    assert (tmp_path / FOLDER / "mine.jpg").read_bytes() == b"mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="found a file"):
        check_gallery_place(tmp_path / "file")
