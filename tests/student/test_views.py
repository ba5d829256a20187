"""Views: the same crop of image and target, different for every epoch, the same for every run."""

import math
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.helpers import student_settings, write_png

from pipeline.student.settings import ViewSettings
from pipeline.student.views import PairDataset, random_crop, random_pair, random_target

Pixels = NDArray[np.uint8]


def settings(**changes: object) -> ViewSettings:
    return student_settings(views={"size": 64, "color": 0.0, **changes}).views


sides = st.integers(1, 400)


@hypothesis.settings(deadline=None)  # the machine may be busy
@given(sides, sides, st.floats(0.05, 1), st.integers(0, 2**31))
def test_a_crop_lies_inside_and_has_its_share_of_the_area(height: int, width: int, least: float, seed: int) -> None:
    top, left, h, w = random_crop((height, width), least, np.random.default_rng(seed))
    assert 0 <= top <= top + h <= height
    assert 0 <= left <= left + w <= width
    assert h > 0
    assert w > 0
    # a side is rounded by half a pixel at most, so that the area is off by half of both sides
    assert h * w >= least * height * width - (h + w) / 2 - 0.25
    if (h, w) != (height, width):
        assert 3 / 4 * (h - 0.5) - 0.5 <= w <= 4 / 3 * (h + 0.5) + 0.5


def test_crops_spread_evenly_over_their_areas() -> None:
    """In a square every ratio fits for shares up to 3/4, so that these are drawn as the rule says."""
    random = np.random.default_rng(0)
    crops = [random_crop((400, 400), 0.25, random) for _ in range(2000)]
    shares = np.array([h * w / 400**2 for _, _, h, w in crops])
    below = shares[shares < 0.75]
    assert below.mean() == pytest.approx(
        0.5, abs=4 * (0.5 / math.sqrt(12)) / math.sqrt(len(below))
    )  # 4 standard errors
    assert {top + h == 400 for top, _, h, _ in crops} == {True, False}


def bright_square(top: int, left: int, side: int) -> tuple[Pixels, Pixels]:
    image, target = np.zeros((90, 130, 3), np.uint8), np.zeros((90, 130), np.uint8)
    image[top : top + side, left : left + side] = 255
    target[top : top + side, left : left + side] = 255
    return image, target


@pytest.mark.parametrize(("is_label", "most"), [(True, 1.0), (False, 0.0)])
def test_image_and_target_stay_aligned(is_label: bool, most: float) -> None:
    """A score is resized as the image is. A label keeps its values: its edge is within a pixel of where that of the
    image passes half."""
    seen = 0
    for seed in range(12):
        pair = bright_square(20 + seed, 30 + seed, 25)
        image, target = random_pair(*pair, is_label, settings(min_area=0.3), np.random.default_rng(seed))
        assert image.shape == (64, 64, 3)
        assert image.dtype == target.dtype == np.uint8
        if is_label:
            assert set(np.unique(target)) <= {0, 255}
        bright, marked = (np.argwhere(pixels >= 128) for pixels in (image[..., 0], target))
        if not len(marked):
            continue
        seen += 1
        for ours, expected in ((marked.min(axis=0), bright.min(axis=0)), (marked.max(axis=0), bright.max(axis=0))):
            np.testing.assert_allclose(ours, expected, atol=most)
    assert seen >= 10


def test_half_of_the_views_are_mirrored() -> None:
    """The whole image is taken, its left part bright."""
    image, target = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    image[:, :20], target[:, :20] = 255, 255
    whole = settings(min_area=1.0)
    views = [random_pair(image, target, True, whole, np.random.default_rng(seed)) for seed in range(40)]
    assert all((view[0, 0, 0] == 255) == (label[0, 0] == 255) for view, label in views)
    assert 10 <= sum(view[0, 0, 0] == 0 for view, _ in views) <= 30  # chance: 20, standard deviation 3.2
    plain = settings(min_area=1.0, flip=False)
    assert all(random_pair(image, target, True, plain, np.random.default_rng(n))[0][0, 0, 0] for n in range(20))


def test_colors_change_in_the_image_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    target = image[..., 0].copy()
    views = [settings(min_area=1.0, flip=False, color=color) for color in (0.0, 0.4)]
    (plain, before), (changed, after) = (
        random_pair(image, target, False, view, np.random.default_rng(3)) for view in views
    )
    np.testing.assert_array_equal(before, after)
    assert np.abs(plain.astype(int) - changed).mean() > 3


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    return [write_png(tmp_path / f"{n}.png", random.integers(0, 255, (40, 56, 3), np.uint8)) for n in range(3)]


def view(files: list[Path], seed: int, epoch: int, position: int) -> tuple[Pixels, Pixels]:
    target = np.arange(40 * 56, dtype=np.uint32).astype(np.uint8).reshape(40, 56)
    dataset = PairDataset(files, lambda _: target, False, settings(color=0.2), seed, epoch)
    image, label, number = dataset[position]
    assert (len(dataset), number) == (3, position)
    return image, label


def test_a_view_depends_on_seed_epoch_and_position_alone(files: list[Path]) -> None:
    same = [files[0]] * 3
    first = view(same, 0, 0, 1)
    view(same, 0, 0, 2)  # what was read before plays no part
    for ours, again in zip(first, view(same, 0, 0, 1), strict=True):
        np.testing.assert_array_equal(ours, again)
    for other in ((1, 0, 1), (0, 1, 1), (0, 0, 2)):
        assert not np.array_equal(view(same, *other)[1], first[1]), other
    assert not np.array_equal(view(files, 0, 0, 1)[0], first[0])


@pytest.mark.parametrize("is_label", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_target_without_its_image_is_that_of_the_pair(is_label: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    image, target = (random.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 56, 3), (40, 56)))
    options = settings(min_area=0.2)
    _, expected = random_pair(image, target, is_label, options, np.random.default_rng(seed))
    found = random_target(target, is_label, options, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, expected)
