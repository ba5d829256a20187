"""Maps of earlier levels: against the library, autograd on the whole network, and by hand."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import LayerCAM as LibraryLayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from support.helpers import CPU, extract_settings, make_tiny, random_images
from torch import Tensor, nn

from pipeline.core.errors import MapError, SettingsError, TrainError
from pipeline.extract.gradient_maps import make_map_rule
from pipeline.extract.level_maps import LEVEL_RULES, bag_cams_at, fuse, layer_cam_at, level_maps
from pipeline.extract.network import compute_views, predict, raw_maps_of
from pipeline.models.classifier import Classifier
from pipeline.models.inner import choose_level, levels_of
from pipeline.models.regions import scale_to_unit

WANTED = torch.tensor([[2, 0], [1, 1]])
RESIDUAL, TRANSFORMER, LINEAR = "test_resnet", "test_vit", "test_efficientnet"  # LINEAR: levels may be negative
SWIN = pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)


def make(name: str, pooling: Any = "gap") -> Classifier:
    """Random weights, a head of both signs."""
    classifier = make_tiny(name=name, pooling=pooling)
    torch.manual_seed(3)
    nn.init.normal_(classifier.head.weight)
    return classifier


def found_by_autograd(classifier: Classifier, images: Tensor, name: str, wanted: int) -> tuple[Tensor, Tensor, float]:
    """Map, gradient and logit of one image at a level; the whole network keeps what it needs for its gradients."""
    (level,) = [one for one in levels_of(classifier.backbone) if one.name == name]
    kept: list[Tensor] = []
    handle = level.module.register_forward_hook(lambda _, inputs, output: kept.append(output))
    logit = classifier(images)[0, wanted]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    return kept[0].detach(), gradient, float(logit.detach())


def as_map(values: Tensor, cells: tuple[int, int]) -> NDArray[np.float32]:
    """An output with its layout: a map, or a class token and the tokens of cells. Shape: (C, h, w)"""
    if values.ndim == 3:
        return values[0, 1:].T.reshape(-1, *cells).numpy()
    return values[0].numpy()


def slow_layer_cam(maps: NDArray[np.float32], gradient: NDArray[np.float32], logit: float) -> NDArray[np.float64]:
    total = np.zeros(maps.shape[1:])
    for channel, slope in zip(maps, gradient, strict=True):
        total += np.maximum(slope, 0) * channel
    return np.maximum(total, 0)


def slow_bag_cams(maps: NDArray[np.float32], gradient: NDArray[np.float32], logit: float) -> NDArray[np.float64]:
    """One localizer for each position, applied to all positions, and the mean of them."""
    total = np.zeros(maps.shape[1:])
    for channel, slope in zip(maps, gradient / abs(logit), strict=True):
        localizers = [1 + slope[cell] * channel[cell] for cell in np.ndindex(*channel.shape)]
        total += np.maximum(np.mean([one * slope * channel for one in localizers], axis=0), 0)
    return total


SLOW = {"cam": slow_layer_cam, "layercam": slow_layer_cam, "bagcams": slow_bag_cams}


@pytest.mark.parametrize("name", [RESIDUAL, TRANSFORMER, LINEAR])
@pytest.mark.parametrize("pooling", ["gap", "tap"])
@pytest.mark.parametrize("rule", ["layercam", "bagcams"])
def test_maps_of_a_level_are_those_of_autograd(name: str, pooling: str, rule: str) -> None:
    classifier, images = make(name, pooling), random_images(2, 3, 64, 96)
    levels = levels_of(classifier.backbone)[-3:]
    with torch.inference_mode():  # as the stage calls it
        found = level_maps(classifier, images.flip(3), WANTED, levels, LEVEL_RULES[rule])
    for level, maps in zip(levels, found, strict=True):
        assert maps.dtype == torch.float32
        for n in range(2):
            for p in range(2):
                inner, gradient, logit = found_by_autograd(
                    classifier, images[n : n + 1].flip(3), level.name, int(WANTED[n, p])
                )
                expected = SLOW[rule](*(as_map(one, (4, 6)) for one in (inner, gradient)), logit)
                assert expected.max() > 0
                np.testing.assert_allclose(maps[n, p], expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert torch.is_grad_enabled(), "as it was before"


@pytest.mark.parametrize("name", [RESIDUAL, LINEAR])
def test_maps_are_those_of_pytorch_grad_cam(name: str) -> None:
    classifier, images = make(name), random_images(2, 3, 64, 96)
    level = choose_level(classifier.backbone, "auto", "key")
    (ours,) = level_maps(classifier, images, WANTED, [level], layer_cam_at)

    class Normalized(nn.Module):
        """What the library wants: a network of images that can have a gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, pixels: Tensor) -> Tensor:
            return self.classifier.logits(self.classifier.backbone(pixels).relu())

    pixels = (images / 255 - classifier.mean) / classifier.std
    for place in range(2):
        with LibraryLayerCAM(model=Normalized(), target_layers=[level.module]) as cam:
            targets = [ClassifierOutputTarget(int(wanted)) for wanted in WANTED[:, place]]
            theirs = torch.from_numpy(cam(input_tensor=pixels, targets=targets))
        resized = nn.functional.interpolate(ours[:, place : place + 1], (64, 96), mode="bilinear", align_corners=False)
        assert (scale_to_unit(resized)[:, 0] - theirs).abs().max() < 0.01  # OpenCV resizes with fewer bits


