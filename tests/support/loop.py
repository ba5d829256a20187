"""What tests of the training loop share: a linear head, drawn inputs, gradient descent that can be redone by hand."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from support.helpers import CPU, train_settings
from torch import nn

from pipeline.train.loop import Epoch, run_epochs
from pipeline.train.settings import TrainSettings
from pipeline.train.step import Batch

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
