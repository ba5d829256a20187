"""Learning from tiny images of one color each: it works, it is repeatable, and it says when it cannot."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support.helpers import SMALL, TINY, color_set, train_settings, write_png

from pipeline.core.errors import SettingsError, TrainError
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest, from_rows
from pipeline.models.backbones import build_backbone
from pipeline.models.placement import measure_offset
from pipeline.train import run as module
from pipeline.train.augment import View
from pipeline.train.run import Fit, draw_order, fit, fit_poolings, history_rows, make_classifier
from pipeline.train.settings import TrainSettings
from pipeline.train.targets import choose_held_out, several_labels


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return color_set(tmp_path_factory.mktemp("colors"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights for the tiny network, so that its backbone can be frozen."""
    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in build_backbone(TINY, 16).state_dict().items()}
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    safetensors.torch.save_file(state, path)
    return str(path)


def quick(start: str, **changes: Any) -> TrainSettings:
    """The tiny network, frozen."""
    backbone = {"name": TINY, "weights": "file", "weights_from": start, **changes.pop("backbone", {})}
    return train_settings(backbone=backbone, **changes)


def relabeled(manifest: Manifest, labels: dict[str, Any]) -> Manifest:
    """The same images with `labels` for all rows of a split."""
    rows = [{**row, "labels": labels.get(row["split"], row["labels"])} for row in manifest.table.to_pylist()]
    return from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind)


def head(trained: Fit) -> dict[str, torch.Tensor]:
    return trained.classifier.head.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("loss", "pooling"), [("single_label", "tap"), ("multi_label", "gap")])
def test_a_frozen_backbone_with_imagenet_weights_tells_colors_apart(colors: Manifest, loss: str, pooling: str) -> None:
    settings = train_settings(loss=loss, pooling=pooling, epochs=12)
    trained = fit(colors, settings)
    assert trained.best.val_accuracy == 1.0
    assert trained.history[-1].train_loss < 0.3 * trained.history[0].train_loss
    assert trained.facts == {
        "device": "cpu",
        "precision": "fp32",
        "parameters": trained.classifier.parameter_count(),
        "train_images": 18,
        "train_images_without_label": 0,
        "selected_by": "val",
        "validation_images": 6,
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


def test_more_views_are_other_features(colors: Manifest, start: str) -> None:
    one, two = (fit(colors, quick(start, views=views, epochs=2)) for views in (1, 2))
    assert not equal(head(one), head(two))


def test_the_whole_network_learns(colors: Manifest) -> None:
    backbone = {"name": TINY, "weights": "none", "trained": True, "batch_norm": "trained"}
    settings = train_settings(backbone=backbone, epochs=2, batch_size=6, checkpoint="last", loss="single_label")
    torch.manual_seed(settings.seed)
    fresh = make_classifier(settings, 3)
    trained, again = fit(colors, settings), fit(colors, settings)
    learnt = dict(trained.classifier.named_parameters())
    for name, value in fresh.named_parameters():
        assert not torch.equal(value, learnt[name]), f"{name} did not move"
    assert equal(trained.classifier.state_dict(), again.classifier.state_dict())
    assert not trained.classifier.training


def test_one_epoch_of_the_whole_network_from_imagenet_weights(colors: Manifest) -> None:
    backbone = {"trained": True, "batch_norm": "frozen"}
    settings = train_settings(
        backbone=backbone, epochs=1, batch_size=3, accumulation_steps=2, sampling="class_balanced"
    )
    fresh, trained = make_classifier(settings, 3), fit(colors, settings)
    before, after = fresh.backbone.state_dict(), trained.classifier.backbone.state_dict()
    moved = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"weight", "bias"}, "all that learns, and no running statistics"
    assert len(trained.history) == 1


def test_images_without_label_are_left_out_of_single_label_learning(colors: Manifest, start: str) -> None:
    """The targets still meet their own images: colors take turns here, so that a shift by one would teach nonsense."""
    rows = sorted(colors.table.to_pylist(), key=lambda row: (row["split"], row["id"].rpartition("_")[2]))
    for n in (0, 7, 10, 18):  # three of train, the first among them, and the first of val
        rows[n]["labels"] = []
    gaps = from_rows(rows, colors.classes, colors.root, colors.mask_kind)
    for trains in (False, True):
        trained = fit(gaps, quick(start, backbone={"trained": trains}, epochs=10, optimizer={"learning_rate": 0.05}))
        assert (trained.facts["train_images"], trained.facts["train_images_without_label"]) == (15, 3)
        assert trained.best.val_accuracy == 1.0


class Seen(Exception):  # noqa: N818
    """Ends a run once its batches have been looked at."""