def test_rules_by_hand() -> None:
    maps, gradient = torch.tensor([[[[2.0, -1.0]], [[4.0, 4.0]]]]), torch.tensor([[[[1.0, 1.0]], [[-1.0, 0.5]]]])
    logits = torch.tensor([-2.0])
    assert layer_cam_at(maps, gradient, logits).tolist() == [[[2.0, 1.0]]]  # 1 * 2 + 0, 1 * -1 + 0.5 * 4
    # shares g A: (1, -0.5) and (-2, 1), means 0.25 and -0.5; (1.25 * 1, 0) and (0, 0.5 * 1)
    assert bag_cams_at(maps, gradient, logits).tolist() == [[[1.25, 0.5]]]


def test_fused_maps_by_hand() -> None:
    last = torch.tensor([[[[4.0, -2.0]]]])  # shares 1 and 0
    fine = torch.tensor([[[[0.0, 0.0, 1.0, 5.0]]]])  # shares 0, 0, 0.2 and 1
    found = fuse(last, [fine])
    wide = [1.0, 0.75, 0.25, 0.0]  # the last map, between cell centers
    expected = np.maximum(wide, np.tanh([0.0, 0.0, 0.4, 2.0]))
    np.testing.assert_allclose(found.flatten(), expected, atol=1e-6)
    assert torch.equal(fuse(last, [torch.zeros(1, 1, 1, 2)]), torch.tensor([[[[1.0, 0.0]]]]))
    assert not fuse(-last.abs(), [torch.zeros(1, 1, 3, 3)]).any()


# --- in extraction ----------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> Any:
    return extract_settings(**{"max_classes": 2, "flip": False, "placement": "grid", "map": "layercam", **changes})


def test_without_levels_nothing_is_kept_or_changed() -> None:
    classifier, images = make(RESIDUAL), random_images(2, 3, 64, 96)
    views = compute_views(classifier, [images], settings(), CPU)
    assert views[0].images is None
    with torch.inference_mode():
        expected = make_map_rule("layercam", "keep", classifier.pool)(
            classifier.features(images), classifier.head.weight, WANTED
        )
    assert torch.equal(raw_maps_of(classifier, views, WANTED, settings()), expected)


