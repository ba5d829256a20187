"""One step of the optimizer, by hand."""

import math
from typing import Any

import pytest
import torch
from support.helpers import TINY, make_tiny, random_images, train_settings
from support.loop import C, K, draw, new_head, plain, run, split
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.core.manifest import Manifest
from pipeline.train.run import fit
from pipeline.train.step import COMPILED_FROM, Batch, compile_loss, compiles


def slow_gradient(weight: Tensor, bias: Tensor, data: Batch) -> tuple[Tensor, Tensor]:
    """Of the mean cross entropy: mean of (softmax - target) x input, one image at a time, in float64."""
    of_weight, of_bias = torch.zeros(K, C, dtype=torch.float64), torch.zeros(K, dtype=torch.float64)
    for x, label in zip(data[0].double(), data[1].tolist(), strict=True):
        scores = [math.exp(sum((weight[k].double() * x).tolist()) + bias[k].item()) for k in range(K)]
        for k in range(K):
            error = scores[k] / sum(scores) - (k == label)
            of_weight[k] += error * x / len(data[0])
            of_bias[k] += error / len(data[0])
    return of_weight, of_bias


def test_one_step_by_hand() -> None:
    data, start = draw(8), new_head()
    trained, _ = run(plain(batch_size=8, optimizer={"weight_decay": 0.1}), data)
    of_weight, of_bias = slow_gradient(start.weight.detach(), start.bias.detach(), data)
    rate = 0.05 * 10  # a head alone: times head_multiplier
    torch.testing.assert_close(
        trained.weight.double(), start.weight - rate * (of_weight + 0.1 * start.weight), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        trained.bias.double(), start.bias - rate * (of_bias + 0.1 * start.bias), rtol=0, atol=1e-6
    )


def test_three_steps_by_hand() -> None:
    """Every step has its own gradient, taken where the one before has led; the momentum is Nesterov's."""
    data, rate, momentum = draw(12), 0.5, 0.9
    trained, _ = run(plain(batch_size=4, optimizer={"momentum": momentum}), data)
    weight, bias = new_head().weight.detach().double(), new_head().bias.detach().double()
    velocity = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for inputs, labels in split(data, 4)(1, 0):
        gradients = slow_gradient(weight, bias, (inputs, labels))
        velocity = [momentum * v + g for v, g in zip(velocity, gradients, strict=True)]
        weight = weight - rate * (gradients[0] + momentum * velocity[0])
        bias = bias - rate * (gradients[1] + momentum * velocity[1])
    torch.testing.assert_close(trained.weight.double(), weight, rtol=0, atol=1e-5)
    torch.testing.assert_close(trained.bias.double(), bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize("images", [24, 22, 32, 30, 26])  # the last batch, or the last group of batches, whole or short
def test_accumulated_batches_step_like_one_large_batch(images: int) -> None:
    data = draw(images)
    small, _ = run(plain(batch_size=4, accumulation_steps=3, epochs=2), data)
    large, _ = run(plain(batch_size=12, accumulation_steps=1, epochs=2), data)
    torch.testing.assert_close(small.weight, large.weight, rtol=0, atol=1e-6)
    apart, _ = run(plain(batch_size=4, accumulation_steps=1, epochs=2), data)
    assert (apart.weight - large.weight).abs().max() > 1e-2  # what forgetting to accumulate would give


def test_gradient_clipping_limits_the_step() -> None:
    start = new_head()

    def moved(clip: float) -> float:
        trained, _ = run(plain(batch_size=8, optimizer={"learning_rate": 0.1, "gradient_clip": clip}), draw(8))
        return math.sqrt(
            sum((a - b).square().sum().item() for a, b in zip(trained.parameters(), start.parameters(), strict=True))
        )

    free = moved(0.0)  # with a rate of 1 this is the norm of the gradient
    assert free > 0.1
    assert moved(free * 2) == pytest.approx(free, rel=1e-5)
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("batch_norm", ["frozen", "trained"])
def test_frozen_batch_norms_keep_their_statistics(batch_norm: str) -> None:
    classifier = make_tiny()
    images, labels = random_images(8, 3, 48, 64), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    settings = plain(batch_size=4, backbone={"trained": True, "batch_norm": batch_norm, "weights": "none"})
    run(settings, (images, labels), classifier)
    running = [name for name in before if "running_" in name]
    assert len(running) > 10
    same = [torch.equal(classifier.state_dict()[name], before[name]) for name in running]
    assert all(same) if batch_norm == "frozen" else not any(same)
    learnt = [name for name, _ in classifier.named_parameters()]
    assert not any(torch.equal(classifier.state_dict()[name], before[name]) for name in learnt)  # everything else moves


# --- compiled --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "device", "images", "expected"),
    [
        ("auto", "cpu", COMPILED_FROM, False),
        ("auto", "cuda", COMPILED_FROM // 8, True),  # eight epochs
        ("auto", "cuda", COMPILED_FROM // 8 - 1, False),
        (True, "cpu", 1, True),
        (False, "cuda", COMPILED_FROM, False),
    ],
)
def test_long_runs_on_cuda_are_compiled(
    value: Any, device: str, images: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, hardware = train_settings(compile=value, epochs=8), Hardware(torch.device(device), "fp32")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/gcc" if name == "gcc" else None)
    assert compiles(settings, hardware, images) is expected
    monkeypatch.setattr("shutil.which", lambda name: None)  # Triton needs a compiler
    assert compiles(settings, hardware, images) is (value is True)


def test_batches_of_another_size_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        torch,
        "compile",
        lambda loss, dynamic: lambda inputs, targets: asked.append(len(inputs)) or loss(inputs, targets),
    )
    loss = compile_loss(lambda inputs, targets: (inputs * targets).sum(), 4)
    assert [loss(torch.ones(size), 2 * torch.ones(size)).item() for size in (4, 3, 4)] == [8.0, 6.0, 8.0]
    assert asked == [4, 4]


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_and_keeps_its_names(colors: Manifest) -> None:
    backbone = {"name": TINY, "weights": "none", "trained": True, "batch_norm": "trained"}
    plain_fit, compiled = (
        fit(colors, train_settings(backbone=backbone, epochs=2, batch_size=4, checkpoint="val_loss", compile=value))
        for value in (False, True)
    )
    ours, theirs = compiled.classifier.state_dict(), plain_fit.classifier.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)
