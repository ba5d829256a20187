"""CAM and NWC against loops over every class, channel, row and column, and against the logit they explain."""

import pytest
import torch
from support.helpers import make_tiny, random_features
from torch import Tensor
from torch.nn import functional

from pipeline.core.images import resize
from pipeline.extract.cam import clamp_negative_weights, class_activation_maps, mean_over_views, resample

N, C, H, W, K = 2, 5, 3, 4, 6
CENTERED = (0.0, 0.0)


def random_weights(seed: int = 0) -> Tensor:
    """Half of them negative."""
    return torch.randn(K, C, generator=torch.Generator().manual_seed(seed))


WANTED = torch.tensor([[4, 0, 5], [1, 1, 3]])


def slow_maps(features: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    """Equation 2 of Zhou et al., one product at a time."""
    count, channels, height, width = features.shape
    maps = torch.zeros(count, wanted.shape[1], height, width)
    for n in range(count):
        for p, k in enumerate(wanted[n].tolist()):
            for h in range(height):
                for w in range(width):
                    products = [weights[k, c].item() * features[n, c, h, w].item() for c in range(channels)]
                    maps[n, p, h, w] = sum(products)
    return maps


def test_cam_equals_plain_loops() -> None:
    features, weights = random_features(N, C, H, W), random_weights()
    torch.testing.assert_close(class_activation_maps(features, weights, WANTED), slow_maps(features, weights, WANTED))


def test_nwc_equals_the_sum_over_positive_weights() -> None:
    features, weights = random_features(N, C, H, W), random_weights()
    maps = class_activation_maps(features, clamp_negative_weights(weights), WANTED)
    for n in range(N):
        for p, k in enumerate(WANTED[n].tolist()):
            expected = torch.zeros(H, W)
            for c in range(C):
                if weights[k, c] > 0:
                    expected += weights[k, c] * features[n, c]
            torch.testing.assert_close(maps[n, p], expected)


def test_exact_values() -> None:
    features = torch.tensor([[[[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]], [[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]]]])  # (1, 2, 2, 3)
    weights = torch.tensor([[1.0, -2.0], [0.5, 1.0]])
    wanted = torch.tensor([[1, 0]])
    assert class_activation_maps(features, weights, wanted).tolist() == [
        [[[2.5, 1.0, 1.0], [1.0, 2.5, 0.5]], [[-3.0, 2.0, -2.0], [-2.0, 1.0, 1.0]]]
    ]
    assert class_activation_maps(features, clamp_negative_weights(weights), wanted)[0, 1].tolist() == [
        [1.0, 2.0, 0.0],
        [0.0, 3.0, 1.0],
    ]


def test_the_mean_of_a_map_plus_the_bias_is_the_gap_logit() -> None:
    classifier, features = make_tiny(classes=K, pooling="gap"), random_features(N, 96, H, W)
    everything = torch.arange(K).expand(N, K)
    with torch.inference_mode():
        maps = class_activation_maps(features, classifier.head.weight, everything)
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + classifier.head.bias, classifier.logits(features))
        tap = make_tiny(classes=K, pooling="tap").logits(features)
        assert (tap - classifier.logits(features)).abs().max() > 0.01  # with TAP it is not: the map knows no threshold


def test_nwc_is_never_negative_and_equals_cam_without_negative_weights() -> None:
    features, weights = random_features(N, C, H, W), random_weights()
    assert (class_activation_maps(features, weights, WANTED) < 0).any()
    assert (class_activation_maps(features, clamp_negative_weights(weights), WANTED) >= 0).all()
    assert torch.equal(
        class_activation_maps(features, clamp_negative_weights(weights.abs()), WANTED),
        class_activation_maps(features, weights.abs(), WANTED),
    )


def test_clamping_leaves_the_classifiers_own_weights_alone() -> None:
    weights = random_weights()
    before = weights.clone()
    clamped = clamp_negative_weights(weights)
    assert torch.equal(weights, before)
    assert clamped.min() == 0
    assert torch.equal(clamped[weights > 0], weights[weights > 0])


def test_maps_are_float32_also_of_half_precision_features() -> None:
    features, weights = random_features(N, C, H, W).bfloat16(), random_weights()
    exact = slow_maps(features.float(), weights, WANTED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = class_activation_maps(features, weights, WANTED)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, exact)  # a product in bfloat16 would be off by 4e-3


