"""Targets: what a refined prediction says of cells of 4 x 4 pixels, and what it must not say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.evaluation import png_array
from support.helpers import row, student_settings
from support.student import CLASSES, Squares, write_store

from pipeline.core.errors import TrainError
from pipeline.core.manifest import from_rows
from pipeline.core.store import Store
from pipeline.student.target_settings import TargetSettings
from pipeline.student.targets import (
    IGNORED,
    choose_train_images,
    label_cells,
    read_label_target,
    read_score,
    score_cells,
)


def settings(**changes: object) -> TargetSettings:
    return student_settings(targets=changes).targets


# --- cells ------------------------------------------------------------------------------------------------------------


def slow_score_cell(pixels: NDArray[np.uint8], chosen: TargetSettings) -> float:
    values = []
    for score in pixels.ravel().tolist():
        p = score / 255
        if chosen.low < p < chosen.high:
            continue
        values.append(p if chosen.soft else float(p >= chosen.high))
    return sum(values) / len(values) if values else IGNORED


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.2, 0.8), (0.0, 1.0)])
def test_score_cells_equal_a_plain_loop(soft: bool, low: float, high: float) -> None:
    scores = np.random.default_rng(0).choice([0, 30, 51, 128, 204, 240, 255], (2, 8, 12)).astype(np.uint8)
    scores[0, :4, :4] = 128  # between the bounds: a cell that does not count
    chosen = settings(soft=soft, low=low, high=high)
    cells = score_cells(torch.from_numpy(scores), chosen)
    assert cells.shape == (2, 2, 3)
    for n, i, j in np.ndindex(2, 2, 3):
        expected = slow_score_cell(scores[n, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4], chosen)
        assert cells[n, i, j].item() == pytest.approx(expected, abs=1e-6)
    assert (cells[0, 0, 0].item() == IGNORED) == (low < high)


def test_score_cells_by_hand() -> None:
    """8 pixels of 255, 4 of 102 (p = 0.4), 4 of 0."""
    cell = torch.tensor([[[255] * 4, [255] * 4, [102] * 4, [0] * 4]], dtype=torch.uint8)
    assert score_cells(cell, settings(soft=True, low=0.5, high=0.5)).item() == pytest.approx((8 + 4 * 0.4) / 16)
    assert score_cells(cell, settings(soft=False, low=0.5, high=0.5)).item() == pytest.approx(8 / 16)
    assert score_cells(cell, settings(soft=True, low=0.3, high=0.7)).item() == pytest.approx(8 / 12)
    assert score_cells(cell[:, 2:3].expand(1, 4, 4), settings(low=0.3, high=0.7)).item() == IGNORED


def test_label_cells_by_hand() -> None:
    labels = torch.zeros(1, 8, 12, dtype=torch.uint8)
    labels[0, :4, 4:8] = 3
    labels[0, 3, 8] = 1  # one pixel of another class
    labels[0, 4:, :4] = 255
    labels[0, 4:, 4:8] = 255
    labels[0, 7, 7] = 0  # partly ignored
    labels[0, 4:, 8:] = 200
    assert label_cells(labels).tolist() == [[[0, 3, 255], [255, 255, 200]]]


# --- stored predictions -----------------------------------------------------------------------------------------------


def store_of(folder: Path, **arrays: list[list[int]]) -> Store:
    write_store(folder, {"a": {name: png_array(np.array(pixels, np.uint8)) for name, pixels in arrays.items()}})
    return Store(folder)


LABELS = [[0, 0, 0, 1, 1, 1, 3]]
FOREGROUND = [[26, 128, 230, 26, 128, 230, 230]]  # p = 0.1, 0.5, 0.9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.2, 0.8, [[0, 255, 255, 255, 255, 1, 255]]),
        (0.6, 0.8, [[0, 0, 255, 255, 255, 1, 255]]),
        (0.2, 0.4, [[0, 255, 255, 255, 1, 1, 255]]),
        (0.5, 0.5, [[0, 0, 0, 1, 1, 1, 255]]),  # no band: what the map says, wherever the class may be
    ],
)
def test_label_targets_are_certain_and_of_known_classes(
    low: float, high: float, expected: list[list[int]], tmp_path: Path
) -> None:
    """The last pixel is of class id 3, which an image with the label 0 alone has not."""
    store = store_of(tmp_path, after=LABELS, foreground=FOREGROUND)
    assert read_label_target(store, "a", (0,), settings(low=low, high=high)).tolist() == expected
    both = read_label_target(store, "a", (0, 2), settings(low=low, high=high))
    assert both.tolist() == [[*expected[0][:-1], 3]]


def test_bounds_belong_to_the_certain_side(tmp_path: Path) -> None:
    store = store_of(tmp_path, after=[[0, 1]], foreground=[[51, 204]])  # p = 0.2 and 0.8, as float32 has them
    assert read_label_target(store, "a", (0,), settings(low=0.2001, high=0.7999)).tolist() == [[0, 1]]
    assert read_label_target(store, "a", (0,), settings(low=0.1999, high=0.8001)).tolist() == [[255, 255]]


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (0.5, 0.5)])
def test_a_target_of_two_backgrounds_takes_the_place_of_the_band(low: float, high: float, tmp_path: Path) -> None:
    """Whatever `after`, `foreground` and the bounds say; class id 3 is none of the image's classes."""
    target = [[0, 255, 1, 1, 0, 255, 3]]
    store = store_of(tmp_path, after=LABELS, foreground=FOREGROUND, target=target)
    assert read_label_target(store, "a", (0,), settings(low=low, high=high)).tolist() == [[0, 255, 1, 1, 0, 255, 255]]
    assert read_label_target(store, "a", (0, 2), settings(low=low, high=high)).tolist() == target


def test_predictions_without_known_labels_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, after=[[0, 1]])
    with pytest.raises(TrainError, match=r"a: expected the array 'foreground', found \['after'\]; likely made without"):
        read_label_target(store, "a", (0,), settings())


def test_scores_are_the_refined_ones(tmp_path: Path) -> None:
    assert read_score(store_of(tmp_path, before=[[1, 2]], after=[[3, 255]]), "a").tolist() == [[3, 255]]


# --- images -----------------------------------------------------------------------------------------------------------


def test_images_without_one_certain_target_are_left_out(tmp_path: Path) -> None:
    labels = {"one": [1], "two": [0, 2], "none": [], "unseen": [1], "other_split": [1]}
    rows = [row(name, f"{name}.png", known, "val" if "split" in name else "train") for name, known in labels.items()]
    manifest = from_rows(rows, CLASSES, tmp_path, "labels")
    write_store(tmp_path / "refined", {name: {"after": np.zeros(1, np.uint8)} for name in labels if name != "unseen"})
    refined = Store(tmp_path / "refined")
    of_one = choose_train_images(manifest, refined, one_label=True)
    assert (of_one.ids, of_one.labels, of_one.files) == (("one",), ((1,),), (tmp_path / "one.png",))
    assert of_one.left_out == {"without a label": 1, "of several classes": 1, "without a prediction": 1}
    several = choose_train_images(manifest, refined, one_label=False)
    assert (several.ids, several.labels) == (("one", "two"), ((1,), (0, 2)))
    assert several.left_out == {"without a label": 1, "without a prediction": 1}


def test_without_any_target_the_likely_cause_is_said(squares: Squares, tmp_path: Path) -> None:
    write_store(tmp_path, {})
    with pytest.raises(TrainError, match=r"found none among 9 .*likely `extract` and `refine` ran before student"):
        choose_train_images(squares.manifest, Store(tmp_path), one_label=True)
