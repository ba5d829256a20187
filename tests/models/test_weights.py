"""Initial weights: the right tensors in the right places, and nothing that executes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from support.helpers import ROOT, SMALL, TINY, random_images
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.core.images import read_rgb, resize_image
from pipeline.models import hub
from pipeline.models.backbones import build_backbone, normalization, normalize
from pipeline.models.settings import WHEELS
from pipeline.models.weight_files import read_state
from pipeline.models.weights import load_weights, wheel_file
from pipeline.train.settings import BackboneSettings

PHOTOGRAPHS = ROOT / "../shared/data/butterflies/images"


def wanted(weights: Any, name: str = TINY, weights_from: str | None = None) -> BackboneSettings:
    return BackboneSettings(name, 32, weights, weights_from, trained=True, batch_norm="frozen")


def backbone(seed: int = 0, name: str = TINY) -> nn.Module:
    torch.manual_seed(seed)
    return build_backbone(name, 32)


def same(ours: nn.Module, theirs: dict[str, Tensor]) -> bool:
    state = ours.state_dict()
    return state.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in state.items())


def other_state() -> dict[str, Tensor]:
    """Weights of another random start, in all tensors: batch norms start out equal."""
    state = {name: value.clone() for name, value in backbone(seed=1).state_dict().items()}
    return {
        name: value + torch.rand(value.shape) if value.is_floating_point() else value for name, value in state.items()
    }


# --- the installed package -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHEELS)
def test_the_packages_tensors_stand_in_timms_order(name: str) -> None:
    """Shapes alone would not tell weight, bias, mean and variance of a batch norm apart: the last word of the names
    does."""
    module = backbone(name=name)
    load_weights(module, wanted("wheel", name))
    theirs, ours = (
        [(name.rpartition(".")[2], value) for name, value in state.items() if not name.endswith("num_batches_tracked")]
        for state in (read_state(wheel_file(name)), module.state_dict())
    )
    assert len(ours) > 200
    assert [word for word, _ in theirs[: len(ours)]] == [word for word, _ in ours]
    assert [word for word, _ in theirs[len(ours) :]] == ["weight", "bias"]  # the classifier of ImageNet
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(theirs, ours, strict=False))


@pytest.mark.parametrize("name", WHEELS)
def test_the_packages_weights_fit_the_statistics_of_their_batch_norms(name: str) -> None:
    """A trained network knows the means of its own activations; one whose tensors are mixed up does not.

    Blurred noise is no photograph, so that the agreement is loose: correlation over channels 0.99 and 0.95 as measured;
    two batch norms that lie behind more and more layers, any of which would spoil it.
    """
    module = backbone(name=name)
    load_weights(module, wanted("wheel", name))
    for place in ("blocks.0.0.bn1", "blocks.2.0.bn2"):
        layer, seen = module.get_submodule(place), []
        layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        with torch.inference_mode():
            module.eval()(random_images(8, 3, 96, 128).float().sub(127).div(128))
        means = torch.stack([seen[0].mean(dim=(0, 2, 3)), layer.running_mean])  # type: ignore[list-item]
        assert torch.corrcoef(means)[0, 1] > 0.85, place


@pytest.mark.slow
@pytest.mark.parametrize("name", WHEELS)
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="needs photographs in ../shared/data/butterflies")
def test_photographs_of_butterflies_are_butterflies_of_imagenet(name: str) -> None:
    """ImageNet has six classes of butterflies, 321 (admiral) to 326 (lycaenid), among 1,000: chance finds none of 12.

    18 or 19 of 20 of split val were found with each network; the classifier is the one in the package.
    """
    module, design = backbone(name=name).eval(), normalization(name)
    load_weights(module, wanted("wheel", name))
    weight, bias = list(read_state(wheel_file(name)).values())[-2:]
    images = [resize_image(read_rgb(file), (256, 256)) for file in sorted(PHOTOGRAPHS.glob("*.jpg"))[::64][:12]]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (design.mean, design.std))
    with torch.inference_mode():
        found = (module(normalize(pixels, mean, std)).mean(dim=(2, 3)) @ weight.T + bias).argmax(dim=1)
    assert len(found) == 12
    assert ((found >= 321) & (found <= 326)).sum() >= 9


def test_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WHEELS, SMALL, ("efficientnet_lite9_pytorch_model", "None"))
    with pytest.raises(TrainError, match=r"found none: No module .*; `pip install efficientnet-lite9-pytorch-model`"):
        load_weights(backbone(name=SMALL), wanted("wheel", SMALL))


def test_wheel_features_differ_from_random_ones_and_do_not_depend_on_the_seed() -> None:
    first, second, untouched = backbone(0, SMALL), backbone(1, SMALL), backbone(0, SMALL)
    for module in (first, second):
        load_weights(module, wanted("wheel", SMALL))
    load_weights(untouched, wanted("none", SMALL))
    assert same(second, first.state_dict())
    assert same(untouched, backbone(0, SMALL).state_dict())
    names = [name for name, value in first.named_parameters() if value.ndim == 4]
    assert names
    assert not any(torch.equal(first.state_dict()[name], untouched.state_dict()[name]) for name in names)


def test_the_package_fits_one_network_only() -> None:
    with pytest.raises(TrainError, match="expected 'hub', 'file' or 'none' for 'test_resnet', got 'wheel'"):
        load_weights(backbone(), wanted("wheel"))


# --- files -----------------------------------------------------------------------------------------------------------


def save_safetensors(state: dict[str, Tensor], folder: Path) -> Path:
    safetensors.torch.save_file(state, folder / "w.safetensors")
    return folder / "w.safetensors"


def save_torch(wrap: Callable[[dict[str, Tensor]], Any]) -> Callable[[dict[str, Tensor], Path], Path]:
    def save(state: dict[str, Tensor], folder: Path) -> Path:
        torch.save(wrap(state), folder / "w.pth")
        return folder / "w.pth"

    return save


FILES = {
    "safetensors": save_safetensors,
    "pth": save_torch(lambda state: state),
    "wrapped in state_dict": save_torch(lambda state: {"epoch": 3, "state_dict": state}),
    "wrapped in model": save_torch(lambda state: {"model": state}),
    "of DataParallel": save_torch(lambda state: {f"module.{name}": value for name, value in state.items()}),
    "with a classifier": save_torch(lambda state: {**state, "fc.weight": torch.zeros(7, 3)}),
}


@pytest.mark.parametrize("kind", FILES)
def test_weights_of_a_file_arrive_whole(kind: str, tmp_path: Path) -> None:
    state, ours = other_state(), backbone()
    load_weights(ours, wanted("file", weights_from=str(FILES[kind](state, tmp_path))))
    assert same(ours, state)


def refused(path: Path) -> str:
    ours, before = backbone(), backbone().state_dict()
    with pytest.raises(TrainError) as caught:
        load_weights(ours, wanted("file", weights_from=str(path)))
    assert same(ours, before), "a refused file must leave the network as it was"
    return str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = other_state()
    names = [name for name, value in state.items() if value.ndim == 4]
    other_shape = {**state, names[0]: state[names[0]][:, :, :1].contiguous()}
    assert f"missing=[], other shapes=[('{names[0]}', " in refused(save_safetensors(other_shape, tmp_path))
    del state[names[1]]
    message = refused(save_safetensors(state, tmp_path))
    assert f"missing=['{names[1]}'], other shapes=[]" in message
    assert message.endswith("likely weights of another network")


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Bomb(tmp_path / "ran")}, tmp_path / "w.pth")
    assert "expected weights that load without executing code" in refused(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "w.pth", weights_only=False)  # the trap is real
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("data", [b"", b"not weights at all"])
def test_files_that_are_no_weights_are_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert refused(tmp_path / name).startswith(f"{tmp_path / name}: expected weights")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {1: torch.zeros(1)}, {"state_dict": [torch.zeros(1)]}])
def test_other_tensors_than_weights_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "expected a dictionary of tensors by name" in refused(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.pth") == f"{tmp_path / 'none.pth'}: expected a file of weights, found none"


VIT = "test_vit"


def published_vit(img_size: int) -> dict[str, Tensor]:
    """What timm would publish of a small transformer for images of this size, with its classifier."""
    torch.manual_seed(3)
    return dict(timm.create_model(VIT, num_classes=10, img_size=img_size).state_dict())


def test_a_transformers_weights_arrive_under_timms_names(tmp_path: Path) -> None:
    ours, state = backbone(name=VIT), published_vit(160)
    load_weights(ours, wanted("file", VIT, str(save_safetensors(state, tmp_path))))
    assert all(torch.equal(value, state[name.removeprefix("network.")]) for name, value in ours.state_dict().items())


def test_positions_of_another_size_are_resized(tmp_path: Path) -> None:
    """Positions that rise by one from patch to patch do so at half the step on a grid twice as fine."""
    ours, state = backbone(name=VIT), published_vit(80)  # 5 x 5 patches, ours has 10 x 10
    columns = torch.arange(5.0).repeat(5)
    state["pos_embed"] = torch.cat([torch.zeros(1), columns])[None, :, None].repeat(1, 1, 64)
    load_weights(ours, wanted("file", VIT, str(save_safetensors(state, tmp_path))))
    positions = ours.state_dict()["network.pos_embed"]
    assert positions.shape == (1, 101, 64)
    rows = positions[0, 1:, 0].view(10, 10)
    torch.testing.assert_close(rows[4, 3:7], (torch.arange(3.0, 7.0) + 0.5) / 2 - 0.5, atol=0.05, rtol=0)
    assert torch.equal(ours.state_dict()["network.norm.weight"], state["norm.weight"])


def test_weights_of_another_transformer_are_refused(tmp_path: Path) -> None:
    state = {name: value for name, value in published_vit(160).items() if name != "norm.weight"}
    with pytest.raises(
        TrainError, match=r"missing=\['norm.weight'\], other shapes=\[\], left over=\[\]; likely weights"
    ):
        load_weights(backbone(name=VIT), wanted("file", VIT, str(save_safetensors(state, tmp_path))))


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_a_hub_that_cannot_be_reached_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = backbone()

    def unreachable(name: str, **options: Any) -> nn.Module:
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        TrainError, match=r"weights of 'test_resnet', tag 'r160_in1k', .*Name or service not known; without a net"
    ):
        load_weights(ours, wanted("hub", weights_from="r160_in1k"))


def test_a_download_of_other_bytes_than_announced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"weights"
    blob = tmp_path / "blobs" / hashlib.sha256(data).hexdigest()
    blob.parent.mkdir()
    (tmp_path / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repository, file: str(tmp_path / file))
    published, ours = timm.create_model(TINY, num_classes=10), backbone()
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: published)
    for kept in (data, b"weightz"):
        blob.write_bytes(kept)
        if kept == data:
            load_weights(ours, wanted("hub", weights_from="r160_in1k"))
        else:
            with pytest.raises(
                TrainError, match=rf"{blob.name}: expected the bytes that the hub announced .*damaged down"
            ):
                load_weights(ours, wanted("hub", weights_from="r160_in1k"))


@pytest.mark.parametrize(("tag", "asked"), [("r160_in1k", "test_resnet.r160_in1k"), (None, "test_resnet")])
def test_hub_weights_arrive_by_name_and_tag(tag: str | None, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    published, ours, seen = timm.create_model(TINY, num_classes=10), backbone(), []

    def stand_in(name: str, pretrained: bool) -> nn.Module:
        seen.append((name, pretrained))
        return published

    monkeypatch.setattr(timm, "create_model", stand_in)
    load_weights(ours, wanted("hub", weights_from=tag))
    assert seen == [(asked, True)]
    theirs = published.state_dict()
    assert same(ours, {name: theirs[name] for name in ours.state_dict()})
