"""What holds for every training method: switched off it is the baseline, stopped it goes on, and a model is its
files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.fixtures import colors, single_thread, start
from support.helpers import ROOT, extract_settings, make_tiny, random_images, write_png
from support.methods_table import CONVOLUTIONAL, METHODS, OFF, TRANSFORMER
from support.stopping import fit_with_stops
from support.training import equal, quick

from pipeline.core.files import read_json
from pipeline.core.manifest import Manifest
from pipeline.core.settings import read_params, write_yaml
from pipeline.extract.cam import class_activation_maps
from pipeline.extract.network import View, raw_maps_of
from pipeline.extract.scale import find_standard, scale_maps
from pipeline.models.classifier import Classifier, load_classifier, save_classifier
from pipeline.models.methods import method_names
from pipeline.params.changes import changed
from pipeline.train.run import fit
from pipeline.train.settings import TrainSettings
from stages import evaluate, extract, preprocess, refine, train

ROWS = (("red", (220, 40, 40)), ("green", (40, 200, 60)), ("blue", (50, 60, 230)))
__all__ = ["colors", "single_thread", "start"]


def trained_settings(start: str, name: str, method: str, options: dict[str, Any], **changes: Any) -> TrainSettings:
    """A trained backbone, the convolutional one with its file of weights and the head first."""
    backbone: dict[str, Any] = {"trained": True}
    if name == TRANSFORMER:
        backbone |= {"name": name, "weights": "none", "weights_from": None}
    else:
        changes = {"head_epochs": 2, **changes}
    values = {"epochs": 2, "batch_size": 6, "method": method, "method_options": options, **changes}
    return quick(start, backbone=backbone, **values)


def test_the_table_has_every_method() -> None:
    assert set(method_names()) == {"baseline", *METHODS}
    assert set(OFF) == set(METHODS)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("method", sorted(OFF))
def test_a_method_that_is_switched_off_is_the_baseline(
    method: str, trained: bool, colors: Manifest, start: str, tmp_path: Path
) -> None:
    """Byte by byte, in what is written of the weights."""
    written = []
    for name, options in (("baseline", {}), (method, OFF[method])):
        if trained:
            settings = trained_settings(start, CONVOLUTIONAL, name, options)
        else:
            settings = quick(start, epochs=2, method=name, method_options=options)
        save_classifier(fit(colors, settings).classifier, tmp_path / name)
        written.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert written[0] == written[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [CONVOLUTIONAL, TRANSFORMER])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    method: str, name: str, colors: Manifest, start: str, tmp_path: Path
) -> None:
    """And differs from the baseline's, its model reads back, and its maps are numbers."""
    settings = trained_settings(start, name, method, METHODS[method])
    whole = fit(colors, settings)
    again = fit_with_stops(colors, settings, tmp_path, [1, 4])
    assert equal(again.classifier.state_dict(), whole.classifier.state_dict())
    assert [row.train_loss for row in again.training.history] == [row.train_loss for row in whole.training.history]
    plain = fit(colors, trained_settings(start, name, "baseline", {}))
    learnt = whole.classifier.state_dict()
    if method == "ae":  # its first round is the baseline
        assert not torch.equal(learnt["extra.round_2.head.weight"], learnt["head.weight"])
    else:
        assert any(not torch.equal(learnt[key], value) for key, value in plain.classifier.state_dict().items())
    save_classifier(whole.classifier, tmp_path / "model")
    check_maps(load_classifier(tmp_path / "model"), whole.classifier.eval())


