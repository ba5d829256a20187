"""The optimizer, and the factor of its learning rate over time."""

import math

import pytest
import torch
from support.helpers import make_tiny
from support.loop import new_head, plain

from pipeline.core.settings import build
from pipeline.train.optimizer import make_optimizer, rate_factor
from pipeline.train.settings import ScheduleSettings


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_head_learns_faster_than_the_backbone(name: str, kind: type) -> None:
    classifier = make_tiny()
    options = plain(optimizer={"name": name, "head_multiplier": 7.0, "weight_decay": 0.25}).optimizer
    optimizer = make_optimizer(classifier, options)
    assert isinstance(optimizer, kind)
    backbone, head = optimizer.param_groups
    assert (backbone["lr"], head["lr"]) == (0.05, pytest.approx(0.35))
    assert {id(p) for p in head["params"]} == {id(p) for p in classifier.head.parameters()}
    assert {id(p) for p in backbone["params"]} == {id(p) for p in classifier.backbone.parameters()}
    assert backbone["weight_decay"] == head["weight_decay"] == 0.25


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_momentum_is_nesterovs(momentum: float, nesterov: bool) -> None:
    group = make_optimizer(new_head(), plain(optimizer={"momentum": momentum}).optimizer).param_groups[0]
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


def test_settings_of_the_schedule_are_those_of_the_file() -> None:
    built = build(ScheduleSettings, {"name": "step", "warmup": 0, "steps": [0.5, 0.75]}, "p", "k")  # type: ignore[arg-type]
    assert built == ScheduleSettings("step", 0.0, (0.5, 0.75))
