"""Two methods of one file each, from training to maps: one changes the input, one has a second head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.extraction import run as run_extraction
from support.helpers import extract_settings, make_tiny, random_features
from support.training import equal, quick

from pipeline.core.errors import TrainError
from pipeline.core.manifest import Manifest
from pipeline.extract.cam import class_activation_maps
from pipeline.extract.network import View, raw_maps_of
from pipeline.models import methods
from pipeline.models.classifier import Classifier, load_classifier
from pipeline.models.methods import make_method, method_names
from pipeline.models.methods.base import TrainingMethod
from pipeline.train.run import fit, save_fit
from pipeline.train.settings import TrainSettings


def seen_by_the_network(colors: Manifest, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The images of every forward pass of a training."""
    seen: list[np.ndarray] = []
    features = Classifier.backbone_features

    def look(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
        seen.extend(images.permute(0, 2, 3, 1).numpy())
        return features(classifier, images)

    monkeypatch.setattr(Classifier, "backbone_features", look)
    monkeypatch.setattr("pipeline.train.run.find_offset", lambda *_: (0.0, 0.0))
    fit(colors, settings)
    return seen


def hidden_halves(images: list[np.ndarray]) -> list[tuple[bool, bool]]:
    width = images[0].shape[1] // 2
    return [(not image[:, :width].any(), not image[:, width:].any()) for image in images]


@pytest.mark.parametrize("trained", [False, True])
def test_a_method_that_changes_the_input(
    trained: bool, colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every training image has one hidden half, either of them; images of val are whole."""
    settings = quick(start, method="hide", epochs=2, views=2, backbone={"trained": trained})
    halves = hidden_halves(seen_by_the_network(colors, settings, monkeypatch))
    counts = {pair: halves.count(pair) for pair in set(halves)}
    train, val = 2 * len(colors.select("train")), (2 if trained else 1) * len(colors.select("val"))
    assert counts[(True, False)] + counts[(False, True)] == train
    assert min(counts[(True, False)], counts[(False, True)]) > train // 5
    assert counts[(False, False)] == val
    plain = quick(start, epochs=2, views=2, backbone={"trained": trained})
    assert set(hidden_halves(seen_by_the_network(colors, plain, monkeypatch))) == {(False, False)}


def test_options_of_a_method_reach_it(colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = quick(start, method="hide", method_options={"level": 77}, epochs=1, views=1)
    seen = seen_by_the_network(colors, settings, monkeypatch)
    gray = [(image == 77).all(axis=2).mean() for image in seen[: len(colors.select("train"))]]
    assert gray == pytest.approx([0.5] * len(gray))


@pytest.mark.parametrize("trained", [False, True])
def test_a_method_with_a_second_head(trained: bool, colors: Manifest, start: str, tmp_path: Path) -> None:
    """Both heads learn, the file holds them, and the stored maps are the larger of both, by hand."""
    settings = quick(start, method="two_heads", epochs=3, backbone={"trained": trained})
    trained_fit = fit(colors, settings)
    save_fit(trained_fit, tmp_path / "model", tmp_path / "history.csv", tmp_path / "train.json")
    classifier = load_classifier(tmp_path / "model")
    assert equal(classifier.state_dict(), trained_fit.classifier.state_dict())
    assert classifier.design.method == "two_heads"
    assert classifier.extra["second"].weight.abs().max() > 0.01
    assert classifier.head.weight.abs().max() > 0.01
    losses = [row.train_loss for row in trained_fit.training.history]
    assert losses[-1] < losses[0]

    features, wanted = random_features(2, 96, 5, 7), torch.tensor([[0, 2], [1, 0]])
    extract = extract_settings(negative_weights="clamp", placement="grid")
    found = raw_maps_of(classifier, [View(features, False)], wanted, extract)
    mixed = torch.einsum("dc,nchw->ndhw", classifier.extra["mix"].weight[:, :, 0, 0], features)
    mixed = (mixed + classifier.extra["mix"].bias[:, None, None]).relu()
    for n, k in ((0, 0), (0, 1), (1, 0)):
        weights = [classifier.head.weight, classifier.extra["second"].weight]
        first, second = (
            torch.einsum("c,chw->hw", w[wanted[n, k]].clamp(min=0), f[n])
            for w, f in zip(weights, (features, mixed), strict=True)
        )
        np.testing.assert_allclose(found[n, k], torch.maximum(first, second).detach().numpy(), atol=1e-4)


def test_the_second_head_changes_the_maps_that_the_stage_stores(manifest: Manifest, tmp_path: Path) -> None:
    """Through the whole stage `extract`, with a plain classifier of equal head beside it."""
    plain = make_tiny(4)
    double = make_tiny(4, method="two_heads")
    double.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(double.extra["second"].weight)
    _, one = run_extraction(manifest, tmp_path / "plain", classifier=plain)
    _, other = run_extraction(manifest, tmp_path / "double", classifier=double)
    assert any(not np.array_equal(arrays["maps"], other.read(name)["maps"]) for name, arrays in one.items())
    for name, arrays in one.items():
        np.testing.assert_array_equal(arrays["predicted"], other.read(name)["predicted"])


def test_the_head_is_trained_first_by_the_loss_of_the_baseline(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the second head learns, the first has the weights that the baseline gives it, and the method is told."""
    told: list[dict[str, torch.Tensor]] = []

    def head_trained(_: TrainingMethod, classifier: Classifier) -> None:
        told.append({name: value.clone() for name, value in classifier.head.state_dict().items()})

    monkeypatch.setattr(TrainingMethod, "head_trained", head_trained)
    for method in ("baseline", "two_heads"):
        fit(colors, quick(start, method=method, epochs=1, head_epochs=2, backbone={"trained": True}))
    assert equal(*told)
    assert told[0]["weight"].abs().max() > 0


def test_a_frozen_backbone_stays_as_loaded_under_any_method(colors: Manifest, start: str) -> None:
    kept = fit(colors, quick(start, method="two_heads", epochs=2)).classifier.backbone.state_dict()
    assert equal(kept, fit(colors, quick(start, epochs=1)).classifier.backbone.state_dict())


def test_the_baseline_is_the_class_activation_map_of_the_head() -> None:
    classifier, features, wanted = make_tiny(), random_features(2, 96, 4, 5), torch.tensor([[2], [0]])
    maps = classifier.maps(features, wanted, class_activation_maps)
    assert torch.equal(maps, class_activation_maps(features, classifier.head.weight, wanted))
    assert torch.equal(classifier.logits(features), classifier.head(classifier.pool(features)))
    assert not any(name.startswith("extra") for name in classifier.state_dict())


def test_methods_are_named_after_their_files() -> None:
    folder = Path(methods.__path__[0])
    names = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert set(method_names()) == {*names, "hide", "two_heads", "two_rounds"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("basline", {}, r"train.method: expected one of \[.*'basline'; did you mean 'baseline'\?"),
        ("base", {}, r"train.method: expected one of"),
        ("hide", {"levels": 3}, r"method_options: expected options of 'hide' among \['level'\], got \['levels'\]"),
        ("hide", {"level": "dark"}, r"train.method_options.level: .* got 'dark'"),
    ],
)
def test_a_wrong_name_or_option_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(TrainError, match=message):
        make_method(name, options)
