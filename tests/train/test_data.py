"""Views: what is cut out of an image, and that who reads it, and when, changes nothing."""

from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.coordinates import SIDE, coordinates, place
from support.helpers import CPU, train_settings, write_png

from pipeline.core.errors import DataError
from pipeline.train.augment import plain_view, random_view
from pipeline.train.data import Pass, ViewDataset, ViewReader, collate, count_draws


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_png(tmp_path / f"{n}.png", coordinates()) for n in range(12)]


def dataset(files: list[Path], seed: int = 1) -> ViewDataset:
    return ViewDataset(files, random_view(SIDE, 32, flip=True), seed)


def reader(files: list[Path], orders: list[list[int]], workers: int) -> ViewReader:
    """Two datasets in turn: epochs 1, 2, … of the files, and after each the same plain view of the first."""
    passes = []
    for epoch, order in enumerate(orders, start=1):
        passes.append(Pass(0, epoch, len(order), partial(np.array, order)))
        passes.append(Pass(1, 0, 3, partial(np.arange, 3)))
    both = [dataset(files), ViewDataset(files[:3], plain_view(SIDE), 1)]
    return ViewReader(both, passes, train_settings(batch_size=2, workers=workers), CPU)


def test_a_view_depends_on_seed_epoch_and_position_alone(files: list[Path]) -> None:
    forward, backward = dataset(files), dataset(files)
    first = [forward[1, n, 0][0] for n in range(12)]
    again = {n: backward[1, n, 0][0] for n in reversed(range(12))}
    assert all(np.array_equal(first[n], again[n]) for n in range(12))
    places = [place(view) for view in first]
    assert len(set(places)) > 6  # the files are equal: the position makes the difference
    assert places != [place(dataset(files, seed=2)[1, n, 0][0]) for n in range(12)]
    assert places != [place(forward[2, n, 0][0]) for n in range(12)]
    assert places != [place(forward[1, n, 1][0]) for n in range(12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_the_order_and_the_views_however_many_read(workers: int, files: list[Path]) -> None:
    """Three epochs and their validations; the last draws an image twice, in two views."""
    orders = [[5, 4], [0, 1, 2, 3], [7, 3, 3, 11, 0]]
    one = reader(files, orders, workers)
    for number in range(5):
        read = list(one.read(number))
        if number % 2:
            assert [positions.tolist() for _, positions in read] == [[0, 1], [2]]
        else:
            assert torch.cat([positions for _, positions in read]).tolist() == orders[number // 2]
    assert [positions.tolist() for _, positions in read] == [[7, 3], [3, 11], [0]]
    views = torch.cat([images for images, _ in read]).permute(0, 2, 3, 1).numpy()
    for view, (position, draw) in zip(views, [(7, 0), (3, 0), (3, 1), (11, 0), (0, 0)], strict=True):
        np.testing.assert_array_equal(view, dataset(files)[3, position, draw][0])
    assert not np.array_equal(views[1], views[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_passes_can_be_read_from_any_place_and_left(workers: int, files: list[Path]) -> None:
    orders = [[5, 4, 3, 2, 1], [8, 6, 8, 7]]
    whole = [(images, where.tolist()) for images, where in reader(files, orders, workers).read(2)]
    one = reader(files, orders, workers)
    next(iter(one.read(0)))  # left after a batch
    assert [where.tolist() for _, where in one.read(0, start=4)] == [[1]]
    assert [where.tolist() for _, where in one.read(3)] == [[0, 1], [2]]
    for start in (2, 0):
        rest = list(one.read(2, start))
        assert [where.tolist() for _, where in rest] == [where for _, where in whole[start // 2 :]]
        for (images, _), (expected, _) in zip(rest, whole[start // 2 :], strict=True):
            assert torch.equal(images, expected)  # what came before the place still counts as drawn


def test_one_set_of_processes_reads_all_passes(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = BaseProcess.start
    monkeypatch.setattr(BaseProcess, "start", lambda process: started.append(process) or start(process))
    one = reader(files, [[0, 1, 2], [3, 4]], workers=2)
    assert [len(list(one.read(number))) for number in range(4)] == [2, 2, 1, 2]
    assert len(started) == 2
    assert not any(process.is_alive() for process in started)  # after the last pass


def test_processes_go_on_where_nobody_asks_for_more_than_the_batches_of_a_pass(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the trainer does: it never comes to the end of the iterator."""
    loaded, load = [], ViewReader._load
    monkeypatch.setattr(ViewReader, "_load", lambda self, *place: loaded.append(place) or load(self, *place))
    one = reader(files, [[0, 1, 2], [3, 4], [5]], workers=0)
    for number, count in enumerate([2, 2, 1, 2, 1, 2]):
        passed = one.read(number)
        for _ in range(count):
            next(passed)
        del passed
    assert loaded == [(0, 0)]


def test_an_order_is_made_when_its_turn_comes(files: list[Path]) -> None:
    made = []
    passes = [Pass(0, epoch, 4, lambda epoch=epoch: made.append(epoch) or np.arange(4)) for epoch in range(3)]
    one = ViewReader([dataset(files)], passes, train_settings(batch_size=4, workers=0), CPU)
    list(one.read(0))
    assert made == [0]
    list(one.read(1))
    assert made == [0, 1]


@given(st.lists(st.integers(0, 5)))
def test_draws_are_counted(order: list[int]) -> None:
    expected = [order[:n].count(value) for n, value in enumerate(order)]
    assert count_draws(np.array(order, np.int64)).tolist() == expected


def test_images_can_be_handed_to_a_spawned_process(files: list[Path]) -> None:
    """As on macOS, where a worker gets a copy instead of a fork."""
    copy = ForkingPickler.loads(ForkingPickler.dumps(dataset(files)))
    np.testing.assert_array_equal(copy[1, 5, 0][0], dataset(files)[1, 5, 0][0])


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
        dataset([tmp_path / "gone.png"])[1, 0, 0]
