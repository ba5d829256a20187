"""The network's side of extraction: maps and classes of a batch, over scales and mirror images."""

import dataclasses

import numpy as np
import pytest
import torch
from support.helpers import CPU, SMALL, extract_settings, make_tiny, random_images

from pipeline.core.device import Hardware
from pipeline.core.images import resize
from pipeline.extract.cam import class_activation_maps
from pipeline.extract.network import predict, wanted_classes
from pipeline.extract.plan import view_shape
from pipeline.models.classifier import Classifier

# A network sums some thousand products to a value; in float32 and in another order, as another batch size may have it,
# they agree to 1e-5 of the largest. A wrong view, shift or mirror is off by more than a tenth of it.
CLOSE = 1e-4


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    made = make_tiny(classes=5, name=SMALL, stride=16)
    with torch.inference_mode():
        logits = made(random_images(3, 3, 64, 96))
    made.head.weight.data *= 2 / logits.std()  # no class certain, none hopeless
    made.design = dataclasses.replace(made.design, offset=(0.3, -0.4))  # as if measured
    return made


def settings(**changes):  # noqa: ANN003, ANN201
    return extract_settings(
        **{"max_classes": 5, "flip": False, "negative_weights": "keep", "placement": "grid", **changes}
    )


NO_LABELS = [(), (), ()]


def batch(*shapes: tuple[int, int], count: int = 3) -> list[torch.Tensor]:
    """The same images at every shape, as far as blurred noise is the same at any size."""
    return [random_images(count, 3, *shape) for shape in shapes]


def assert_close(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE * np.abs(b).max())


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shapes", [((64, 96),), ((64, 96), (96, 144))])
def test_a_batch_gives_what_each_image_alone_gives(classifier: Classifier, shapes: tuple, flip: bool) -> None:
    scales, options = batch(*shapes), settings(flip=flip)
    maps, wanted, probabilities = predict(classifier, scales, NO_LABELS, options, CPU)
    for n in range(3):
        alone = predict(classifier, [images[n : n + 1] for images in scales], [()], options, CPU)
        assert alone[1].tolist() == wanted[n : n + 1].tolist()
        assert_close(alone[0], maps[n : n + 1])
        assert_close(alone[2], probabilities[n : n + 1])
    assert np.abs(maps[0] - maps[1]).max() > 0.1 * np.abs(maps).max(), "the images must differ"


def test_one_view_is_the_cam_of_its_features(classifier: Classifier) -> None:
    scales = batch((64, 96))
    maps, wanted, probabilities = predict(classifier, scales, NO_LABELS, settings(), CPU)
    with torch.inference_mode():
        features = classifier.features(scales[0])
        expected = class_activation_maps(features, classifier.head.weight, torch.from_numpy(wanted))
        logits = classifier(scales[0])
    assert maps.shape == (3, 5, 4, 6)  # 64 and 96 pixels at output stride 16
    assert_close(maps, expected.numpy())
    assert_close(probabilities, logits.softmax(dim=1).numpy())
    order = np.argsort(-probabilities, axis=1)
    assert wanted.tolist() == order.tolist()


def test_nwc_changes_the_maps_and_never_the_probabilities(classifier: Classifier) -> None:
    scales = batch((64, 96))
    plain = predict(classifier, scales, NO_LABELS, settings(), CPU)
    clamped = predict(classifier, scales, NO_LABELS, settings(negative_weights="clamp"), CPU)
    assert (plain[0] < 0).any()
    assert (clamped[0] >= 0).all()
    assert (clamped[0] >= plain[0] - CLOSE).all()
    assert np.array_equal(plain[1], clamped[1])
    assert np.array_equal(plain[2], clamped[2])
    assert (classifier.head.weight < 0).any(), "the classifier itself keeps its weights"


