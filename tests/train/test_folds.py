"""Heads that have not seen a part of the train images."""

from pathlib import Path

import pytest
import torch
from support.training import equal, head, quick

from pipeline.core.errors import SettingsError, TrainError
from pipeline.core.manifest import Manifest
from pipeline.models.folds import FOLDS, fold_of, load_folds
from pipeline.train.run import fit, save_fit

SEVERAL = {"loss": "multi_label", "checkpoint": "last", "epochs": 2}


def test_each_head_is_that_of_a_run_without_the_images_of_its_fold(colors: Manifest, start: str) -> None:
    """By a run whose manifest lacks them: the same but for the views, which are drawn by position."""
    one_view = {**SEVERAL, "flip": False, "crop": 64, "resize": 64, "views": 1, "epochs": 3}
    settings = quick(start, class_folds=2, **one_view)
    trained = fit(colors, settings)
    assert trained.folds is not None
    train = colors.select("train")
    for number in (0, 1):
        kept = [record.id for record in train if fold_of(record.id, 2, settings.seed) != number]
        assert 0 < len(kept) < len(train)
        rest = colors.with_ids([*kept, *colors.select("val").ids()])
        alone = head(fit(rest, quick(start, **one_view)))
        torch.testing.assert_close(trained.folds.weight[number], alone["weight"], atol=1e-3, rtol=1e-2)
        torch.testing.assert_close(trained.folds.bias[number], alone["bias"], atol=1e-3, rtol=1e-2)


def test_folds_change_nothing_else_and_are_saved_beside_the_weights(
    colors: Manifest, start: str, tmp_path: Path
) -> None:
    plain, folded = fit(colors, quick(start, **SEVERAL)), fit(colors, quick(start, class_folds=3, **SEVERAL))
    assert equal(head(plain), head(folded))
    for name, one in (("plain", plain), ("folded", folded)):
        save_fit(one, tmp_path / name, tmp_path / f"{name}.csv", tmp_path / f"{name}.json")
    assert not (tmp_path / "plain" / FOLDS).exists()
    assert load_folds(tmp_path / "folded").count == 3


def test_folds_that_cannot_be_trained_are_refused(colors: Manifest, start: str) -> None:
    with pytest.raises(TrainError, match=r"train\.class_folds is 1000: expected train images in each fold"):
        fit(colors, quick(start, class_folds=1000, **SEVERAL))
    with pytest.raises(SettingsError, match=r"train\.class_folds: expected 0 with train\.method 'acol', got 2"):
        fit(colors, quick(start, class_folds=2, method="acol", **SEVERAL))
