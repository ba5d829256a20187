"""Hide-and-Seek: the patches, their color, and how many are hidden."""

import numpy as np
import pytest

from pipeline.core.errors import TrainError
from pipeline.models.methods import make_method
from pipeline.models.methods.has import Method

COLOR = np.array([124, 116, 104], np.uint8)


def hide(method: Method, shape: tuple[int, int] = (224, 224), seed: int = 0) -> np.ndarray:
    """Which pixels of an image are hidden; the others are as they were."""
    image = np.random.default_rng(99).integers(0, 100, (*shape, 3), dtype=np.uint8)  # never of the color
    before = image.copy()
    changed = method.change_image(image, np.random.default_rng(seed), COLOR)
    np.testing.assert_array_equal(image, before)
    hidden: np.ndarray = (changed == COLOR).all(axis=2)
    np.testing.assert_array_equal(changed[~hidden], image[~hidden])
    return hidden


@pytest.mark.parametrize("patch", [16, 32, 44, 56])
@pytest.mark.parametrize("shape", [(224, 224), (112, 224)])
def test_patches_of_a_grid_are_hidden_whole_or_not_at_all(patch: int, shape: tuple[int, int]) -> None:
    hidden, seen = hide(Method(patches=str(patch)), shape), set()
    for top in range(0, shape[0], patch):
        for left in range(0, shape[1], patch):
            part = hidden[top : top + patch, left : left + patch]
            assert part.all() or not part.any()
            seen.add(bool(part.all()))
    assert seen == {True, False}


def test_every_size_is_drawn_and_scaled_with_the_crop() -> None:
    def step(side: int, seed: int) -> int:
        hidden = hide(Method(), (side, side), seed)
        edges = np.flatnonzero((hidden[:, 1:] != hidden[:, :-1]).any(axis=0)) + 1
        return int(edges.min(initial=side))  # no edge: nothing is hidden

    assert {step(224, seed) for seed in range(40)} >= {16, 32, 44, 56, 224}
    assert {step(112, seed) for seed in range(40)} >= {8, 16, 22, 28, 112}


@pytest.mark.parametrize("probability", [0.25, 0.5, 0.8])
def test_the_hidden_share_is_the_probability(probability: float) -> None:
    """And one image in five is whole, as one of the five sizes is 0."""
    method = Method(probability=probability, patches="16 32 44 56")
    shares = [hide(method, seed=seed).mean() for seed in range(80)]
    assert np.mean(shares) == pytest.approx(probability, abs=0.03)
    assert np.std(shares) > 0.02, "each patch is drawn by itself"
    whole = [not hide(Method(probability=probability), seed=seed).any() for seed in range(400)]
    assert np.mean(whole) == pytest.approx(1 / 5, abs=0.05)


def test_an_image_by_hand() -> None:
    """Patches of 2 x 2 in an image of 3 x 5, the outer ones cut; hidden is what draws a number below 0.5."""

    class Drawn:
        def choice(self, sizes: list[int]) -> int:
            assert sizes == [90]
            return 90  # of 224: 2 of 5

        def random(self, shape: tuple[int, int]) -> np.ndarray:
            assert shape == (2, 3)
            return np.array([[0.4, 0.6, 0.1], [0.9, 0.5, 0.49]])

    image = np.zeros((3, 5, 3), np.uint8)
    changed = Method(patches="90").change_image(image, Drawn(), np.array([9, 9, 9], np.uint8))  # type: ignore[arg-type]
    assert changed[:, :, 0].tolist() == [[9, 9, 0, 0, 9], [9, 9, 0, 0, 9], [0, 0, 0, 0, 9]]


@pytest.mark.parametrize("patches", ["", "16,32", "0", "-4", "big"])
def test_sizes_that_are_none_are_refused(patches: str) -> None:
    with pytest.raises(TrainError, match=r"train\.method_options.*expected sides in pixels"):
        make_method("has", {"patches": patches})
