"""The loop: steps redone by hand, the rate at every point, what is kept, and when it stops."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from support.helpers import CPU, make_tiny, random_images, train_settings
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.core.settings import build
from pipeline.train.loop import Epoch, is_better, run_epochs, validate
from pipeline.train.optimizer import make_optimizer, rate_factor
from pipeline.train.settings import ScheduleSettings, TrainSettings
from pipeline.train.step import Batch, set_mode

C, K = 6, 3  # inputs and classes of a head


def draw(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, C, generator=generator), torch.randint(0, K, (count,), generator=generator)


def split(batch: Batch, size: int) -> Callable[[int], Iterable[Batch]]:
    return lambda epoch: zip(batch[0].split(size), batch[1].split(size), strict=True)


def one_hot(batch: Batch) -> Batch:
    return batch[0], nn.functional.one_hot(batch[1], K).float()


def new_head() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(C, K)


def plain(**changes: Any) -> TrainSettings:
    """Gradient descent and nothing else, so that a step can be redone by hand; `optimizer` changes its keys."""
    optimizer = {"name": "sgd", "learning_rate": 0.05, "head_multiplier": 10.0, "momentum": 0.0, "weight_decay": 0.0}
    changes["optimizer"] = {**optimizer, "gradient_clip": 0.0, **changes.get("optimizer", {})}
    return train_settings(
        **{"epochs": 1, "checkpoint": "last", "schedule": {"name": "constant", "warmup": 0.0}, **changes}
    )


def run(settings: TrainSettings, data: Batch, module: nn.Module | None = None) -> tuple[nn.Module, tuple[Epoch, ...]]:
    module = module or new_head()
    training = run_epochs(module, split(data, settings.batch_size), list, len(data[0]), settings, CPU)
    return module, training.history


# --- steps -----------------------------------------------------------------------------------------------------------


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
    for inputs, labels in split(data, 4)(1):
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


def test_accumulated_batches_follow_the_same_schedule() -> None:
    data, cosine = draw(21), {"name": "cosine", "warmup": 0.3}
    _, small = run(plain(batch_size=4, accumulation_steps=3, epochs=4, schedule=cosine), data)
    _, large = run(plain(batch_size=12, accumulation_steps=1, epochs=4, schedule=cosine), data)
    assert [epoch.learning_rate for epoch in small] == [epoch.learning_rate for epoch in large]


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


def test_the_training_loss_is_the_mean_over_images() -> None:
    data, start = draw(10), new_head()  # batches of 4, 4 and 2
    _, history = run(plain(batch_size=4, optimizer={"learning_rate": 1e-12}), data)
    expected = nn.functional.cross_entropy(start(data[0]), data[1]).item()
    assert history[0].train_loss == pytest.approx(expected, rel=1e-6)
    by_batch = [nn.functional.cross_entropy(start(x), y).item() for x, y in split(data, 4)(1)]
    assert history[0].train_loss != pytest.approx(sum(by_batch) / 3, rel=1e-3)


# --- optimizer and rate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_head_learns_faster_than_the_backbone(name: str, kind: type) -> None:
    classifier = make_tiny()
    optimizer = make_optimizer(
        classifier, plain(optimizer={"name": name, "head_multiplier": 7.0, "weight_decay": 0.25})
    )
    assert isinstance(optimizer, kind)
    backbone, head = optimizer.param_groups
    assert (backbone["lr"], head["lr"]) == (0.05, pytest.approx(0.35))
    assert {id(p) for p in head["params"]} == {id(p) for p in classifier.head.parameters()}
    assert {id(p) for p in backbone["params"]} == {id(p) for p in classifier.backbone.parameters()}
    assert backbone["weight_decay"] == head["weight_decay"] == 0.25


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_momentum_is_nesterovs(momentum: float, nesterov: bool) -> None:
    group = make_optimizer(new_head(), plain(optimizer={"momentum": momentum})).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (momentum, nesterov)


def schedule(name: str, warmup: float = 0.0, steps: tuple[float, ...] = ()) -> ScheduleSettings:
    return ScheduleSettings(name, warmup, steps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "progress", "expected"),
    [
        (schedule("constant"), 0.0, 1.0),
        (schedule("constant"), 1.0, 1.0),
        (schedule("constant", warmup=0.2), 0.0, 0.001),  # never 0: the first step does something
        (schedule("constant", warmup=0.2), 0.05, 0.25),
        (schedule("constant", warmup=0.2), 0.2, 1.0),
        (schedule("cosine"), 0.0, 1.0),
        (schedule("cosine"), 0.5, 0.5),
        (schedule("cosine"), 0.25, 0.5 + math.sqrt(0.125)),
        (schedule("cosine"), 1.0, 0.0),
        (schedule("cosine", warmup=0.2), 0.1, 0.5),
        (schedule("cosine", warmup=0.2), 0.2, 1.0),
        (schedule("cosine", warmup=0.2), 0.6, 0.5),  # half of what the warm-up leaves
        (schedule("cosine", warmup=0.2), 1.0, 0.0),
        (schedule("cosine"), 1.0000001, 0.0),
        (schedule("step", steps=(0.5, 0.75)), 0.49, 1.0),
        (schedule("step", steps=(0.5, 0.75)), 0.5, 0.1),
        (schedule("step", steps=(0.5, 0.75)), 0.75, 0.01),
        (schedule("step", warmup=0.1, steps=(0.5,)), 0.05, 0.5),
        (schedule("constant", steps=(0.5,)), 0.9, 1.0),
    ],
)
def test_rate_factor(given: ScheduleSettings, progress: float, expected: float) -> None:
    assert rate_factor(given, progress) == pytest.approx(expected, abs=1e-12)


def test_the_rate_follows_the_schedule_through_all_epochs() -> None:
    changes = {"batch_size": 4, "epochs": 4, "schedule": {"name": "step", "steps": [0.5, 0.75]}}
    _, history = run(plain(**changes), draw(8))
    # noted after the last step of an epoch: what the next epoch begins with
    assert [epoch.learning_rate for epoch in history] == pytest.approx([0.5, 0.05, 0.005, 0.005])
    _, history = run(plain(**{**changes, "schedule": {"name": "cosine", "warmup": 0.0}}), draw(8))
    assert history[1].learning_rate == pytest.approx(0.25)
    assert history[-1].learning_rate == pytest.approx(0, abs=1e-12)


# --- which epoch is kept ---------------------------------------------------------------------------------------------


def epoch(loss: float, accuracy: float) -> Epoch:
    return Epoch(1, 0.0, loss, accuracy, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("checkpoint", "new", "best", "expected"),
    [
        ("val_accuracy", epoch(0.9, 0.8), epoch(0.1, 0.7), True),
        ("val_accuracy", epoch(0.1, 0.7), epoch(0.9, 0.8), False),
        ("val_accuracy", epoch(0.1, 0.8), epoch(0.9, 0.8), True),  # equal accuracy: the lower loss
        ("val_accuracy", epoch(0.9, 0.8), epoch(0.9, 0.8), False),  # equal in both: the earlier epoch stays
        ("val_accuracy", epoch(0.5, 0.0), epoch(0.6, 0.0), True),
        ("val_loss", epoch(0.1, 0.0), epoch(0.2, 1.0), True),
        ("val_loss", epoch(0.2, 1.0), epoch(0.2, 0.0), False),
        ("held_out_loss", epoch(0.1, 0.0), epoch(0.2, 1.0), True),
        ("held_out_loss", epoch(0.2, 1.0), epoch(0.2, 0.0), False),
        ("last", epoch(9.0, 0.0), epoch(0.1, 1.0), True),
    ],
)
def test_is_better(checkpoint: str, new: Epoch, best: Epoch, expected: bool) -> None:
    assert is_better(new, best, checkpoint) is expected


@pytest.mark.parametrize("checkpoint", ["val_loss", "val_accuracy", "last"])
def test_the_module_is_left_with_the_weights_of_the_best_epoch(checkpoint: str) -> None:
    """Validation sees the labels turned around, so that learning makes it worse: the first epoch is best, and not the
    last."""
    data = draw(16)
    wrong = one_hot((data[0], (data[1] + 1) % K))
    seen: list[Tensor] = []
    head = new_head()

    def val_batches() -> Iterable[Batch]:
        seen.append(head.weight.detach().clone())
        return [wrong]

    settings = plain(batch_size=4, epochs=5, checkpoint=checkpoint, optimizer={"learning_rate": 0.2})
    training = run_epochs(head, split(data, 4), val_batches, 16, settings, CPU)
    history, best = training.history, training.best
    assert len(history) == len(seen) == 5
    losses = [row.val_loss or 0.0 for row in history]
    assert losses[0] < min(losses[1:])
    ranks = [(-(row.val_accuracy or 0.0), row.val_loss or 0.0) for row in history]
    kept = {"last": 4, "val_loss": 0, "val_accuracy": ranks.index(min(ranks))}[checkpoint]
    assert kept < 4 or checkpoint == "last"
    assert best == history[kept]
    assert torch.equal(head.weight, seen[kept])
    assert not torch.equal(seen[0], seen[-1])


def test_validate_by_hand() -> None:
    identity = nn.Identity()
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    rows = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    batches = [(logits[:2], rows[:2]), (logits[2:], rows[2:])]  # uneven: the mean is over images, not batches
    loss, accuracy = validate(identity, batches, "single_label", CPU)
    log = logits.log_softmax(dim=1)
    expected = -(log[0, 0] + (log[1, 0] + log[1, 2]) / 2 + (log[2, 0] + log[2, 2]) / 2) / 3
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert accuracy == pytest.approx(2 / 3)
    assert validate(identity, [], "single_label", CPU) == (None, None)


# --- modes and failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["frozen", "trained"])
def test_frozen_batch_norms_keep_their_statistics(batch_norm: str) -> None:
    classifier = make_tiny()
    images, labels = random_images(8, 3, 48, 64), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    settings = plain(batch_size=4, backbone={"trained": True, "batch_norm": batch_norm, "weights": "none"})
    run_epochs(classifier, split((images, labels), 4), list, 8, settings, CPU)
    running = [name for name in before if "running_" in name]
    assert len(running) > 10
    same = [torch.equal(classifier.state_dict()[name], before[name]) for name in running]
    assert all(same) if batch_norm == "frozen" else not any(same)
    learnt = [name for name, _ in classifier.named_parameters()]
    assert not any(torch.equal(classifier.state_dict()[name], before[name]) for name in learnt)  # everything else moves


def test_validation_changes_no_statistics_and_training_resumes_after_it() -> None:
    classifier = make_tiny()
    set_mode(classifier, plain(backbone={"trained": True, "batch_norm": "trained", "weights": "none"}))
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    images, rows = random_images(4, 3, 48, 64), torch.eye(3)[[0, 1, 2, 0]]
    validate(classifier, [(images, rows)], "single_label", CPU)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_a_rate_that_is_too_high_stops_with_the_cause() -> None:
    data = draw(16)
    settings = plain(
        batch_size=4, epochs=20, optimizer={"learning_rate": 1e3, "weight_decay": 1.0}
    )  # times -9999 at every step
    with pytest.raises(
        TrainError, match=r"train_loss: expected a finite number, got .*; likely the learning rate is too high"
    ):
        run(settings, data)


def test_a_last_step_that_diverges_is_seen_by_validation() -> None:
    """The loss of the only batch is finite; the weights after it are not."""
    data = draw(4)
    settings = plain(batch_size=4, optimizer={"learning_rate": 3.3e37}, checkpoint="val_accuracy")
    with pytest.raises(TrainError, match="val_loss: expected a finite number"):
        run_epochs(new_head(), split(data, 4), lambda: [one_hot(data)], 4, settings, CPU)


def test_settings_of_the_schedule_are_those_of_the_file() -> None:
    built = build(ScheduleSettings, {"name": "step", "warmup": 0, "steps": [0.5, 0.75]}, "p", "k")  # type: ignore[arg-type]
    assert built == ScheduleSettings("step", 0.0, (0.5, 0.75))