@pytest.mark.parametrize("sampling", ["uniform", "class_balanced"])
def test_images_and_targets_stay_together(
    sampling: str, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The color of an image says what its target must be, in training and in validation, beside images without
    label."""
    rows = sorted(colors.table.to_pylist(), key=lambda row: (row["split"], row["id"].rpartition("_")[2]))
    for n in (0, 7, 10, 18):
        rows[n]["labels"] = []
    gaps = from_rows(rows, colors.classes, colors.root, colors.mask_kind)
    counts = []

    def see(module: Any, train_batches: Any, val_batches: Any, images: int, *rest: Any) -> None:
        for batches in (train_batches(1), train_batches(2), val_batches()):
            pairs = [pair for inputs, targets in batches for pair in zip(inputs, targets, strict=True)]
            for image, target in pairs:
                color = int(image.float().mean(dim=(1, 2)).argmax())
                assert color == (int(target) if target.ndim == 0 else int(target.argmax()))
            counts.append(len(pairs))
        raise Seen

    monkeypatch.setattr("pipeline.train.run.run_epochs", see)
    with pytest.raises(Seen):
        fit(gaps, quick(start, backbone={"trained": True}, sampling=sampling))
    assert counts == [15, 15, 5]


@pytest.mark.parametrize("trains", [False, True])
def test_validation_sees_whole_images_and_no_chance(
    trains: bool, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random crops would make the choice of the epoch a matter of luck."""
    settings = quick(start, backbone={"trained": trains}, epochs=2, views=1)
    views: list[tuple[str, int]] = []
    plain, crop = module.plain_view, module.random_view

    def watched(view: View, name: str) -> View:
        def see(image: Any, seed: int) -> Any:
            views.append((name, image.shape[0]))
            return view(image, seed)

        return see

    monkeypatch.setattr(module, "plain_view", lambda *given: watched(plain(*given), "plain"))
    monkeypatch.setattr(module, "random_view", lambda *given: watched(crop(*given), "random"))
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
    facts = {name: trained.facts[name] for name in ("selected_by", "validation_images", "train_images")}
    assert facts == {"selected_by": "held_out", "validation_images": held, "train_images": 90 - held}
    assert trained.best.val_loss == min(epoch.val_loss for epoch in trained.history if epoch.val_loss is not None)


def test_several_labels_start_at_the_odds_of_the_classes(colors: Manifest, start: str) -> None:
    slow = {"learning_rate": 1e-9}
    several = fit(colors, quick(start, loss="multi_label", epochs=1, views=1, optimizer=slow))
    one = fit(colors, quick(start, loss="single_label", epochs=1, views=1, optimizer=slow))
    assert several.classifier.head.bias.tolist() == pytest.approx([np.log(6.5 / 12.5)] * 3, abs=1e-5)
    assert one.classifier.head.bias.abs().max() < 1e-5


def test_nothing_to_hold_out_is_an_error(colors: Manifest, start: str) -> None:
    few = from_rows(colors.table.to_pylist()[::6][:3], colors.classes, colors.root, colors.mask_kind)
    assert [record.labels for record in few] == [(0,), (1,), (2,)]
    with pytest.raises(TrainError, match="expected train images to hold out, found none among 3"):
        fit(few, quick(start, checkpoint="held_out_loss"))


def test_without_validation_labels_the_last_epoch_is_taken(colors: Manifest, start: str) -> None:
    blind = relabeled(colors, {"val": []})
    for checkpoint in ("val_accuracy", "val_loss"):
        message = f"train.checkpoint is '{checkpoint}': expected labelled images in split val, found none; use 'last'"
        with pytest.raises(TrainError, match=message):
            fit(blind, quick(start, checkpoint=checkpoint))
    trained = fit(blind, quick(start, checkpoint="last", epochs=2))
    assert (trained.best.epoch, trained.best.val_loss, trained.best.val_accuracy) == (2, None, None)


def test_without_training_labels_there_is_nothing_to_learn(colors: Manifest, start: str) -> None:
    for loss in ("single_label", "multi_label"):
        with pytest.raises(TrainError, match="expected images with a label, got none"):
            fit(relabeled(colors, {"train": []}), quick(start, loss=loss))


def test_history_is_one_row_an_epoch(colors: Manifest, start: str) -> None:
    rows = history_rows(fit(colors, quick(start, epochs=3)).history)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) >= {"train_loss", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"}


# --- who is drawn ----------------------------------------------------------------------------------------------------


def test_a_uniform_epoch_sees_every_image_once_in_its_own_order() -> None:
    targets, settings = torch.zeros(50, dtype=torch.int64), train_settings(sampling="uniform")
    orders = [draw_order(targets, settings, epoch).tolist() for epoch in (1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != list(range(50))
    assert draw_order(targets, settings, 1).tolist() == orders[0]
    assert draw_order(targets, train_settings(sampling="uniform", seed=9), 1).tolist() != orders[0]


def test_a_balanced_epoch_draws_classes_equally_often() -> None:
    targets = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)
    settings = train_settings(sampling="class_balanced")
    drawn = np.concatenate([draw_order(targets, settings, epoch) for epoch in range(30)])
    assert len(drawn) == 3000
    counts = Counter(targets[drawn].tolist())
    # 1000 expected of each class, standard deviation 26: five of them. Uniform draws would give 2400, 450 and 150
    assert all(abs(counts[k] - 1000) < 130 for k in range(3)), counts
    # and inside a class all images alike: 200 expected of each of class 2, standard deviation 14
    assert all(abs(count - 200) < 70 for image, count in Counter(drawn.tolist()).items() if image >= 95)


def test_a_balanced_epoch_of_several_labels_follows_the_weights() -> None:
    """Three images of class 0 alone, one of class 0 and 1: weights 1/4 each, and (1/4 + 1) / 2."""
    targets = several_labels([(0,), (0,), (0,), (0, 1)], 2)
    settings = train_settings(sampling="class_balanced", loss="multi_label")
    drawn = np.concatenate([draw_order(targets, settings, epoch) for epoch in range(1000)])
    expected = 4000 * (5 / 8) / (5 / 8 + 3 / 4)  # 1818, standard deviation 31
    assert abs((drawn == 3).sum() - expected) < 160


def test_no_file_is_read_twice_for_a_frozen_backbone(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are computed once for every view, however many epochs follow."""
    from pipeline.train import data as images

    seen: Counter[Path] = Counter()
    read = images.read_rgb

    def counted(path: Path) -> Any:
        seen[path] += 1
        return read(path)

    monkeypatch.setattr(images, "read_rgb", counted)
    fit(colors, quick(start, views=2, epochs=5))
    assert {seen[record.file] for record in colors.select("train")} == {2}
    assert {seen[record.file] for record in colors.select("val")} == {1}


def test_the_head_learns_in_float32_whatever_the_precision_of_the_backbone(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def see(module: Any, train: Any, val: Any, images: int, settings: TrainSettings, hardware: Any) -> None:
        seen.append(hardware.precision)
        raise StopIteration

    monkeypatch.setattr("pipeline.train.run.run_epochs", see)
    with pytest.raises(StopIteration):
        fit(colors, quick(start, precision="bf16"))
    assert seen == ["fp32"]


def test_one_class_cannot_be_learnt_against_itself(colors: Manifest, start: str) -> None:
    alone = Manifest(relabeled(colors, {}).table, ("thing",), colors.root, colors.mask_kind)
    with pytest.raises(TrainError, match="expected 'multi_label' with one class, got 'single_label'"):
        fit(alone, quick(start, loss="single_label"))


# --- several classifiers, and a head that learns first ----------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True])
def test_poolings_learnt_together_equal_those_learnt_alone(colors: Manifest, start: str, trained: bool) -> None:
    every = [
        quick(start, pooling=pooling, tap_threshold=theta, epochs=2, backbone={"trained": trained})
        for pooling, theta in (("gap", 0.05), ("tap", 0.05), ("tap", 0.5))
    ]
    together = fit_poolings(colors, every)
    for settings, one in zip(every, together, strict=True):
        alone = fit(colors, settings)
        assert one.classifier.design == alone.classifier.design
        assert equal(one.classifier.state_dict(), alone.classifier.state_dict())
        assert one.best.val_loss == alone.best.val_loss
    assert not equal(head(together[0]), head(together[1]))
    assert not equal(head(together[1]), head(together[2]))


def test_what_differs_in_more_than_the_pooling_is_refused(colors: Manifest, start: str) -> None:
    with pytest.raises(SettingsError, match="differ in pooling"):
        fit_poolings(colors, [quick(start), quick(start, seed=1)])


def test_the_head_learns_first_on_the_backbone_as_loaded(colors: Manifest, start: str) -> None:
    """With a backbone that barely moves the result is that of a frozen one.

    Without a head start the head is near zero.
    """
    slow = {"learning_rate": 1e-9, "head_multiplier": 1.0}
    frozen = fit(colors, quick(start, epochs=8, optimizer={"learning_rate": 0.02}))
    backbone = {"trained": True}
    both = fit(colors, quick(start, epochs=1, backbone=backbone, head_epochs=8, optimizer={"learning_rate": 0.02}))
    assert both.facts["head_start_val_loss"] == frozen.best.val_loss
    assert both.facts["head_start_val_accuracy"] == frozen.best.val_accuracy
    assert "head_start_val_loss" not in frozen.facts
    cold = fit(colors, quick(start, epochs=1, backbone=backbone, optimizer=slow))
    assert cold.classifier.head.weight.abs().max() < 1e-6
    assert both.classifier.head.weight.abs().max() > 1e-3
    assert not equal(both.classifier.backbone.state_dict(), frozen.classifier.backbone.state_dict())


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


@pytest.mark.parametrize(("trained", "measured"), [(False, 1), (True, 2)])
def test_each_backbone_is_measured_once(
    trained: bool, measured: int, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def measure(features: Any, images: Any) -> tuple[float, float]:
        seen.append([tuple(image.shape) for image in images])
        return 0.25 * len(seen), -0.5

    monkeypatch.setattr("pipeline.train.run.measure_offset", measure)
    monkeypatch.setattr("pipeline.train.run.OFFSET_IMAGES", 4)
    every = [quick(start, epochs=1, pooling=pooling, backbone={"trained": trained}) for pooling in ("gap", "tap")]
    offsets = [one.classifier.design.offset for one in fit_poolings(colors, every)]
    assert seen == [[(1, 3, 224, 224)] * 4] * measured
    assert offsets == [(0.25, -0.5), (0.25 * measured, -0.5)]
