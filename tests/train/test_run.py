"""Learning from tiny images of one color each: it works, it is repeatable, and it says when it cannot."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.helpers import SMALL, color_set, train_settings, write_png
from support.training import equal, head, quick, relabeled

from pipeline.core.errors import SettingsError, TrainError
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest, from_rows
from pipeline.models.cell_offset import measure_offset
from pipeline.models.methods.base import TrainingMethod
from pipeline.train import head as head_module
from pipeline.train import network as network_module
from pipeline.train.augment import View
from pipeline.train.build import make_classifier
from pipeline.train.run import fit, fit_together, history_rows
from pipeline.train.targets import choose_held_out


@pytest.mark.parametrize(("loss", "pooling"), [("single_label", "tap"), ("multi_label", "gap")])
def test_a_frozen_backbone_with_imagenet_weights_tells_colors_apart(colors: Manifest, loss: str, pooling: str) -> None:
    settings = train_settings(loss=loss, pooling=pooling, epochs=12)
    trained = fit(colors, settings)
    assert trained.training.best.val_accuracy == 1.0
    assert trained.training.history[-1].train_loss < 0.3 * trained.training.history[0].train_loss
    assert asdict(trained.facts) == {
        "device": "cpu",
        "world_size": 1,
        "precision": "fp32",
        "parameters": trained.classifier.parameter_count(),
        "output_stride": 16,
        "train_images": 18,
        "train_images_without_label": 0,
        "selected_by": "val",
        "validation_images": 6,
        "head_start_val_loss": None,
        "head_start_val_accuracy": None,
    }
    fresh = make_classifier(settings, 3)
    assert settings.backbone.name == SMALL
    assert equal(trained.classifier.backbone.state_dict(), fresh.backbone.state_dict()), (
        "a frozen backbone must not move"
    )


def test_the_same_seed_gives_the_same_head_bit_for_bit(colors: Manifest, start: str) -> None:
    first, again, other = (fit(colors, quick(start, seed=seed)) for seed in (3, 3, 4))
    assert equal(head(first), head(again))
    assert not equal(head(first), head(other))


def test_workers_change_nothing(colors: Manifest, start: str) -> None:
    alone, helped = (fit(colors, quick(start, workers=workers, epochs=2)) for workers in (0, 2))
    assert equal(head(alone), head(helped))


def test_images_without_label_are_left_out_of_single_label_learning(colors: Manifest, start: str) -> None:
    """The targets still meet their own images: colors take turns here, so that a shift by one would teach nonsense."""
    rows = sorted(colors.table.to_pylist(), key=lambda row: (row["split"], row["id"].rpartition("_")[2]))
    for n in (0, 7, 10, 18):  # three of train, the first among them, and the first of val
        rows[n]["labels"] = []
    gaps = from_rows(rows, colors.classes, colors.root, colors.mask_kind)
    for trains in (False, True):
        trained = fit(gaps, quick(start, backbone={"trained": trains}, epochs=10, optimizer={"learning_rate": 0.05}))
        assert (trained.facts.train_images, trained.facts.train_images_without_label) == (15, 3)
        assert trained.training.best.val_accuracy == 1.0


@pytest.mark.parametrize("trains", [False, True])
def test_validation_sees_whole_images_and_no_chance(
    trains: bool, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random crops would make the choice of the epoch a matter of luck."""
    settings = quick(start, backbone={"trained": trains}, epochs=2, views=1)
    views: list[tuple[str, int]] = []
    module = network_module if trains else head_module
    plain, crop = module.plain_view, module.training_view

    def watched(view: View, name: str) -> View:
        def see(image: Any, seed: int) -> Any:
            views.append((name, image.shape[0]))
            return view(image, seed)

        return see

    monkeypatch.setattr(module, "plain_view", lambda *given: watched(plain(*given), "plain"))
    monkeypatch.setattr(module, "training_view", lambda *given: watched(crop(*given), "random"))
    fit(colors, settings)
    assert Counter(name for name, _ in views) == {
        "random": 18 * (2 if trains else 1),
        "plain": 6 * (2 if trains else 1),
    }


def test_held_out_train_images_choose_the_epoch_and_split_val_is_not_read(colors: Manifest, start: str) -> None:
    rows = [
        {**row, "id": f"{row['id']}_{copy}"}
        for row in colors.table.to_pylist()
        for copy in range(5 if row["split"] == "train" else 1)
    ]
    blind = [{**row, "labels": [], "file": "nowhere.png"} if row["split"] == "val" else row for row in rows]
    manifest = from_rows(blind, colors.classes, colors.root, colors.mask_kind)
    trained = fit(manifest, quick(start, checkpoint="held_out_loss", epochs=4, views=1))
    held = int(choose_held_out(manifest.select("train").ids(), manifest.select("train").labels(), 0).sum())
    assert 1 <= held < 20
    facts = {name: getattr(trained.facts, name) for name in ("selected_by", "validation_images", "train_images")}
    assert facts == {"selected_by": "held_out", "validation_images": held, "train_images": 90 - held}
    losses = [epoch.val_loss for epoch in trained.training.history if epoch.val_loss is not None]
    assert trained.training.best.val_loss == min(losses)