@pytest.mark.parametrize("placement", ["receptive_field", "grid"])
def test_with_flip_a_mirrored_image_gives_the_mirrored_map(classifier: Classifier, placement: str) -> None:
    """Without it this network does not: its padding is not symmetric, and neither are its filters."""
    scales = batch((64, 96), (96, 144))
    mirrored = [images.flip(3) for images in scales]
    for flip in (True, False):
        options = settings(flip=flip, placement=placement)
        maps, wanted, probabilities = predict(classifier, scales, NO_LABELS, options, CPU)
        other, other_wanted, other_probabilities = predict(classifier, mirrored, NO_LABELS, options, CPU)
        if flip:
            assert wanted.tolist() == other_wanted.tolist()
            assert_close(other, maps[:, :, :, ::-1])
            assert_close(other_probabilities, probabilities)
        else:
            by_class, other_by_class = (np.take_along_axis(m, np.argsort(w)[:, :, None, None], 1) for m, w in
                                        ((maps, wanted), (other, other_wanted)))  # fmt: skip
            assert np.abs(other_by_class - by_class[:, :, :, ::-1]).max() > 0.1 * np.abs(maps).max()


def test_scales_are_averaged_maps_on_the_finest_grid_and_logits(classifier: Classifier) -> None:
    coarse, fine = batch((64, 96), (128, 192))
    everything = [(0, 1, 2, 3, 4)] * 3  # the classes in the order of the labels' probability: compare class by class
    both, wanted, probabilities = predict(classifier, [coarse, fine], everything, settings(), CPU)
    assert both.shape == (3, 5, 8, 12)
    with torch.inference_mode():
        one, two = (
            class_activation_maps(classifier.features(x), classifier.head.weight, torch.from_numpy(wanted))
            for x in (coarse, fine)
        )
        stretched = torch.nn.functional.interpolate(one, size=(8, 12), mode="bilinear", align_corners=False)
        logits = (classifier(coarse) + classifier(fine)) / 2
    assert_close(both, ((stretched + two) / 2).numpy())
    assert_close(probabilities, logits.softmax(dim=1).numpy())


def sampler(offset: tuple[int, int]) -> Classifier:
    """Its one map is the red level of pixel 16 i + offset at cell i: what a cell saw, and where, can be read off it."""
    classifier = make_tiny(classes=1)
    window = torch.nn.Conv2d(3, 1, 31, stride=16, padding=15, bias=False)
    torch.nn.init.zeros_(window.weight)
    window.weight.data[0, 0, 15 + offset[0], 15 + offset[1]] = 1
    classifier.backbone, classifier.head = window, torch.nn.Linear(1, 1)
    torch.nn.init.ones_(classifier.head.weight)
    classifier.mean.zero_()
    classifier.std.fill_(1 / 255)
    # the center of an even share of the image is 16 i + 7.5
    classifier.design = dataclasses.replace(classifier.design, offset=((offset[0] - 7.5) / 16, (offset[1] - 7.5) / 16))
    return classifier


def ramp(shape: tuple[int, int], axis: int) -> torch.Tensor:
    """Levels that rise by 200 along one axis of the image, whatever its size. Shape: (1, 3, H, W)"""
    levels = 200 * (torch.arange(shape[axis]) + 0.5) / shape[axis]
    return (levels[:, None] if axis == 0 else levels).round().expand(1, 3, *shape).to(torch.uint8)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shapes", [((128, 192),), ((192, 128), (96, 128)), ((96, 160), (128, 192), (160, 256))])
@pytest.mark.parametrize("offset", [(0, 0), (15, 15), (0, 15)])
def test_a_map_lies_where_the_network_looked(offset: tuple[int, int], shapes: tuple, flip: bool) -> None:
    """A linear ramp is kept by every bilinear step: resized to the image, the map is the image, but for the rim."""
    classifier, size = sampler(offset), (300, 400)
    for axis in (0, 1):
        wanted, scales = ramp(size, axis)[0, 0].numpy(), [ramp(shape, axis) for shape in shapes]
        found, without = (
            resize(
                predict(classifier, scales, [()], settings(flip=flip, max_classes=1, placement=placement), CPU)[0][
                    0, 0
                ],
                size,
            )
            for placement in ("receptive_field", "grid")
        )
        rim = 2 * 16 * size[axis] // min(shape[axis] for shape in shapes)
        inner = (slice(rim, -rim), slice(None)) if axis == 0 else (slice(None), slice(rim, -rim))
        np.testing.assert_allclose(found[inner], wanted[inner], rtol=0, atol=1)  # twice rounded to whole levels
        moved = (without - wanted)[inner].mean()  # half a cell of some 8 to 12 on the ramp of 200 levels
        expected = (
            0 if flip and axis == 1 else (offset[axis] - 7.5) * 200 * np.mean([1 / shape[axis] for shape in shapes])
        )
        assert moved == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(("stride", "shape"), [(8, (12, 8)), (16, (6, 4)), (32, (3, 2))])
