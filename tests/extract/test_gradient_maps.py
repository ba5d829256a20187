"""Maps from gradients: against autograd, the libraries, and each other."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam import LayerCAM as LibraryLayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from pipeline.extract.cam import clamp_negative_weights, class_activation_maps
from pipeline.extract.gradient_maps import MapName, make_map_rule
from pipeline.models.pooling import make_pool, pool_gradient

POOLS = [make_pool("gap", 0.0), make_pool("tap", 0.3)]
WANTED = torch.tensor([[2, 0], [1, 1]])
GRADIENT_MAPS: tuple[MapName, ...] = ("gradcam", "gradcam++", "layercam", "bagcams")
CELLS = 5 * 4


def _features(seed: int = 0) -> Tensor:
    return torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(seed)).relu()


def _weights(seed: int = 1) -> Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(seed))


def _maps(name: MapName, pool: nn.Module, features: Tensor, weights: Tensor) -> Tensor:
    return make_map_rule(name, "keep", pool)(features, weights, WANTED)


class _Head(nn.Module):
    """What the libraries want: a network whose target layer gives the features."""

    def __init__(self, pool: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.target, self.pool, self.weights = nn.Identity(), pool, nn.Parameter(weights)

    def forward(self, features: Tensor) -> Tensor:
        return self.pool(self.target(features * 1.0)) @ self.weights.T


# --- the libraries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS, ids=["gap", "tap"])
@pytest.mark.parametrize(
    ("name", "library"), [("gradcam", GradCAM), ("gradcam++", GradCAMPlusPlus), ("layercam", LibraryLayerCAM)]
)
def test_maps_are_those_of_pytorch_grad_cam(name: MapName, library: Callable[..., GradCAM], pool: nn.Module) -> None:
    features, weights = _features(), _weights()
    network = _Head(pool, weights)
    ours = _maps(name, pool, features, weights)
    for place in range(WANTED.shape[1]):
        with library(model=network, target_layers=[network.target]) as cam:
            targets = [ClassifierOutputTarget(int(wanted)) for wanted in WANTED[:, place]]
            theirs = torch.from_numpy(cam(input_tensor=features.clone().requires_grad_(), targets=targets))
        assert torch.allclose(_zero_to_one(ours[:, place]), theirs, atol=1e-4)  # it divides by the largest value + 1e-7


def _zero_to_one(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low)


# --- slow references with autograd ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS, ids=["gap", "tap"])
def test_the_gradient_of_a_pool_is_autograds(pool: nn.Module) -> None:
    features = _features().requires_grad_()
    weights = _weights()
    (whole,) = torch.autograd.grad((pool(features) @ weights[1]).sum(), features)
    with torch.inference_mode():
        gradient = pool_gradient(pool, features.detach())
    assert torch.allclose(weights[1].view(1, -1, 1, 1) * gradient, whole)


@pytest.mark.parametrize("pool", POOLS, ids=["gap", "tap"])
def test_bagcams_is_the_mean_of_the_maps_of_all_positions(pool: nn.Module) -> None:
    features, weights = _features(), _weights()
    maps = _maps("bagcams", pool, features, weights)
    for image in range(2):
        for place, wanted in enumerate(WANTED[image]):
            leaf = features[image : image + 1].clone().requires_grad_()
            (gradient,) = torch.autograd.grad((pool(leaf) @ weights[wanted]).abs().log().sum(), leaf)
            product = (gradient * leaf * torch.sign(pool(leaf) @ weights[wanted]))[0].detach().numpy()
            expected = np.zeros((5, 4))
            for channel in product:
                localizers = [(1 + channel[cell]) / CELLS for cell in np.ndindex(5, 4)]
                expected += np.maximum(sum(localizers) * channel, 0)
            assert np.allclose(maps[image, place], expected, atol=1e-6)


def test_a_map_by_hand() -> None:
    features = torch.tensor([[[[4.0, 1.0]], [[0.0, 2.0]]]])  # two channels of two positions
    weights, wanted = torch.tensor([[2.0, -1.0]]), torch.tensor([[0]])
    pool = make_pool("gap", 0.0)  # J = 1/2: gradients 1 and -1/2; logit 2 * 2.5 - 1 = 4

    def of(name: MapName) -> list[float]:
        found: list[float] = make_map_rule(name, "keep", pool)(features, weights, wanted).flatten().tolist()
        return found

    assert of("gradcam") == [4.0, 0.0]  # 1 * 4, 1 * 1 - 0.5 * 2
    assert of("layercam") == [4.0, 1.0]
    assert of("gradcam++") == pytest.approx([8 / 7, 2 / 7])  # two positions of 1 / (2 + 5)
    assert of("bagcams") == pytest.approx([1.625, 0.40625])  # (1 + mean(1, 0.25)) * (1, 0.25); the other is negative


# --- by arithmetic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS, ids=["gap", "tap"])
def test_grad_cam_is_the_positive_part_of_cam(pool: nn.Module) -> None:
    features, weights = _features(), _weights()
    cam = class_activation_maps(features, weights, WANTED).clamp(min=0)
    assert torch.allclose(_maps("gradcam", pool, features, weights) * CELLS, cam, atol=1e-5)


def test_layer_cam_is_nwc_with_global_average_pooling() -> None:
    features, weights = _features(), _weights()
    nwc = class_activation_maps(features, clamp_negative_weights(weights), WANTED)
    assert torch.allclose(_maps("layercam", POOLS[0], features, weights) * CELLS, nwc, atol=1e-5)


@pytest.mark.parametrize("pool", POOLS, ids=["gap", "tap"])
@pytest.mark.parametrize("name", GRADIENT_MAPS)
@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_maps_of_nothing_are_zero_or_finite(name: MapName, pool: nn.Module, weight: float) -> None:
    for features in (_features(), torch.zeros(2, 6, 5, 4)):
        maps = _maps(name, pool, features, torch.full((3, 6), weight))
        assert maps.isfinite().all()
        assert (maps >= 0).all()
        if weight == 0.0:
            assert not maps.any()


def test_cam_follows_the_key_of_negative_weights() -> None:
    features, weights = _features(), _weights()
    kept, clamped = (make_map_rule("cam", how, POOLS[1])(features, weights, WANTED) for how in ("keep", "clamp"))
    assert torch.equal(kept, class_activation_maps(features, weights, WANTED))
    assert torch.equal(clamped, class_activation_maps(features, weights.clamp(min=0), WANTED))
