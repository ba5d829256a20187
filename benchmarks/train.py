"""Training: the stage's loop, from files on, against the bare step on a batch that is there already."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch

from benchmarks.samples import REPEATS, write_photographs
from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.loader import PREFETCH
from pipeline.core.manifest import Files
from pipeline.core.settings import build, read_params
from pipeline.models.classifier import Classifier
from pipeline.train.build import new_classifier
from pipeline.train.network import fit_network
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData
from pipeline.train.state import Epoch, TrainState
from pipeline.train.targets import Targets

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 200


def train_step() -> list[float]:
    """Images/s of the stage, reading, augmentation and bookkeeping included / images/s of the bare step.

    The bare step is forward, loss, backward and update, on one batch that lies on the device; on CUDA it is compiled,
    as ours. After each epoch of ours it runs as often as steps of ours were timed: those after the batches that
    processes had read ahead while nobody trained. On a CPU: one core, nobody reads ahead, and time of the processor; a
    wait for the disk is not seen.
    """
    cuda = torch.cuda.is_available()
    if not cuda:
        torch.set_num_threads(1)
    settings = _settings(cuda)
    hardware = choose_hardware(settings.device, settings.precision, learning=True)
    ahead = settings.workers * PREFETCH + 1 if settings.workers else 0
    steps = ahead + (20 if cuda else 2)  # of an epoch
    with TemporaryDirectory(prefix="bench-") as folder:
        files = write_photographs(Path(folder), 64)
        data = _data([file.name for file in files], Path(folder), settings.batch_size * steps)
        classifier = new_classifier(settings, data.train, CLASSES, hardware.device)
        watch = _Against(_bare_step(settings, data.train, hardware, compiled=cuda), cuda, ahead)
        fit_network(classifier, data, settings, hardware, [watch])
    return watch.ratios[1:]  # the first epoch starts processes and chooses kernels


class _Against:
    """An observer that runs the bare step after each epoch, as many times as steps of the epoch were timed.

    The first `ahead` steps of an epoch are not: their batches were read while the bare step ran.
    """

    def __init__(self, bare: Callable[[], None], cuda: bool, ahead: int) -> None:
        self.bare, self.ahead, self.clock = bare, ahead, time.perf_counter if cuda else time.process_time
        self.ratios: list[float] = []
        self.steps, self.start = 0, self.clock()

    def step(self, state: TrainState, images: int) -> None:
        self.steps += 1
        if self.steps == self.ahead:
            self.start = self._now()

    def epoch(self, row: Epoch) -> None:
        own = (start := self._now()) - self.start
        for _ in range(self.steps - self.ahead):
            self.bare()
        end = self._now()
        self.ratios.append((end - start) / own)
        self.steps, self.start = 0, end

    def _now(self) -> float:
        """The time when a GPU has done all that it has to do."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self.clock()

    def close(self) -> None:
        """Nothing is open."""


def _settings(cuda: bool) -> TrainSettings:
    values = read_params(ROOT / "params.yaml")["tracks"]["track3"]["train"]
    changes = {
        "epochs": REPEATS + 1,
        "loss": "single_label",
        "checkpoint": "last",
        "backbone": {**values["backbone"], "weights": "none", "trained": True},
        "resize": 384 if cuda else 256,
        "crop": 336 if cuda else 224,
        "batch_size": 64 if cuda else 8,
        "workers": min(16, os.cpu_count() or 1) if cuda else 0,
        "compile": cuda,
    }
    if cuda:
        changes["backbone"] |= {"name": "seresnet50"}
    return build(TrainSettings, values | changes, ROOT / "params.yaml", "tracks.track3.train")


def _data(names: list[str], root: Path, images: int) -> TrainingData:
    """The same few files over and over, and no validation."""
    targets = torch.arange(images) % CLASSES
    files = Files(root, pa.array([names[n % len(names)] for n in range(images)]))
    nothing = Targets(np.array([], np.int64), torch.zeros(0, CLASSES, dtype=torch.uint8))
    return TrainingData(files, Targets(np.arange(images), targets), files, nothing, CLASSES, 0)


def _bare_step(settings: TrainSettings, targets: Targets, hardware: Hardware, compiled: bool) -> Callable[[], None]:
    """One step on a model of its own, and nothing else."""
    model: Classifier = new_classifier(settings, targets, CLASSES, hardware.device).train()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eval()
    size = settings.batch_size
    images = torch.randint(0, 256, (size, settings.crop, settings.crop, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    images, labels = images.to(hardware.device), targets.values[:size].to(hardware.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4)
    loss_of = lambda: torch.nn.functional.cross_entropy(model(images), labels)  # noqa: E731
    loss_of = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with hardware.autocast():
            loss = loss_of()
        loss.backward()
        optimizer.step()

    return step