def test_the_grid_is_the_image_over_the_stride(stride: int, shape: tuple[int, int]) -> None:
    maps, _, _ = predict(make_tiny(stride=stride), batch((96, 64)), NO_LABELS, settings(max_classes=1), CPU)
    assert maps.shape == (3, 1, *shape)


def test_a_multi_label_classifier_predicts_with_sigmoids(classifier: Classifier) -> None:
    scales = batch((64, 96))
    design = classifier.design
    try:
        classifier.design = dataclasses.replace(design, loss="multi_label")
        several = predict(classifier, scales, NO_LABELS, settings(), CPU)[2]
    finally:
        classifier.design = design
    with torch.inference_mode():
        assert_close(several, 1 / (1 + np.exp(-classifier(scales[0]).numpy())))
    assert np.abs(several.sum(axis=1) - 1).max() > 0.1


def test_wanted_classes() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.6, 0.1], [0.05, 0.5, 0.15, 0.3], [0.4, 0.3, 0.2, 0.1]])
    before = probabilities.clone()
    assert wanted_classes(probabilities, [(), (), ()], 2).tolist() == [[2, 1], [1, 3], [0, 1]]
    # known labels come first, the more probable of them before the others
    assert wanted_classes(probabilities, [(1,), (0, 2), (3, 2, 1)], 3).tolist() == [[1, 2, 0], [2, 0, 1], [1, 2, 3]]
    assert wanted_classes(probabilities, [(), (), ()], 9).shape == (3, 4)
    assert torch.equal(probabilities, before)


def test_the_order_of_classes_is_that_of_the_logits() -> None:
    """A sigmoid is 1.0 in float32 from 17 on, where logits still differ; equal logits go to the lower class."""
    logits = torch.tensor([[30.0, 40.0, 20.0, 40.0, -50.0]])
    assert wanted_classes(logits, [()], 5).tolist() == [[1, 3, 0, 2, 4]]
    assert wanted_classes(logits, [(4, 2)], 3).tolist() == [[2, 4, 1]]


@pytest.mark.parametrize(
    ("shape", "size", "kind", "multiple", "expected"),
    [
        ((375, 500), 320, "long_side", 16, (240, 320)),
        ((500, 375), 320, "long_side", 16, (320, 240)),
        ((375, 500), 320, "square", 16, (320, 320)),
        ((100, 100), 64, "long_side", 32, (64, 64)),
        ((375, 500), 330, "long_side", 32, (256, 320)),  # 247.5 and 330 to the nearest multiples
        ((20, 2000), 320, "long_side", 16, (16, 320)),  # never less than one position
        ((333, 500), 448, "long_side", 16, (304, 448)),
        ((400, 400), 448, "area", 16, (448, 448)),
        ((360, 1440), 448, "area", 16, (224, 896)),  # long_side would leave it 112 pixels high
        ((20, 2000), 320, "area", 16, (32, 3200)),
    ],
)
def test_view_shape(shape: tuple[int, int], size: int, kind: str, multiple: int, expected: tuple[int, int]) -> None:
    assert view_shape(shape, size, kind, multiple) == expected


def test_batches_are_filled_up_where_every_new_size_costs_time(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales, options = batch((64, 96), (96, 144)), settings(flip=True, batch_size=5)
    plain = predict(classifier, scales, NO_LABELS, options, CPU)
    seen, unwatched = [], classifier.features

    def watched(images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape))
        return unwatched(images)

    monkeypatch.setattr(classifier, "features", watched)
    monkeypatch.setattr(Hardware, "wants_few_shapes", True)
    filled = predict(classifier, scales, NO_LABELS, options, CPU)
    assert seen == [(5, 3, 64, 96)] * 2 + [(5, 3, 96, 144)] * 2
    for one, other in zip(plain, filled, strict=True):
        assert_close(one, other)
