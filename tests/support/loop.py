"""What tests of the training loop share: a linear head, drawn inputs, gradient descent that can be redone by hand."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from support.helpers import CPU, train_settings
from torch import nn

from pipeline.models.classifier import Classifier
from pipeline.train.observers import Observer
from pipeline.train.settings import TrainSettings
from pipeline.train.state import Epoch
from pipeline.train.step import Batch, set_mode
from pipeline.train.trainer import Task, Trainer, make_criterion, validate

C, K = 6, 3  # inputs and classes of a head


def draw(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, C, generator=generator), torch.randint(0, K, (count,), generator=generator)


def split(batch: Batch, size: int) -> Callable[[int, int], Iterable[Batch]]:
    """The same batches in every epoch, without its first images."""
    inputs, targets = batch
    return lambda epoch, start: zip(inputs[start:].split(size), targets[start:].split(size), strict=True)


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
    return module, make_trainer(settings, data, module).run().history


def make_trainer(
    settings: TrainSettings,
    data: Batch,
    module: nn.Module,
    val_batches: Callable[[], Iterable[Batch]] = list,
    observers: Sequence[Observer] = (),
) -> Trainer:
    """A trainer of a head, or of a whole classifier, on these inputs."""
    criterion = make_criterion(settings)
    if isinstance(module, Classifier):
        classifier = module
        loss = lambda inputs, targets: classifier.loss(inputs, targets, criterion)  # noqa: E731
    else:
        loss = lambda inputs, targets: criterion(module(inputs), targets)  # noqa: E731
    task = Task(
        module=module,
        loss=loss,
        train_batches=split(data, settings.batch_size),
        images=len(data[0]),
        set_mode=lambda: set_mode(module, settings),
        validate=lambda epoch: validate(module, val_batches(), settings, CPU),
    )
    return Trainer(task, settings, CPU, observers)
