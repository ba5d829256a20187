"""Views: what is cut out of an image, and that who reads it, and when, changes nothing."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from support.coordinates import SIDE, coordinates, place
from support.helpers import CPU, train_settings, write_png

from pipeline.core.errors import DataError
from pipeline.train.augment import random_view
from pipeline.train.data import ViewDataset, batches, collate


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_png(tmp_path / f"{n}.png", coordinates()) for n in range(12)]


def dataset(files: list[Path], seed: int = 1, epoch: int = 1) -> ViewDataset:
    return ViewDataset(files, random_view(SIDE, 32, flip=True), seed, epoch)


def test_a_view_depends_on_seed_epoch_and_position_alone(files: list[Path]) -> None:
    forward, backward = dataset(files), dataset(files)
    first = [forward[n][0] for n in range(12)]
    again = {n: backward[n][0] for n in reversed(range(12))}
    assert all(np.array_equal(first[n], again[n]) for n in range(12))
    places = [place(view) for view in first]
    assert len(set(places)) > 6  # the files are equal: the position makes the difference
    assert places != [place(dataset(files, seed=2)[n][0]) for n in range(12)]
    assert places != [place(dataset(files, epoch=2)[n][0]) for n in range(12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_the_order_and_the_views_however_many_read(workers: int, files: list[Path]) -> None:
    order = [7, 3, 3, 11, 0]
    read = list(batches(dataset(files), order, train_settings(batch_size=2, workers=workers), CPU))
    assert [positions.tolist() for _, positions in read] == [[7, 3], [3, 11], [0]]
    views = torch.cat([images for images, _ in read]).permute(0, 2, 3, 1).numpy()
    draws = [(7, 0), (3, 0), (3, 1), (11, 0), (0, 0)]  # the third image comes twice, in two views
    for view, draw in zip(views, draws, strict=True):
        np.testing.assert_array_equal(view, dataset(files)[draw][0])
    assert not np.array_equal(views[1], views[2])


def test_images_can_be_handed_to_a_spawned_process(files: list[Path]) -> None:
    """As on macOS, where a worker gets a copy instead of a fork."""
    copy = ForkingPickler.loads(ForkingPickler.dumps(dataset(files)))
    np.testing.assert_array_equal(copy[5][0], dataset(files)[5][0])


def test_collate_turns_images_to_channels_without_moving_them() -> None:
    items = [(coordinates((3, 5)), 4), (coordinates((3, 5)) + np.uint8(9), 2)]
    images, positions = collate(items)
    assert images.shape == (2, 3, 3, 5)
    assert positions.tolist() == [4, 2]
    assert images.is_contiguous(memory_format=torch.channels_last)
    for image, (item, _) in zip(images, items, strict=True):
        for channel in range(3):
            np.testing.assert_array_equal(image[channel].numpy(), item[:, :, channel])


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: expected an image, found no file"):
        dataset([tmp_path / "gone.png"])[0]
