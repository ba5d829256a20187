"""Views: what is cut out of an image, and that who reads it, and when, changes nothing."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.helpers import CPU, squared_ramp, striped_ramp, train_settings, write_png

from pipeline.core.errors import DataError
from pipeline.train.augment import View, plain_view, random_view
from pipeline.train.data import ViewDataset, batches, collate

SIDE = 40


def coordinates(shape: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """Red counts rows, green columns: every pixel says where it was."""
    rows, columns = np.indices(shape)
    return np.stack([rows, columns, np.zeros(shape, int)], axis=2).astype(np.uint8)


def place(view: NDArray[np.uint8]) -> tuple[int, int, bool]:
    """Row, column and mirroring of a view of `coordinates`; fails if it is no part of it."""
    top, mirrored = int(view[0, 0, 0]), bool(view[0, 0, 1] > view[0, -1, 1])
    straight = view[:, ::-1] if mirrored else view
    left = int(straight[0, 0, 1])
    height, width = view.shape[:2]
    np.testing.assert_array_equal(straight, coordinates()[top : top + height, left : left + width])
    return top, left, mirrored


def test_a_view_is_a_random_part_of_the_image_mirrored_one_time_in_two() -> None:
    view = random_view(SIDE, 32, flip=True)
    seen = [place(view(coordinates(), seed)) for seed in range(400)]
    # 200 expected, standard deviation 10: five of them
    assert abs(sum(mirrored for *_, mirrored in seen) - 200) < 50
    for axis in (0, 1):  # 9 places each: all are met, the outermost too
        assert {spot[axis] for spot in seen} == set(range(SIDE - 32 + 1))
    assert len({(top, left) for top, left, _ in seen}) > 60, "rows and columns move together"
    # place and mirroring are independent: of some 178 views from the upper four places half are mirrored, deviation 6.7
    upper = [mirrored for top, _, mirrored in seen if top < 4]
    assert abs(sum(upper) - len(upper) / 2) < 5 * 6.7, "crop and flip hang on the same random number"


def test_without_flip_nothing_is_mirrored() -> None:
    view = random_view(SIDE, 32, flip=False)
    assert not any(place(view(coordinates(), seed))[2] for seed in range(100))


@pytest.mark.parametrize("shape", [(30, 50), (80, 20)])
def test_an_image_is_made_square_whatever_its_shape(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    image[: shape[0] // 2] = (200, 0, 0)
    assert random_view(SIDE, 32, flip=True)(image, 0).shape == (32, 32, 3)
    square = plain_view(SIDE)(image, 0)
    assert square.shape == (SIDE, SIDE, 3)
    assert square[: SIDE // 2 - 2].min(axis=(0, 1)).tolist() == [200, 0, 0]  # rows stay rows, red stays red
    assert not square[SIDE // 2 + 2 :].any()


@pytest.mark.parametrize("view", [plain_view(SIDE), random_view(SIDE, 32, flip=False)])
def test_a_shrunk_image_is_averaged_not_sampled(view: View) -> None:
    stripes = np.zeros((4 * SIDE, 4 * SIDE, 3), np.uint8)
    stripes[::4] = 200  # one row of four; picked rows would be all or nothing
    assert np.unique(view(stripes, 0)).tolist() == [50]


@pytest.mark.parametrize("view", [plain_view(64), random_view(64, 64, flip=False)])
def test_each_axis_is_resized_by_its_own_rule(view: View) -> None:
    """Enlarged by area, as near to copied pixels as it is, the ramp would have steps of 6 levels."""
    np.testing.assert_allclose(view(striped_ramp(), 0), squared_ramp(64), rtol=0, atol=1)


def test_validation_sees_the_whole_image_unchanged() -> None:
    view = plain_view(SIDE)
    for seed in range(5):
        np.testing.assert_array_equal(view(coordinates(), seed), coordinates())


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