def check_maps(read: Classifier, kept: Classifier) -> None:
    """Maps of a classifier that was read back are those of the one in memory, at shapes that are not square."""
    images, wanted = random_images(2, 3, 64, 96), torch.tensor([[0, 2], [1, 0]])
    with torch.inference_mode():
        found = [one.maps(one.features(images), wanted, class_activation_maps).numpy() for one in (read, kept)]
    assert found[0].shape == (2, 2, 4, 6)
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("loss", ["single_label", "multi_label"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_frozen_backbone_stays_as_loaded_and_both_losses_work(
    method: str, loss: str, colors: Manifest, start: str
) -> None:
    settings = quick(start, epochs=1, loss=loss, checkpoint="val_loss", method=method, method_options=METHODS[method])
    classifier = fit(colors, settings).classifier
    assert equal(classifier.backbone.state_dict(), fit(colors, quick(start, epochs=1)).classifier.backbone.state_dict())
    assert classifier.head.weight.abs().max() > 0


@pytest.mark.parametrize("name", [CONVOLUTIONAL, TRANSFORMER])
@pytest.mark.parametrize("method", ["baseline", *sorted(METHODS)])
def test_every_method_goes_with_tap_nwc_and_pas(method: str, name: str) -> None:
    """TAP changes the logits; NWC changes the maps but for `bas`, which reads no weights; PaS scales whatever there
    is."""
    images, wanted = random_images(2, 3, 64, 96), torch.tensor([[0], [2]])
    maps, logits = {}, []
    for pooling in ("gap", "tap"):
        classifier = make_tiny(name=name, pooling=pooling, method=method, method_options=METHODS.get(method))
        torch.manual_seed(5)
        for parameter in classifier.extra.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        with torch.inference_mode():
            features = classifier.features(images)
            logits.append(classifier.logits(features))
        for weights in ("keep", "clamp"):
            settings = extract_settings(negative_weights=weights, placement="grid")
            maps[pooling, weights] = raw_maps_of(classifier, [View(features, False)], wanted, settings)
    assert not torch.equal(*logits)
    assert torch.equal(maps["tap", "keep"], maps["tap", "clamp"]) == (method == "bas")
    for raw in maps.values():
        cam = raw[0, 0].numpy()
        standard = find_standard(cam, "percentile", 80.0)
        scaled = scale_maps(cam[None], [standard])["maps"]
        assert 0 <= float(scaled.min()) < float(scaled.max())


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in the `folder` layout: a colored disc on noise, with its mask; two train images a class, one val, one
    test."""
    root = tmp_path_factory.mktemp("photographs")
    ys, xs = np.mgrid[:60, :80]
    lines = ["image,labels,mask,split"]
    for k, (name, color) in enumerate(ROWS):
        for n, split in enumerate(("train", "train", "val", "test")):
            disc = (ys - 25 - 3 * n) ** 2 + (xs - 30 - 4 * k) ** 2 < 18**2
            pixels = np.random.default_rng(10 * k + n).integers(60, 190, (60, 80, 3)).astype(np.uint8)
            pixels[disc] = color
            write_png(root / f"{name}{n}.png", pixels)
            write_png(root / f"mask_{name}{n}.png", (disc * 255).astype(np.uint8))
            known = split != "test"
            lines.append(f"{name}{n}.png,{name if known else ''},{f'mask_{name}{n}.png' if known else ''},{split}")
    (root / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "classes.txt").write_text("\n".join(name for name, _ in ROWS) + "\n", encoding="utf-8")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("track", ["track1", "track3"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_recipe_of_a_folder_runs_with_every_method_and_nothing_else_changed(
    method: str, track: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From images to scores, with the backbone trained and the defaults of the method; no student."""
    recipe = ROOT / "recipes" / "folder.yaml"
    source = {"preprocess.source.root": str(photographs), "preprocess.watch": str(photographs / "index.csv")}
    alone = {f"{section}.jobs": 1 for section in ("preprocess", "refine", "evaluate")}  # processes keep their folder
    changes = {"train.method": method, "train.backbone.trained": True, "student.enabled": False, **alone, **source}
    params, words = tmp_path / "params.yaml", ["--params", str(tmp_path / "params.yaml"), "--track", track]
    write_yaml(params, changed(read_params(recipe), track, changes, recipe))
    monkeypatch.chdir(tmp_path)

    def run(stage: Any, **paths: str) -> None:
        options = [*(word for name, path in paths.items() for word in (f"--{name}", path))]
        stage.main([*words, *options])

    run(preprocess, manifest="manifest", drawn="drawn", report="preprocess.json")
    run(train, manifest="manifest", model="model", history="history.csv", report="train.json")
    run(extract, manifest="manifest", model="model", out="maps", features="features", report="maps.json")
    run(refine, manifest="manifest", maps="maps", out="refined", report="refined.json")
    run(evaluate, manifest="manifest", maps="maps", features="features", refined="refined", out="scores")
    metrics = read_json(tmp_path / "scores" / "metrics.json")
    score = metrics["mean_iou" if track == "track1" else "peak_iou"]
    assert 0.0 < score <= 1.0
    assert read_json(tmp_path / "model" / "design.json")["method"] == method
