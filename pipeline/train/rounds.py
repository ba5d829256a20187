"""One training, or several rounds: each sees the train images without the regions that were found before."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.core.distributed import from_first, gather_dealt, is_first
from pipeline.core.scratch import Scratch
from pipeline.models.classifier import Classifier
from pipeline.models.methods.base import TrainingMethod
from pipeline.train.augment import mean_color, plain_view
from pipeline.train.build import pools_once, untold_classifier
from pipeline.train.checkpoints import checkpoints_of
from pipeline.train.data import Erased, Pass, ViewDataset, ViewReader
from pipeline.train.head import fit_head, pool_views
from pipeline.train.network import fit_network
from pipeline.train.observers import Observer
from pipeline.train.row_tensors import RowTensors
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData
from pipeline.train.state import Epoch
from pipeline.train.targets import rows_of
from pipeline.train.trainer import Training

Fitted = tuple[Training, Training | None]  # and that of the head alone, where it was trained first


def fit_rounds(
    classifier: Classifier,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
    scratch: Scratch | None = None,
) -> Fitted:
    """Train a classifier in as many rounds as its method wants.

    With several rounds, each trains a classifier of the baseline from the same start, and the method takes their
    weights over. The history has the epochs of all rounds, numbered on; the best epoch is that of the first round,
    whose network classifies. Only the first round is logged.
    """
    method = classifier.method
    if method.rounds == 1:
        return fit_one(classifier, data, settings, hardware, loggers, scratch)
    plain = replace(settings, method="baseline", method_options={})
    trained: list[Classifier] = []
    fitted: list[Fitted] = []
    for number in range(method.rounds):
        print(f"round {number + 1} of {method.rounds}")
        part = _of_round(scratch, number)
        one = untold_classifier(plain, data.train, data.classes, hardware.device)
        fitted.append(fit_one(one, data, plain, hardware, loggers if number == 0 else (), part))
        trained.append(one)
        if number + 1 < method.rounds:
            cells = find_regions(one, method, data, settings, hardware, part)
            before = data.erased.cells if data.erased is not None else np.zeros_like(cells)
            data = replace(data, erased=Erased(before | cells, mean_color(classifier.design.normalization)))
    method.join_rounds(classifier, trained)
    (first, start), *_ = fitted
    return Training(_numbered_on([training for training, _ in fitted]), first.best), start


def fit_one(
    classifier: Classifier,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
    scratch: Scratch | None = None,
) -> Fitted:
    """Train a classifier: the head on pooled features where that is enough, else the whole network."""
    if not pools_once(settings):
        return fit_network(classifier, data, settings, hardware, loggers, scratch)
    (features,) = pool_views(classifier, [classifier.pool], data, settings, hardware, scratch)
    checkpoints = checkpoints_of(scratch, "head-0")
    return fit_head(classifier.head, features, data, settings, hardware, loggers, checkpoints), None


@torch.inference_mode()
def find_regions(
    classifier: Classifier,
    method: TrainingMethod,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
    scratch: Scratch | None = None,
) -> NDArray[np.bool_]:
    """What a trained classifier finds in each whole train image, of which regions may be erased already.

    Returns:
        (N, h, w), by position in the manifest; nothing in images that do not train
    """
    dataset = ViewDataset(data.train_files, plain_view(settings.resize), settings.seed, data.erased)
    kept = data.train.kept
    reader = ViewReader([dataset], [Pass(0, 0, len(kept), lambda: kept)], settings, hardware)
    found = RowTensors(len(kept), scratch if is_first() else None, "regions")
    start = from_first(found.filled)
    classifier.eval()

    def find_batches() -> Iterator[Sequence[Tensor]]:
        for images, positions in reader.read(0, start):
            targets = rows_of(data.train, positions).to(hardware.device)
            with hardware.autocast():
                features = classifier.backbone_features(images.to(hardware.device, non_blocking=True))
            yield [method.find_regions(classifier, features, targets).cpu()]

    for rows in gather_dealt(find_batches(), reader.batches(0, start)):
        found.add(rows)
    found.keep()
    (cells,) = from_first(found.tensors)
    regions = np.zeros((len(data.train_files), *cells.shape[1:]), bool)
    regions[kept] = cells.numpy()
    return regions


def _of_round(scratch: Scratch | None, number: int) -> Scratch | None:
    """A folder of its own for each further round: its parts have the names of the first round's."""
    if scratch is None or number == 0:
        return scratch
    return replace(scratch, folder=scratch.folder / f"round-{number + 1}")


def _numbered_on(trainings: Sequence[Training]) -> tuple[Epoch, ...]:
    rows = [row for training in trainings for row in training.history]
    return tuple(replace(row, epoch=number) for number, row in enumerate(rows, start=1))
