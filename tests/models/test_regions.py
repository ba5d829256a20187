"""Maps of labels, and images without some of their regions."""

import numpy as np
import pytest
import torch

from pipeline.models.regions import (
    erase_batch,
    erase_cells,
    label_maps,
    largest_of_labels,
    scale_to_unit,
    share_of_maximum,
)  # fmt: skip

FEATURES = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]], [[[3.0, 1.0]], [[1.0, 1.0]]]])  # (2, 2, 1, 2)
WEIGHTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])  # (3, 2)


def test_maps_of_one_label_an_image_by_hand() -> None:
    maps, are_labels = label_maps(FEATURES, WEIGHTS, torch.tensor([2, 0]))
    assert maps.tolist() == [[[[1.0, -2.0]]], [[[3.0, 1.0]]]]
    assert are_labels.tolist() == [[True], [True]]


def test_maps_of_several_labels_and_none() -> None:
    rows = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.uint8)
    maps, are_labels = label_maps(FEATURES, WEIGHTS, rows)
    assert maps[0].tolist() == [[[1.0, 0.0]], [[0.0, 2.0]], [[1.0, -2.0]]]
    assert largest_of_labels(maps, are_labels).tolist() == [[[[1.0, 2.0]]], [[[0.0, 0.0]]]]


def test_maps_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps, _ = label_maps(FEATURES.bfloat16() * 1.01, WEIGHTS * 1.001, torch.tensor([2, 0]))
    assert maps.dtype == torch.float32


def test_constant_and_negative_maps_have_no_peak() -> None:
    flat = torch.full((1, 1, 2, 2), 3.0)
    assert not scale_to_unit(flat).any()
    assert not share_of_maximum(-flat).any()
    assert (share_of_maximum(flat) == 1).all()
    assert share_of_maximum(torch.tensor([[[[-4.0, 1.0, 2.0]]]])).tolist() == [[[[0.0, 0.5, 1.0]]]]


@pytest.mark.parametrize(("shape", "cells"), [((4, 6), (2, 3)), ((5, 7), (2, 3)), ((3, 2), (4, 4)), ((9, 4), (1, 2))])
def test_a_pixel_is_erased_if_its_center_lies_in_an_erased_cell(shape: tuple[int, int], cells: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(shape))
    image = random.integers(0, 255, (*shape, 3), dtype=np.uint8)
    chosen, color = random.random(cells) < 0.5, np.array([1, 2, 255], np.uint8)
    expected = image.copy()
    for y in range(shape[0]):
        for x in range(shape[1]):
            if chosen[int((y + 0.5) / shape[0] * cells[0]), int((x + 0.5) / shape[1] * cells[1])]:
                expected[y, x] = color
    np.testing.assert_array_equal(erase_cells(image, chosen, color), expected)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    both = torch.from_numpy(np.stack([chosen, ~chosen]))
    found = erase_batch(batch, both, torch.from_numpy(color)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found[0], expected)
    assert ((found[1] == image).all(axis=2) | (found[1] == color).all(axis=2)).all()
