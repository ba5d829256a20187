"""The classifier: features, logits, and its life on disk."""

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.helpers import SMALL, make_tiny, random_features, random_images

from pipeline.core.errors import StoreError, TrainError
from pipeline.core.files import read_json, write_json
from pipeline.models.backbones import Normalization
from pipeline.models.classifier import Classifier, load_classifier, save_classifier
from pipeline.models.pooling import thresholded_average_pool


def test_features_see_normalized_pixels_and_are_never_negative() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)  # every channel its own
    classifier = Classifier(replace(make_tiny().design, normalization=Normalization(mean, std))).eval()
    images = random_images(2, 3, 48, 64)
    with torch.inference_mode():
        plain = classifier.backbone((images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        features = classifier.features(images)
    torch.testing.assert_close(features, plain.clamp(min=0))
    assert features.std() > 0


def test_features_of_a_network_that_ends_without_relu_are_cut_at_zero() -> None:
    classifier = make_tiny()
    with torch.inference_mode():
        classifier.backbone = torch.nn.Conv2d(3, 96, 16, stride=16)  # about half of its values are negative
        features = classifier.features(random_images(2, 3, 64, 96))
        raw = classifier.backbone((random_images(2, 3, 64, 96).float() / 255 - classifier.mean) / classifier.std)
    assert (raw < 0).any()
    torch.testing.assert_close(features, raw.clamp(min=0))


def test_logits_are_the_head_of_the_pooled_features() -> None:
    classifier, features = make_tiny(), random_features(2, 96, 3, 4)
    pooled = thresholded_average_pool(features, 0.05)
    expected = pooled @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(classifier.logits(features), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exact = classifier.logits(features)
    assert exact.dtype == torch.float32
    torch.testing.assert_close(exact, expected)  # bfloat16 would be off by 4e-3 of the value


def test_forward_is_logits_of_features() -> None:
    classifier, images = make_tiny(), random_images(2, 3, 48, 64)
    with torch.inference_mode():
        assert torch.equal(classifier(images), classifier.logits(classifier.features(images)))


def test_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0]])
    single, several = (
        make_tiny(loss="single_label").probabilities(logits),
        make_tiny(loss="multi_label").probabilities(logits),
    )
    assert single.sum().item() == pytest.approx(1)
    assert (single[0, 1] / single[0, 0]).item() == pytest.approx(2.718281828, rel=1e-6)
    assert several[0].tolist() == pytest.approx([0.5, 0.7310585786, 0.2689414214])


def test_a_new_head_gives_all_classes_equal_logits() -> None:
    assert Classifier(make_tiny().design).eval()(random_images(1, 3, 48, 64)).tolist() == [[0.0, 0.0, 0.0]]


def test_parameters_are_counted_whole() -> None:
    classifier = make_tiny(classes=5)
    assert classifier.parameter_count() == sum(p.numel() for p in classifier.backbone.parameters()) + 96 * 5 + 5


# --- on disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", SMALL])
def test_what_is_saved_comes_back(name: str, tmp_path: Path) -> None:
    classifier, images = make_tiny(loss="multi_label", name=name), random_images(2, 3, 48, 64)
    classifier.design = replace(classifier.design, offset=(0.125, -0.4))
    save_classifier(classifier, tmp_path / "model")
    loaded = load_classifier(tmp_path / "model")
    assert loaded.design == classifier.design
    assert not loaded.training
    with torch.inference_mode():
        # the loaded one has channels last in memory, which may sum in another order
        torch.testing.assert_close(loaded(images), classifier(images), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, classifier.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_a_design_that_does_not_say_where_cells_look_is_refused(tmp_path: Path) -> None:
    save_classifier(make_tiny(), tmp_path)
    values = read_json(tmp_path / "design.json")
    del values["offset"]
    write_json(tmp_path / "design.json", values)
    with pytest.raises(
        TrainError, match=r"design\.json: expected the key 'offset', found none; likely an older version's"
    ):
        load_classifier(tmp_path)


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        classifier = make_tiny()
        if name == "c":
            classifier.head.bias.data[0] += 1
        save_classifier(classifier, tmp_path / name)
    a, b, c = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    assert len({(tmp_path / name / "design.json").read_bytes() for name in "abc"}) == 1


def test_a_damaged_or_foreign_weights_file_is_refused(tmp_path: Path) -> None:
    save_classifier(make_tiny(), tmp_path)
    weights = tmp_path / "weights.safetensors"
    whole = weights.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"x" * 100, safetensors.torch.save({"a": torch.zeros(1)})):
        weights.write_bytes(data)
        with pytest.raises(TrainError, match=r"expected weights that fit design.json, got "):
            load_classifier(tmp_path)
    weights.unlink()
    with pytest.raises(TrainError, match=r"expected weights that fit design.json, got "):
        load_classifier(tmp_path)


def test_a_model_that_was_never_trained_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="likely the stage that makes it has not run"):
        load_classifier(tmp_path / "model")