def test_without_validation_labels_the_last_epoch_is_taken(colors: Manifest, start: str) -> None:
    blind = relabeled(colors, {"val": []})
    for checkpoint in ("val_accuracy", "val_loss"):
        message = f"train.checkpoint is '{checkpoint}': expected labelled images in split val, found none; use 'last'"
        with pytest.raises(TrainError, match=message):
            fit(blind, quick(start, checkpoint=checkpoint))
    trained = fit(blind, quick(start, checkpoint="last", epochs=2))
    best = trained.training.best
    assert (best.epoch, best.val_loss, best.val_accuracy) == (2, None, None)


def test_history_is_one_row_an_epoch(colors: Manifest, start: str) -> None:
    rows = history_rows(fit(colors, quick(start, epochs=3)).training)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) >= {"train_loss", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"}


def test_a_head_start_of_a_frozen_backbone_is_a_contradiction(start: str) -> None:
    with pytest.raises(SettingsError, match="head_epochs is 3"):
        quick(start, head_epochs=3)


def textures(root: Path, count: int, shape: tuple[int, int] = (60, 90)) -> Manifest:
    """A color each, under a texture that has something to see everywhere."""
    manifest = color_set(root, train=count // 3, val=1)
    for n, file in enumerate(manifest.files()):
        noise = np.random.default_rng(n).integers(-60, 60, (*shape, 1))
        write_png(file, np.clip(read_rgb(file).mean(axis=(0, 1)) + noise, 0, 255).astype(np.uint8))
    return manifest


def test_where_cells_look_is_measured_on_train_images_and_kept_in_the_design(tmp_path: Path, start: str) -> None:
    manifest = textures(tmp_path, 6)
    classifier = fit(manifest, quick(start, epochs=1, resize=250)).classifier
    images = [resize_image(read_rgb(file), (256, 256)) for file in manifest.select("train").files()]  # 16 whole cells
    expected = measure_offset(classifier.features, [torch.from_numpy(image).permute(2, 0, 1)[None] for image in images])
    assert expected != (0.0, 0.0)
    assert classifier.design.offset == expected
    small = fit(
        manifest, quick(start, epochs=1, resize=64)
    ).classifier  # enlarged to the fewest cells that can say something
    assert small.design.offset != (0.0, 0.0)


# --- several heads on one backbone ------------------------------------------------------------------------------------


def test_poolings_learnt_together_equal_those_learnt_alone(colors: Manifest, start: str) -> None:
    every = [
        quick(start, pooling=pooling, tap_threshold=theta, epochs=2)
        for pooling, theta in (("gap", 0.05), ("tap", 0.05), ("tap", 0.5))
    ]
    together = fit_together(colors, every)
    for settings, one in zip(every, together, strict=True):
        alone = fit(colors, settings)
        assert one.classifier.design == alone.classifier.design
        assert equal(one.classifier.state_dict(), alone.classifier.state_dict())
        assert one.training.best.val_loss == alone.training.best.val_loss
    assert not equal(head(together[0]), head(together[1]))
    assert not equal(head(together[1]), head(together[2]))


def test_what_differs_in_more_than_the_pooling_is_refused(colors: Manifest, start: str) -> None:
    with pytest.raises(SettingsError, match="differ in pooling"):
        fit_together(colors, [quick(start), quick(start, seed=1)])


def test_a_trained_backbone_cannot_be_shared(colors: Manifest, start: str) -> None:
    with pytest.raises(SettingsError, match="expected a frozen backbone"):
        fit_together(colors, [quick(start, backbone={"trained": True})] * 2)


def test_a_method_that_needs_more_than_pooled_features_cannot_be_shared(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other layers would stay as they were made."""
    monkeypatch.setattr(TrainingMethod, "uses_pooled_features", False)
    with pytest.raises(SettingsError, match=r"train\.method: expected one .* got 'baseline'; .* one by one"):
        fit_together(colors, [quick(start, pooling="gap"), quick(start, pooling="tap")])


def test_a_single_run_may_train_its_backbone(colors: Manifest, start: str) -> None:
    settings = quick(start, epochs=1, backbone={"trained": True})
    (one,) = fit_together(colors, [settings])
    assert equal(one.classifier.state_dict(), fit(colors, settings).classifier.state_dict())


def test_a_backbone_is_measured_once(colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def measure(features: Any, images: Any) -> tuple[float, float]:
        seen.append([tuple(image.shape) for image in images])
        return 0.25, -0.5

    monkeypatch.setattr("pipeline.train.run.measure_offset", measure)
    monkeypatch.setattr("pipeline.train.run.OFFSET_IMAGES", 4)
    every = [quick(start, epochs=1, pooling=pooling) for pooling in ("gap", "tap")]
    assert [one.classifier.design.offset for one in fit_together(colors, every)] == [(0.25, -0.5)] * 2
    assert seen == [[(1, 3, 224, 224)] * 4]
