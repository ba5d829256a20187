"""CutMix: boxes, shares, mixed labels, and the loss that follows from them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.methods.cutmix import Method, draw_box
from pipeline.train.targets import classification_loss


def batch(shape: tuple[int, int] = (20, 31)) -> torch.Tensor:
    """Six images, each of one value: 5, 15, …, 55."""
    return (10 * torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1) + 5).expand(6, 3, *shape).clone()


def test_labels_are_mixed_by_the_pixels_that_are_there() -> None:
    """Every image shows its own value and its partner's; labels have the shares of both, whatever was cut away."""
    images, targets = batch(), torch.tensor([0, 1, 2, 3, 0, 1])
    before, shares = images.clone(), []
    for seed in range(20):
        mixed, rows = Method().change_batch(images, targets, 5, np.random.default_rng(seed))
        for n in range(6):
            expected = torch.zeros(5)
            values, counts = mixed[n, 0].unique(return_counts=True)
            for value, count in zip(values, counts, strict=True):
                expected[targets[(int(value) - 5) // 10]] += count / (20 * 31)
            torch.testing.assert_close(rows[n], expected, atol=1e-6, rtol=0)
            shares.append(float((mixed[n, 0] != images[n, 0]).float().mean()))
    assert torch.equal(images, before)
    assert min(shares) < 0.05
    assert max(shares) > 0.6


def test_one_box_and_one_order_for_a_batch() -> None:
    images = batch()
    mixed, rows = Method().change_batch(images, torch.arange(6), 6, np.random.default_rng(4))
    changed = (mixed != images).any(dim=1)  # (6, H, W)
    boxes = changed[changed.any(dim=2).any(dim=1)]
    assert len(boxes) > 2
    assert (boxes == boxes[0]).all()
    ys, xs = boxes[0].nonzero(as_tuple=True)
    assert boxes[0].sum() == (ys.max() - ys.min() + 1) * (xs.max() - xs.min() + 1), "a box"
    torch.testing.assert_close(rows.sum(dim=0), torch.ones(6), msg="each image gives its box once")


def test_a_box_by_hand() -> None:
    """Share 0.25 of 20 x 40: half of each side, 10 x 20, around the center that is drawn, cut at the border."""

    class Drawn:
        def __init__(self, *values: int) -> None:
            self.values = list(values)

        def integers(self, most: int) -> int:
            return self.values.pop(0)

    assert draw_box(20, 40, 0.25, Drawn(10, 20)) == (slice(5, 15), slice(10, 30))  # type: ignore[arg-type]
    assert draw_box(20, 40, 0.25, Drawn(0, 39)) == (slice(0, 5), slice(29, 40))  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_a_box_lies_in_the_image_and_is_never_larger_than_its_share(h: int, w: int, share: float, seed: int) -> None:
    rows, columns = draw_box(h, w, share, np.random.default_rng(seed))
    assert 0 <= rows.start <= rows.stop <= h
    assert 0 <= columns.start <= columns.stop <= w
    assert (rows.stop - rows.start) * (columns.stop - columns.start) <= share * h * w + 1e-6


@pytest.mark.parametrize(("loss", "smoothing"), [("single_label", 0.0), ("single_label", 0.1), ("multi_label", 0.0)])
def test_the_loss_of_mixed_labels_is_the_mix_of_both_losses(loss: str, smoothing: float) -> None:
    several = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]])
    targets = torch.tensor([0, 2, 1, 2]) if loss == "single_label" else several
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 12, 9)
    mixed, rows = Method().change_batch(images, targets, 3, np.random.default_rng(1))
    share = float((mixed[:, 0] != images[:, 0]).float().mean(dim=(1, 2)).max())
    assert 0 < share < 1

    def one(n: int, k: int) -> torch.Tensor:
        return classification_loss(logits[n : n + 1], targets[k : k + 1], loss, smoothing)  # type: ignore[arg-type]

    expected = torch.zeros(())
    for n in range(4):
        partner = int(mixed[n].flatten()[mixed[n].flatten() != n][0]) if (mixed[n] != n).any() else n
        expected += ((1 - share) * one(n, n) + share * one(n, partner)) / 4
    torch.testing.assert_close(classification_loss(logits, rows, loss, smoothing), expected)  # type: ignore[arg-type]


def test_how_often_a_batch_is_mixed() -> None:
    def is_mixed(seed: int) -> bool:
        _, targets = Method(probability=0.3).change_batch(batch(), torch.arange(6), 6, np.random.default_rng(seed))
        return targets.ndim == 2

    assert sum(map(is_mixed, range(400))) / 400 == pytest.approx(0.3, abs=0.07)


def test_alpha_is_that_of_the_beta_distribution() -> None:
    """Large: all boxes have about half of the image before they are cut; small: nearly all or nothing."""

    def share(alpha: float, seed: int) -> float:
        random = np.random.default_rng(seed)
        return 1 - float(Method(alpha=alpha).change_batch(batch((64, 64)), torch.arange(6), 6, random)[1].max())

    assert max(share(1000.0, seed) for seed in range(60)) < 0.56
    assert np.mean([0.1 < share(0.05, seed) < 0.45 for seed in range(60)]) < 0.3