@pytest.mark.parametrize(
    ("features", "weights", "wanted"),
    [
        ((N, C, H), (K, C), (N, 1)),
        ((N, C, H, W), (K, C + 1), (N, 1)),
        ((N, C, H, W), (C,), (N, 1)),
        ((N, C, H, W), (K, C), (1, 1)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    features: tuple[int, ...], weights: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    with pytest.raises(
        ValueError, match=r"expected features \(N, C, H, W\), weights \(K, C\) and wanted \(N, P\), got "
    ):
        class_activation_maps(torch.zeros(features), torch.zeros(weights), torch.zeros(wanted, dtype=torch.int64))


def test_views_are_averaged_on_the_finest_grid() -> None:
    coarse, fine = random_features(N, 2, 2, 3), random_features(N, 2, 4, 6, seed=1)
    # rows 0..3 of the finer grid lie at -0.25, 0.25, 0.75, 1.25 of the coarser one: 3/4 of the nearer, 1/4 of the
    # farther

    def stretch(length: int) -> Tensor:
        matrix = torch.zeros(2 * length, length)
        for fine_index in range(2 * length):
            near = fine_index // 2
            far = min(max(near + (1 if fine_index % 2 else -1), 0), length - 1)
            matrix[fine_index, near] += 0.75
            matrix[fine_index, far] += 0.25
        return matrix

    expected = (torch.einsum("ha,npab,wb->nphw", stretch(2), coarse, stretch(3)) + fine) / 2
    torch.testing.assert_close(mean_over_views([coarse, fine], [CENTERED, CENTERED]), expected)
    torch.testing.assert_close(mean_over_views([fine, coarse], [CENTERED, CENTERED]), expected)


def test_one_view_stays_as_it_is() -> None:
    view = random_features(N, 2, 3, 4)
    assert torch.equal(mean_over_views([view], [CENTERED]), view)
    assert torch.equal(mean_over_views([view, view], [CENTERED, CENTERED]), view)


def test_constant_views_have_the_mean_of_their_values() -> None:
    views = [torch.full((1, 1, 2, 3), 1.0), torch.full((1, 1, 5, 4), 4.0), torch.full((1, 1, 3, 3), 4.0)]
    for offset in (CENTERED, (0.4, -0.5)):
        averaged = mean_over_views(views, [offset] * 3)
        assert averaged.shape == (1, 1, 5, 4)
        torch.testing.assert_close(averaged, torch.full((1, 1, 5, 4), 3.0))


def test_align_corners_is_the_same_as_in_the_resize_to_the_image() -> None:
    """Both resizes put the centers of positions in the same places: resized at once or in two steps, an edge stays
    put."""
    view = random_features(1, 1, 3, 4)
    once = functional.interpolate(view, size=(6, 8), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(torch.from_numpy(resize(view[0, 0].numpy(), (6, 8))), once)
    torch.testing.assert_close(resample(view, (6, 8), CENTERED)[0, 0], once)


def slow_resample(view: Tensor, shape: tuple[int, int], offset: tuple[float, float]) -> Tensor:
    """One value at a time: where a cell of the even grid lies among the cells of the view, edges repeated."""
    height, width = view.shape[2:]
    resampled = torch.zeros(*view.shape[:2], *shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            y = min(max((i + 0.5) / shape[0] * height - 0.5 - offset[0], 0), height - 1)
            x = min(max((j + 0.5) / shape[1] * width - 0.5 - offset[1], 0), width - 1)
            for row in (int(y), min(int(y) + 1, height - 1)):
                for column in (int(x), min(int(x) + 1, width - 1)):
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    double = (1 + (row == height - 1 and int(y) == row)) * (
                        1 + (column == width - 1 and int(x) == column)
                    )
                    resampled[:, :, i, j] += share / double * view[:, :, row, column]
    return resampled


@pytest.mark.parametrize("offset", [(0.0, 0.0), (-7.5 / 16, 7.5 / 16), (0.3, -0.9), (1.25, -2.0)])
@pytest.mark.parametrize("shape", [(3, 4), (6, 8), (5, 7), (2, 9), (1, 1)])
def test_resampling_equals_plain_loops(shape: tuple[int, int], offset: tuple[float, float]) -> None:
    view = random_features(N, 2, 3, 4)
    torch.testing.assert_close(resample(view, shape, offset), slow_resample(view, shape, offset))


def test_a_displaced_view_by_hand() -> None:
    """Cells that look half a cell to the left of their place: between two of them lies the mean, the last one is
    repeated."""
    row = torch.tensor([[[[0.0, 4.0, 8.0, 2.0]]]])
    assert mean_over_views([row], [(0.0, -0.5)]).tolist() == [[[[2.0, 6.0, 5.0, 2.0]]]]
    assert mean_over_views([row], [(0.0, 0.5)]).tolist() == [[[[0.0, 2.0, 6.0, 5.0]]]]
    assert mean_over_views([row, row], [(0.0, -0.5), (0.0, 0.5)]).tolist() == [[[[1.0, 4.0, 5.5, 3.5]]]]
    column = row.transpose(2, 3)
    assert mean_over_views([column], [(-0.25, 0.0)]).flatten().tolist() == [1.0, 5.0, 6.5, 2.0]


def test_every_view_has_an_offset() -> None:
    with pytest.raises(ValueError, match="shorter"):
        mean_over_views([random_features(1, 1, 2, 3)] * 2, [CENTERED])
