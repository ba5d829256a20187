"""A folder of masks and boxes: what its masks mean, what its boxes are."""

from pathlib import Path

import numpy as np
import pytest
from support.helpers import write_png

from pipeline.core.errors import DataError
from pipeline.core.tracks import get_track
from pipeline.core.truth import read_foreground
from pipeline.preprocess.layouts.ilsvrc_cls import SWAPPED_MASKS
from pipeline.submission.truth import Masks, Truth, read_boxes, read_truth


def _read(folder: Path, track: str = "track3", classes: int = 200, masks: Masks = "auto") -> Truth:
    return read_truth(folder, masks, get_track(track), classes)


@pytest.mark.parametrize(
    ("values", "track", "kind"),
    [
        ([0, 255], "track3", "foreground"),
        ([0, 3, 255], "track3", "labels"),
        ([0, 1], "track3", "labels"),
        ([0, 7, 201, 255], "track3", "foreground"),  # gray: 201 is no class
        ([0, 7, 201, 255], "track1", "labels"),  # an error when it is read
        ([0, 255], "track1", "foreground"),
    ],
)
def test_all_masks_together_say_what_they_are(values: list[int], track: str, kind: str, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.array([values], np.uint8))
    write_png(tmp_path / "b.png", np.array([[0], [255]], np.uint8))
    truth = _read(tmp_path, track)
    assert truth.mask_kind == kind
    assert truth.sizes == {"a": (len(values), 1), "b": (1, 2)}
    assert _read(tmp_path, track, masks="labels").mask_kind == "labels"


@pytest.mark.parametrize(
    ("first", "track", "assumed"),
    [([0, 255], "track3", True), ([0, 0], "track3", False), ([0, 1], "track3", False), ([0, 255], "track1", False)],
)
def test_a_first_mask_with_both_values_may_speak_for_all(
    first: list[int], track: str, assumed: bool, tmp_path: Path
) -> None:
    write_png(tmp_path / "a.png", np.array([first], np.uint8))
    write_png(tmp_path / "b.png", np.array([[0, 7]], np.uint8))
    truth = read_truth(tmp_path, "auto", get_track(track), 200, assume=True)
    assert (truth.assumed, truth.mask_kind) == (assumed, "foreground" if assumed else "labels")
    assert not read_truth(tmp_path, "foreground", get_track(track), 200, assume=True).assumed


def test_boxes_alone_and_beside_masks(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("id,boxes\na,0 0 1 2; 3 0 4 0\nb,\n")
    assert read_boxes(tmp_path / "boxes.csv") == {"a": ((0, 0, 1, 2), (3, 0, 4, 0))}
    assert _read(tmp_path).sizes == {"a": None}
    write_png(tmp_path / "c.png", np.array([[0, 255]], np.uint8))
    both = _read(tmp_path)
    assert both.sizes == {"a": None, "c": (2, 1)}
    foreground, _ = read_foreground(both.record("a", (3, 5)), both.mask_kind)
    assert foreground.astype(int).tolist() == [[1, 1, 0, 1, 1], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,boxes\na,0 0 1 1\n", r"expected the columns \('id', 'boxes'\); missing=\['id'\], unknown=\['image'\]$"),
        ("id;boxes\na;0 0 1 1\n", "likely separated by semicolons or tabs: save it with commas"),
        ("id,boxes\na,0 0 1 1\na,0 0 1 1\n", "line 3, 'a': expected each id once, got it a second time"),
        (
            "id,boxes\n\na,0 0 1\nb,5 0 1 1\n",
            r"(?s)2 mistakes:.*line 3, 'a': boxes: expected `x0 y0 x1 y1`.*line 4, 'b': boxes: expected 0 <= x0",
        ),
        ("", "expected comma-separated values, got an empty file"),
        (
            "id,boxes\na,0,0,1,1\n",
            r"line 2: expected 2 cells, id,boxes, got 5: .*; likely a comma inside a cell: boxes",
        ),
        (
            'id,boxes\n"a,0 0 1 1\n',
            "line 2: expected comma-separated values, got .*; likely a quote that is not closed",
        ),
        ("id,boxes\na,0 0 1 \0\n", "boxes.csv: line 2: expected text in UTF-8, got a NUL character"),
    ],
)
def test_a_table_of_boxes_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        _read(tmp_path)


def test_tables_of_boxes_as_other_programs_write_them(tmp_path: Path) -> None:
    for text in ("\ufeffid,boxes\r\n\r\na,0 0 1 1\r\n", 'boxes,id\n"0 0 1 1",a\n', "id,boxes\na,0 0 1 1,\n"):
        (tmp_path / "boxes.csv").write_bytes(text.encode())
        assert read_boxes(tmp_path / "boxes.csv") == {"a": ((0, 0, 1, 1),)}
    (tmp_path / "boxes.csv").write_text("id,boxes\na,0 0 1 1\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"boxes\.csv: expected text in UTF-8, got UTF-16; save it as UTF-8"):
        read_boxes(tmp_path / "boxes.csv")


def test_a_box_outside_its_image_is_named_with_table_and_id(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("id,boxes\na,9 9 9 9\n")
    truth = _read(tmp_path)
    with pytest.raises(DataError, match=r"boxes.csv: a: expected boxes x0 y0 x1 y1 inside 5x3"):
        read_foreground(truth.record("a", (3, 5)), truth.mask_kind)


def test_no_truth_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected masks, <id>.png, or boxes.csv, found neither"):
        _read(tmp_path)
    with pytest.raises(DataError, match="found no such folder"):
        _read(tmp_path / "no")


def test_the_two_swapped_masks_of_the_challenge_fit_either_way(tmp_path: Path) -> None:
    swapped, mask = SWAPPED_MASKS[0], np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    for image_id in (swapped, "other"):
        write_png(tmp_path / f"{image_id}.png", mask)
    truth = _read(tmp_path)
    assert truth.sizes == {swapped: None, "other": (3, 2)}
    for shape, expected in (((2, 3), mask == 255), ((3, 2), mask.T == 255)):
        foreground, _ = read_foreground(truth.record(swapped, shape), "foreground")
        np.testing.assert_array_equal(foreground, expected)
    with pytest.raises(DataError, match="likely width and height swapped"):
        read_foreground(truth.record("other", (3, 2)), "foreground")


def test_the_part_of_some_images(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("id,boxes\na,0 0 1 2\nb,0 0 1 1\n")
    write_png(tmp_path / "b.png", np.array([[0, 255]], np.uint8))
    part = _read(tmp_path).select(["b"])
    assert (part.boxes, part.masks) == ({"b": ((0, 0, 1, 1),)}, {"b": tmp_path / "b.png"})
