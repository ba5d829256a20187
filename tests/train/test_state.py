"""The state of a training: written, read into a new one, and gone on with as if nothing had happened."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from support.helpers import make_tiny, random_images
from support.loop import draw, make_trainer, new_head, one_hot, plain
from torch import Tensor, nn

from pipeline.core.errors import StoreError
from pipeline.train.trainer import Trainer, Training

SGD = {"name": "sgd", "momentum": 0.9}
ADAMW = {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}


def without_times(training: Training) -> list[Any]:
    rows = [*training.history, training.best]
    return [(r.epoch, r.train_loss, r.val_loss, r.val_accuracy, r.learning_rate) for r in rows]


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def trainer(optimizer: dict[str, Any], **changes: Any) -> Trainer:
    data = draw(22)
    every = plain(
        batch_size=4,
        accumulation_steps=2,
        epochs=3,
        checkpoint="val_loss",
        optimizer=optimizer,
        schedule={"name": "cosine", "warmup": 0.2},
        **changes,
    )
    return make_trainer(every, data, new_head(), lambda: [one_hot(draw(9, seed=4))])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(0, 8), max_size=3), optimizer=st.sampled_from([SGD, ADAMW]))
def test_a_training_goes_on_as_if_it_had_never_stopped(
    stops: list[int], optimizer: dict[str, Any], tmp_path: Path
) -> None:
    """Three steps an epoch, nine in all, stopped anywhere, within epochs too: equal weights and history."""
    whole = trainer(optimizer)
    expected = whole.run()
    part, path = trainer(optimizer), tmp_path / "state.safetensors"
    for stop in sorted(stops):
        while part.state.step < stop:
            part.advance()
        path.write_bytes(part.state.to_bytes())
        part = trainer(optimizer)
        part.state.read(path)
    assert without_times(part.run()) == without_times(expected)
    assert same(part.task.module, whole.task.module)


def test_dropout_goes_on_with_its_random_numbers(tmp_path: Path) -> None:
    def new() -> Trainer:
        head = nn.Sequential(nn.Dropout(0.5), new_head())
        torch.manual_seed(7)
        return make_trainer(plain(batch_size=4, epochs=2), draw(12), head)

    whole, path = new(), tmp_path / "state.safetensors"
    whole.run()
    part = new()
    for _ in range(4):
        part.advance()
    path.write_bytes(part.state.to_bytes())
    torch.manual_seed(99)
    again = new()
    torch.rand(5)  # something else has drawn numbers in between
    again.state.read(path)
    again.run()
    assert same(again.task.module, whole.task.module)
    other = new()
    torch.manual_seed(8)
    other.run()
    assert not same(other.task.module, whole.task.module)  # the numbers matter


def test_a_whole_network_goes_on_with_its_statistics(tmp_path: Path) -> None:
    def new() -> Trainer:
        backbone = {"trained": True, "batch_norm": "trained", "weights": "none"}
        images, labels = random_images(6, 3, 48, 48), torch.tensor([0, 1, 2, 0, 1, 2])
        return make_trainer(plain(batch_size=2, epochs=2, backbone=backbone), (images, labels), make_tiny())

    whole, path = new(), tmp_path / "state.safetensors"
    whole.run()
    part = new()
    for _ in range(2):
        part.advance()
    path.write_bytes(part.state.to_bytes())
    again = new()
    again.state.read(path)
    again.run()
    assert same(again.task.module, whole.task.module)


def test_the_file_holds_tensors_and_json_alone(tmp_path: Path) -> None:
    path, part = tmp_path / "state.safetensors", trainer(ADAMW)
    for _ in range(4):
        part.advance()
    path.write_bytes(part.state.to_bytes())
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        assert '"epoch": 2' in file.metadata()["state"]
    assert {"module.weight", "best.weight", "optimizer.0.exp_avg", "random.cpu", "loss_sum"} <= names


def moved(path: Path) -> Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor("module.weight")
    return tensor


def test_a_state_is_no_view_of_the_module(tmp_path: Path) -> None:
    path, part = tmp_path / "state.safetensors", trainer(SGD)
    path.write_bytes(part.state.to_bytes())
    before = moved(path)
    part.advance()
    assert torch.equal(before, moved(path))
    assert not torch.equal(before, part.task.module.state_dict()["weight"])


@pytest.mark.parametrize("damage", ["cut", "other module", "other file", "missing"])
def test_a_wrong_file_is_refused_with_the_likely_cause(damage: str, tmp_path: Path) -> None:
    path, part = tmp_path / "state.safetensors", trainer(SGD)
    if damage == "other module":
        path.write_bytes(make_trainer(plain(), draw(4), nn.Linear(6, 5)).state.to_bytes())
    elif damage == "other file":
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(2)}, path)
    elif damage == "cut":
        path.write_bytes(part.state.to_bytes())
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match=r"state.safetensors: expected the state of this training, got .*remove it"):
        part.state.read(path)


def test_a_trainer_that_has_advanced_goes_back_to_the_place_of_the_state(tmp_path: Path) -> None:
    """Its batches are drawn again from there: none is left out, none is trained on twice."""
    whole, part, path = trainer(SGD), trainer(SGD), tmp_path / "state.safetensors"
    whole.run()
    part.advance()
    path.write_bytes(part.state.to_bytes())
    part.advance()
    part.advance()  # into the next epoch
    part.state.read(path)
    part.run()
    assert same(part.task.module, whole.task.module)
