"""Heads of folds as a file."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import TrainError
from pipeline.models.folds import FOLDS, Folds, fold_of, load_folds, save_folds


def test_every_fold_has_its_share_of_the_images() -> None:
    counts = Counter(fold_of(f"image_{n}", 5, seed=3) for n in range(5000))
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert all(abs(count - 1000) < 150 for count in counts.values())  # standard deviation 28
    assert fold_of("image_7", 1000, 0) != fold_of("image_7", 1000, 1)


def test_what_is_saved_comes_back_and_has_equal_bytes(tmp_path: Path) -> None:
    folds = Folds(torch.arange(12.0).view(2, 2, 3), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 17)
    save_folds(folds, tmp_path / "one")
    save_folds(folds, tmp_path / "two")
    assert (tmp_path / "one" / FOLDS).read_bytes() == (tmp_path / "two" / FOLDS).read_bytes()
    found = load_folds(tmp_path / "one")
    assert torch.equal(found.weight, folds.weight)
    assert torch.equal(found.bias, folds.bias)
    assert (found.seed, found.count) == (17, 2)


def test_no_folds_and_damaged_ones_are_told(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"expected heads of folds, found none; likely train.class_folds is 0"):
        load_folds(tmp_path)
    (tmp_path / FOLDS).write_bytes(b"nothing")
    with pytest.raises(TrainError, match=r"expected heads of folds, got .*; likely damaged: train again"):
        load_folds(tmp_path)
