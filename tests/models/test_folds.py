"""Heads of folds as a file."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import TrainError
from pipeline.models.folds import FOLDS, Folds, fold_of, load_folds, save_folds
from pipeline.train.targets import choose_held_out


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


def test_images_held_out_for_the_choice_of_an_epoch_are_of_all_folds():
    ids = [f"image_{n}" for n in range(5000)]
    held_out = choose_held_out(ids, [(0,)] * len(ids), seed=3)
    counts = Counter(fold_of(image_id, 5, seed=3) for image_id, is_out in zip(ids, held_out, strict=True) if is_out)
    assert min(counts.values()) > 0.15 * held_out.sum()
    assert len(counts) == 5
