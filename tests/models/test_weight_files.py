"""Files of weights as trainers write them: wrappers, prefixes, other objects, NaN; and weights of another network."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.core.errors import TrainError
from pipeline.models.backbones import build_backbone
from pipeline.models.settings import BackboneSettings
from pipeline.models.weight_files import PREFIXES, WRAPPERS, candidates, check_finite_weights, read_state
from pipeline.models.weights import load_weights

State = dict[str, Tensor]
STATE = {"conv1.weight": torch.arange(3.0), "layer1.0.bias": torch.ones(2)}


def below(prefix: str, state: State = STATE) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(TrainError) as caught:
        call()
    return str(caught.value)


@given(st.lists(st.sampled_from(sorted(PREFIXES)), max_size=4), st.lists(st.sampled_from(WRAPPERS), max_size=3))
def test_known_wrappers_are_taken_away_as_often_as_they_occur(
    tmp_path_factory: pytest.TempPathFactory, prefixes: list[str], keys: list[str]
) -> None:
    content: Any = below("".join(f"{name}." for name in prefixes))
    for key in keys:
        content = {"epoch": 3, key: content}
    state = read_state(saved(tmp_path_factory.mktemp("w"), content))
    (found,) = candidates(state, list(STATE), "w.pth")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_the_network_that_moco_trains_is_taken_and_its_copy_not() -> None:
    state = {**below("module.encoder_k.", {n: v + 9 for n, v in STATE.items()}), **below("module.encoder_q.")}
    (found,) = candidates({**state, "module.queue": torch.zeros(4)}, list(STATE), "moco.pth")
    assert torch.equal(found["conv1.weight"], STATE["conv1.weight"])
    assert len(found) == 2


def test_a_prefix_that_is_no_wrapper_is_shown() -> None:
    message = refused(lambda: [*candidates(below("momentum."), list(STATE), "w.pth")])
    assert message == (
        "w.pth: expected weights without a prefix, got some that fit below ['momentum.']; save those below one of them "
        "alone, without it: `{k.removeprefix('momentum.'): v for k, v in state.items()}`"
    )


def test_two_networks_that_would_fit_are_not_chosen_between() -> None:
    message = refused(lambda: [*candidates({**below("student."), **below("teacher.")}, list(STATE), "w.pth")])
    assert "got some that fit below ['student.', 'teacher.']" in message


def test_other_objects_beside_the_weights_are_named_and_the_way_out_exists(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": STATE, "args": Namespace(lr=0.1)})
    message = refused(lambda: read_state(path))
    assert message == (
        f"{path}: expected weights that load without executing code, got objects of argparse.Namespace beside the "
        "tensors; save the tensors alone where the file was made: `torch.save(model.state_dict(), 'weights.pth')`"
    )
    assert "weights_only" not in message
    torch.save(STATE, path)
    assert read_state(path).keys() == STATE.keys()


def test_what_is_no_tensor_among_the_weights_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, {**STATE, "epoch": 3})
    assert "got ['epoch'] beside or instead; save the tensors alone" in refused(lambda: read_state(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    bad = {**STATE, "layer1.0.bias": torch.tensor([1.0, value])}
    message = refused(lambda: check_finite_weights(bad, "w.pth"))
    assert message.startswith(
        "w.pth: expected finite weights, got NaN or infinity in 1 of 2 tensors: ['layer1.0.bias']"
    )
    check_finite_weights({**STATE, "steps": torch.tensor(3)}, "w.pth")


# --- weights of another network ---------------------------------------------------------------------------------------


def settings(name: str, path: Path) -> BackboneSettings:
    return BackboneSettings(name, 32, "file", str(path), True, "frozen")


def test_weights_of_a_deeper_network_are_refused(tmp_path: Path) -> None:
    """All tensors of resnet18 are in those of resnet34, of the same shapes."""
    ours = build_backbone("resnet18", 32)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    path = saved(tmp_path, timm.create_model("resnet34").state_dict())
    message = refused(lambda: load_weights(ours, settings("resnet18", path), "student.backbone"))
    assert "missing=[], other shapes=[], left over=['layer1.2.bn1.bias'," in message
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "regnetx_002"])
def test_the_classifier_and_parts_of_other_tasks_may_be_left_over(name: str, tmp_path: Path) -> None:
    state = {**timm.create_model(name).state_dict(), "projector.0.weight": torch.zeros(3)}
    load_weights(build_backbone(name, 32), settings(name, saved(tmp_path, state)))


def test_weights_with_a_nan_are_refused_on_loading(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    name = next(name for name in state if name.endswith("conv1.weight"))
    state[name][0, 0, 0, 0] = float("nan")
    path = saved(tmp_path, state)
    message = refused(lambda: load_weights(build_backbone("test_resnet", 32), settings("test_resnet", path)))
    assert message.startswith(f"{path}: expected finite weights, got NaN or infinity in 1 of")
