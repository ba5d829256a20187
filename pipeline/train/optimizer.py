"""The optimizer, and the factor of its learning rate over time."""

import math

import torch
from torch import nn

from pipeline.train.settings import OptimizerSettings, ScheduleSettings


def make_optimizer(module: nn.Module, options: OptimizerSettings) -> torch.optim.Optimizer:
    """SGD (Nesterov) or AdamW; the head, the last group, has `head_multiplier` times the rate of the backbone.

    What is not in the part that the module calls `backbone` belongs to the head; a frozen backbone is left out.
    """
    backbone, head = _parameters(module)
    groups = [{"params": backbone, "lr": options.learning_rate}] if backbone else []
    groups.append({"params": head, "lr": options.learning_rate * options.head_multiplier})
    if options.name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=options.weight_decay)
    nesterov = options.momentum > 0
    return torch.optim.SGD(groups, momentum=options.momentum, nesterov=nesterov, weight_decay=options.weight_decay)


def _parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those of the backbone, if it is trained, and all others."""
    every = list(module.named_parameters())
    backbone = [value for name, value in every if name.startswith("backbone.")]
    head = [value for name, value in every if not name.startswith("backbone.")]
    return [value for value in backbone if value.requires_grad], head


def rate_factor(schedule: ScheduleSettings, progress: float) -> float:
    """The factor of the learning rate after a share `progress` in [0, 1] of all steps.

    During warm-up: progress / warmup (never 0). Then constant: 1; cosine: half a cosine from 1 to 0; step: a tenth for
    each of `steps` that has passed.
    """
    if progress < schedule.warmup:
        return max(progress / schedule.warmup, 1e-3)
    if schedule.name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - schedule.warmup) / (1 - schedule.warmup))))
    passed = sum(progress >= step for step in schedule.steps) if schedule.name == "step" else 0
    return float(0.1**passed)
