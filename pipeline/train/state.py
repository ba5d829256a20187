"""The state of a training: everything that a training needs to go on as if it had never stopped, in one file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.errors import StoreError

Weights = dict[str, Tensor]
BEST, MODULE, OPTIMIZER, RANDOM = "best.", "module.", "optimizer.", "random."  # prefixes of the names of tensors
LOSS = "loss_sum"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of history.csv; validation values are None without validation images."""

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None  # share of images whose most probable class is among their labels
    learning_rate: float  # of the head, at the end of the epoch
    seconds: float
    images_per_second: float


@dataclass(slots=True)
class TrainState:
    """Where a training stands, between two steps of the optimizer.

    Attributes:
        module: what is trained
        scaler: of the loss, where the precision is fp16; elsewhere it does nothing
        epoch: the current one, from 1; one more than there are when the training has ended
        step: steps of the optimizer since the start
        images: position of the sampler: images of the current epoch that have been trained on
        loss_sum: of these images, on the device: it is read where somebody asks, not at every step
        seconds: of the current epoch
        waited: how many of these for batches
        history: the finished epochs
        best: the epoch whose weights are kept so far
        best_weights: the state of the module after it, without what is frozen; None: the last epoch's are kept
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    loss_sum: Tensor
    epoch: int = 1
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: Weights | None = None

    def mean_loss(self) -> float:
        """Mean loss of the current epoch so far; it waits for the device."""
        return float(self.loss_sum) / max(1, self.images)

    def to_bytes(self) -> bytes:
        """The state as the content of one safetensors file; what is no tensor is JSON in its header.

        The random state is that of torch on the CPU and on the device of the module; nothing else is drawn from a
        generator with a memory.
        """
        tensors, numbers = _split_optimizer(self.optimizer.state_dict())
        tensors |= {f"{MODULE}{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"{BEST}{name}": value for name, value in (self.best_weights or {}).items()}
        tensors |= {f"{RANDOM}{name}": value for name, value in _random_states(self.loss_sum.device).items()}
        tensors[LOSS] = self.loss_sum
        values = {
            "epoch": self.epoch,
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "waited": self.waited,
            "history": [asdict(row) for row in self.history],
            "best": asdict(self.best) if self.best else None,
            "optimizer": numbers,
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        # a copy: safetensors refuses tensors that share memory, as the best weights may share it with the module
        stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        return safetensors.torch.save(stored, metadata={"state": json.dumps(values)})

    def read(self, path: Path) -> None:
        """Take over a written state; module, optimizer and schedule must be built as they were.

        Raises:
            StoreError: if the file is no such state, or of another module or optimizer
        """
        try:
            self.take(path.read_bytes())
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise StoreError(
                f"{path}: expected the state of this training, got {' '.join(str(error).split())}; likely of other "
                "settings or another version: remove it to start anew"
            ) from error

    def take(self, data: bytes) -> None:
        """Take over what `to_bytes` made."""
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # as the format has it
        self._take(safetensors.torch.load(data), json.loads(header["__metadata__"]["state"]))

    def _take(self, tensors: Weights, values: Mapping[str, Any]) -> None:
        self.module.load_state_dict(_with_prefix(tensors, MODULE))
        self.optimizer.load_state_dict(_join_optimizer(_with_prefix(tensors, OPTIMIZER), values["optimizer"]))
        _lay_out(self.optimizer)
        self.schedule.load_state_dict(dict(values["schedule"]))
        self.scaler.load_state_dict(values["scaler"])
        self.loss_sum = tensors[LOSS].to(self.loss_sum.device)
        self.epoch, self.step, self.images = values["epoch"], values["step"], values["images"]
        self.seconds, self.waited = values["seconds"], values["waited"]
        self.history = [Epoch(**row) for row in values["history"]]
        self.best = Epoch(**values["best"]) if values["best"] else None
        self.best_weights = _on(_with_prefix(tensors, BEST), self.loss_sum.device) or None
        _set_random_states(_with_prefix(tensors, RANDOM), self.loss_sum.device)


def zero_loss(hardware: Hardware) -> Tensor:
    """A sum of losses on the device, in float64 where it has that. Shape: ()"""
    dtype = torch.float32 if hardware.device.type == "mps" else torch.float64
    return torch.zeros((), dtype=dtype, device=hardware.device)


def _with_prefix(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _on(tensors: Weights, device: torch.device) -> Weights:
    return {name: value.to(device) for name, value in tensors.items()}


def _split_optimizer(state: Mapping[str, Any]) -> tuple[Weights, dict[str, Any]]:
    """The state of an optimizer as tensors, by parameter and name, and plain values."""
    tensors: Weights = {}
    plain: dict[str, dict[str, Any]] = {}
    for parameter, entries in state["state"].items():
        plain[str(parameter)] = {}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMIZER}{parameter}.{name}"] = value
            else:
                plain[str(parameter)][name] = value
    return tensors, {"state": plain, "param_groups": state["param_groups"]}


def _join_optimizer(tensors: Weights, plain: Mapping[str, Any]) -> dict[str, Any]:
    state = {int(parameter): dict(entries) for parameter, entries in plain["state"].items()}
    for key, value in tensors.items():
        parameter, _, name = key.partition(".")
        state[int(parameter)][name] = value
    return {"state": state, "param_groups": plain["param_groups"]}


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give each tensor of the optimizer the memory layout of its parameter, as it had: steps are faster."""
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _random_states(device: torch.device) -> Weights:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: Weights, device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
