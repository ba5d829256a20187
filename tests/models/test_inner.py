"""Levels of networks of every layout, and their outputs changed."""

import pytest
import torch
from support.helpers import make_tiny, random_images
from torch import Tensor

from pipeline.core.errors import TrainError
from pipeline.models.backbones import build_backbone
from pipeline.models.inner import cells_of, changed, choose_level, levels_of


class Watched:
    """Keeps what a level gives, and changes nothing."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, maps: Tensor) -> Tensor:
        self.seen.append(maps)
        return maps


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_efficientnet",
        "test_convnext",
        "test_vit",
        pytest.param("mixer_s16_224", marks=pytest.mark.slow),  # of images of one size
        pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),  # channels last
    ],
)
def test_nothing_is_changed_by_the_same_map(name: str) -> None:
    classifier, images, watched = make_tiny(name=name), random_images(2, 3, 70, 96), Watched()
    levels = levels_of(classifier.backbone)
    assert len(levels) > 3
    with torch.inference_mode():
        plain = classifier.backbone_features(images)
        for level in levels:
            with changed(level, classifier.backbone, images, watched):
                assert torch.equal(classifier.backbone_features(images), plain), level.name
            assert watched.seen[-1].shape[:2] == (2, level.channels)
            assert min(watched.seen[-1].shape[2:]) > 1
    assert len(watched.seen) == len(levels)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_what_is_hidden_at_a_level_changes_the_features_behind_it(name: str) -> None:
    """Hiding the right half changes the features there more than on the left; afterwards all is as before."""
    classifier, images = make_tiny(name=name), random_images(2, 3, 64, 128)
    level = choose_level(classifier.backbone, "auto", "layers")

    def hide(maps: Tensor) -> Tensor:
        assert maps.shape[2:] == (4, 8)
        return torch.cat([maps[..., :4], 0 * maps[..., 4:]], dim=3)

    with torch.inference_mode():
        plain = classifier.backbone_features(images)
        with changed(level, classifier.backbone, images, hide):
            hidden = classifier.backbone_features(images)
        assert torch.equal(classifier.backbone_features(images), plain)
    difference = (hidden - plain).abs().mean(dim=(0, 1, 2))
    assert difference[4:].mean() > 1.5 * difference[:4].mean()


def test_cells_of_a_transformer_are_those_of_the_padded_image() -> None:
    backbone = build_backbone("test_vit", 16)
    assert cells_of(backbone, 64, 96) == (4, 6)
    assert cells_of(backbone, 65, 81) == (5, 6)
    assert cells_of(build_backbone("test_resnet", 16), 64, 96) == (0, 0)


def test_the_last_level_but_one_is_the_default() -> None:
    backbone = build_backbone("test_resnet", 16)
    assert choose_level(backbone, "auto", "key").name == "layer3"
    assert [level.name for level in levels_of(backbone)][-2:] == ["layer3", "layer4"]
    assert choose_level(backbone, "layer2", "key").channels == 48


def test_a_level_that_is_none_is_refused() -> None:
    backbone = build_backbone("test_resnet", 16)
    expected = r"train.x: expected levels of the backbone among \['auto', .*'layer4'\], got 'conv9'"
    with pytest.raises(TrainError, match=expected):
        choose_level(backbone, "conv9", "train.x")
    backbone.feature_info = []  # type: ignore[assignment]
    with pytest.raises(TrainError, match=r"among \[\], got 'auto'"):
        choose_level(backbone, "auto", "train.x")


def test_an_output_that_is_no_map_is_refused() -> None:
    """Told of images of another size, the number of tokens does not fit."""
    classifier = make_tiny(name="test_vit")
    level = choose_level(classifier.backbone, "auto", "layers")
    with (
        torch.inference_mode(),
        changed(level, classifier.backbone, random_images(2, 3, 128, 128), Watched()),
        pytest.raises(TrainError, match=r"expected a map of 8 x 8 cells after 'blocks.4', got \(2, 25, 64\)"),
    ):
        classifier.backbone_features(random_images(2, 3, 64, 96))