@pytest.mark.parametrize("flip", [False, True])
def test_a_fused_map_is_that_of_the_means_over_views(flip: bool) -> None:
    classifier, scales = make(RESIDUAL), [random_images(2, 3, 64, 96), random_images(2, 3, 96, 144)]
    classifier.design = dataclasses.replace(classifier.design, offset=(0.3, -0.4))
    options = settings(flip=flip, map_levels=["layer2", "auto"], placement="receptive_field")
    found = raw_maps_of(classifier, compute_views(classifier, scales, options, CPU), WANTED, options)
    plain = settings(flip=flip, placement="receptive_field")
    last = raw_maps_of(classifier, compute_views(classifier, scales, plain, CPU), WANTED, plain)
    means = []
    for name in ("layer2", "layer3"):
        level, each = choose_level(classifier.backbone, name, "key"), []
        for images in scales:
            for mirrored in (False, True) if flip else (False,):
                shown = images.flip(3) if mirrored else images
                (maps,) = level_maps(classifier, shown, WANTED, [level], layer_cam_at)
                each.append(maps.flip(3) if mirrored else maps)
        finest = each[-1].shape[2:]
        resized = [nn.functional.interpolate(one, finest, mode="bilinear", align_corners=False) for one in each]
        means.append(torch.stack(resized).mean(dim=0))
    assert found.shape[2:] == means[0].shape[2:]
    torch.testing.assert_close(found, fuse(last, means), atol=1e-4, rtol=0)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


@pytest.mark.parametrize("name", ["cam", "layercam", "bagcams"])
@pytest.mark.parametrize("backbone", [RESIDUAL, TRANSFORMER, SWIN])
def test_every_layout_gives_a_finite_map_of_its_finest_level(name: Any, backbone: str) -> None:
    classifier, images = make(backbone), random_images(2, 3, 64, 96)
    finest = levels_of(classifier.backbone)[1]
    options = settings(map=name, map_levels=[finest.name])
    maps, _, _ = predict(classifier, [images], [(), ()], options, CPU)
    plain, _, _ = predict(classifier, [images], [(), ()], settings(map=name), CPU)
    expected = {RESIDUAL: [(4, 6), (16, 24)], TRANSFORMER: [(4, 6), (4, 6)]}.get(backbone, [(2, 3), (8, 12)])
    assert [plain.shape[2:], maps.shape[2:]] == expected
    assert np.isfinite(maps).all()
    assert 0 <= maps.min() < maps.max() <= 1
    alone, _, _ = predict(classifier, [images[1:]], [()], options, CPU)
    np.testing.assert_allclose(alone[0], maps[1], atol=1e-4)


@pytest.mark.parametrize("name", ["gradcam", "gradcam++", "layercam", "bagcams"])
@pytest.mark.parametrize("backbone", [TRANSFORMER, SWIN])
def test_transformers_have_the_maps_of_their_last_features(name: Any, backbone: str) -> None:
    """Their features are what the head reads, so that every rule is that of a convolutional network."""
    classifier, images = make(backbone), random_images(2, 3, 64, 96)
    maps, wanted, _ = predict(classifier, [images], [(), ()], settings(map=name), CPU)
    with torch.inference_mode():
        features = classifier.features(images)
        rule = make_map_rule(name, "keep", classifier.pool)
        expected = rule(features, classifier.head.weight, torch.from_numpy(wanted))
    assert (features == 0).any(), "after the ReLU"
    np.testing.assert_allclose(maps, expected, atol=1e-5 * float(expected.max()))
    assert 0 <= maps.min() < maps.max()


def test_a_level_that_is_none_is_refused() -> None:
    classifier, images = make(RESIDUAL), random_images(2, 3, 64, 96)
    with pytest.raises(
        TrainError, match=r"extract.map_levels: expected levels of the backbone among .*, got 'blocks.2'"
    ):
        predict(classifier, [images], [(), ()], settings(map_levels=["blocks.2"]), CPU)


def test_a_network_that_pads_its_images_is_refused() -> None:
    classifier, images = make(TRANSFORMER), random_images(2, 3, 64, 96)
    layout = dataclasses.replace(classifier.backbone.layout, multiple=64)  # type: ignore[arg-type]
    classifier.backbone.layout = layout  # type: ignore[assignment]
    with pytest.raises(MapError, match=r"64 x 96 pixels as they are, got 'test_vit', which pads them .* of 64"):
        predict(classifier, [images], [(), ()], settings(map_levels=["auto"]), CPU)


@pytest.mark.parametrize("name", ["gradcam", "gradcam++"])
def test_maps_without_a_rule_for_levels_are_refused(name: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=r"expected map_levels \[\], or map 'cam'"):
        settings(map=name, map_levels=["auto"])


def test_a_level_twice_is_refused() -> None:
    with pytest.raises((SettingsError, ValueError), match="expected every level once"):
        settings(map_levels=["auto", "auto"])
