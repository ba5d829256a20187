"""Train the segmentation network on targets that the run made itself.

With a frozen backbone and `views.count` above 0, the features of so many views of each image are computed once and
kept; an epoch draws one view of each image. Else every epoch decodes the images again, in new views.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.core.device import Hardware
from pipeline.core.distributed import deal, from_first, gather_dealt, is_first
from pipeline.core.loader import BatchLoader
from pipeline.core.progress import progress
from pipeline.core.scratch import Scratch
from pipeline.core.truth import IGNORE_INDEX
from pipeline.student.network import STRIDE, StudentNetwork, fuse_student
from pipeline.student.settings import StudentSettings
from pipeline.student.targets import IGNORED, label_cells, score_cells
from pipeline.student.views import Item, PairDataset, TargetDataset
from pipeline.train.checkpoints import checkpoints_of
from pipeline.train.last_batch import check_last_batch
from pipeline.train.observers import Observer, ProgressBar
from pipeline.train.row_tensors import RowTensors
from pipeline.train.sharding import alone, shard
from pipeline.train.step import Batch
from pipeline.train.trainer import Task, Trainer, Training, run_by_first

MakeDataset = Callable[[int], PairDataset]  # the views of an epoch
MakeFeatures = Callable[[], Sequence[Tensor]]  # of all views, as `keep_features` has them


@dataclass(frozen=True, slots=True)
class KeptViews:
    """Features and targets of V views of N images, view by view, on the CPU.

    Attributes:
        features: of each stride. Shape: (V * N, C, h, w) each
        targets: (V * N, H / 4, W / 4)
    """

    features: Sequence[Tensor]
    targets: Tensor

    def at(self, rows: Tensor) -> list[Tensor]:
        """The features of some views."""
        return [level[rows] for level in self.features]

    def at_on(self, rows: Tensor, hardware: Hardware) -> list[Tensor]:
        """The same on the device, in the type that its layers take."""
        dtype = torch.float32 if hardware.precision == "fp32" else None  # without autocast, their own type only
        return [level.to(hardware.device, dtype, non_blocking=True) for level in self.at(rows.cpu())]

    def batches(self, images: int, settings: StudentSettings, epoch: int, start: int) -> Iterator[Batch]:
        """The rows of the views of an epoch with their targets, without the first `start` images."""
        order, views = draw_views(images, settings, epoch)
        for rows in (views * images + order)[start:].split(settings.batch_size):
            yield rows, self.targets[rows]


def fit_student(
    network: StudentNetwork,
    dataset: MakeDataset,
    settings: StudentSettings,
    hardware: Hardware,
    loggers: Sequence[Observer] = (),
    features: MakeFeatures | None = None,
    scratch: Scratch | None = None,
    name: str = "student",
) -> Training:
    """Train decoder, head and, where it is not frozen, the backbone; the network has the weights of the last epoch.

    Several ranks share the images of each batch; where features are kept, they share the views, and one trains.

    Args:
        features: makes those of the views, if other trainings have them too; None: this one makes its own
        scratch: where the training keeps its states, and goes on if it was stopped; None: nowhere
        name: of the training there

    Raises:
        TrainError: if the loss is no longer a finite number
    """
    is_label, images = network.design.outputs > 1, len(dataset(0))
    network.backbone.requires_grad_(settings.backbone.trained)
    set_mode(network, settings)
    keeps, sharding = settings.keeps_features, shard(images, settings)
    batches_of = alone(images, settings) if keeps else sharding
    check_last_batch(network, network, batches_of, settings.batch_size, settings.views.size, "student")
    views = cache(partial(keep_views, network, dataset, settings, hardware, features))
    loss = label_loss if is_label else score_loss

    def batches(epoch: int, start: int) -> Iterator[Batch]:
        if keeps:
            yield from views().batches(images, settings, epoch, start)
            return
        order, _ = draw_views(images, settings, epoch)
        parts = [sharding.own(batch) for batch in sharding.batches(start)]
        drawn = [order[part.start : part.stop].tolist() for part in parts if part]
        loaded = iter(load_pairs(dataset(epoch), drawn, settings, hardware))
        for part in parts:
            if part:
                inputs, targets = next(loaded)
                yield inputs, make_cells(targets, is_label, settings)
            else:
                yield torch.empty(0), torch.empty(0)

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        logits = network.decode(views().at_on(inputs, hardware)) if keeps else network(inputs)
        return loss(logits, targets)

    task = Task(
        module=network,
        loss=loss_of,
        train_batches=batches,
        images=images,
        set_mode=lambda: set_mode(network, settings),
        validate=lambda epoch: (None, None),  # no image with truth has a part in it
        sharding=None if keeps else sharding,
    )
    torch.manual_seed(settings.seed)
    observers = [ProgressBar(settings.epochs, images, reads=not keeps), *loggers]
    trainer = Trainer(task, settings, hardware, observers, checkpoints_of(scratch, name))
    if not keeps:
        return trainer.run()
    if not from_first(trainer.finished):
        views()  # before the first step, which finds the network in its mode
    return run_by_first(trainer)


def set_mode(network: StudentNetwork, settings: StudentSettings) -> None:
    """Training mode; a backbone with frozen batch norms keeps the statistics that it was loaded with."""
    network.train()
    if settings.backbone.batch_norm == "frozen":
        network.backbone.eval()


def draw_views(images: int, settings: StudentSettings, epoch: int) -> tuple[Tensor, Tensor]:
    """The order of the images of an epoch, and the view of each; functions of seed and epoch. Shapes: (N,) and (N,)"""
    random = np.random.default_rng((settings.seed, epoch))
    order = random.permutation(images)
    return torch.from_numpy(order), torch.from_numpy(random.integers(max(1, settings.views.count), size=images))


def make_cells(targets: Tensor, is_label: bool, settings: StudentSettings) -> Tensor:
    """Targets of pixels to targets of cells. Shapes: (N, S, S), uint8, to (N, S / 4, S / 4)"""
    return label_cells(targets) if is_label else score_cells(targets, settings.targets)


@torch.inference_mode()
def keep_views(
    network: StudentNetwork,
    dataset: MakeDataset,
    settings: StudentSettings,
    hardware: Hardware,
    features: MakeFeatures | None = None,
) -> KeptViews:
    """Features and targets of all views.

    Args:
        features: makes those of the same views and weights, if there are some already; then only targets are read
    """
    made = features() if features else keep_features(network, dataset, settings, hardware)
    if not is_first():  # which trains for all
        return KeptViews(made, torch.empty(0))
    return KeptViews(made, keep_targets(dataset, network.design.outputs > 1, settings))


@torch.inference_mode()
def keep_features(
    network: StudentNetwork,
    dataset: MakeDataset,
    settings: StudentSettings,
    hardware: Hardware,
    scratch: Scratch | None = None,
) -> list[Tensor]:
    """Run the backbone once over all views; what an interval of the scratch folder has filled is kept there.

    Returns:
        of each stride, view by view; on rank 0 alone. Shape: (V * N, C, h, w) each, bfloat16
    """
    images, size = len(dataset(0)), settings.batch_size
    rows = RowTensors(settings.views.count * images, scratch if is_first() else None, "features")
    done = from_first(rows.filled)
    fused = fuse_student(network.eval())

    def embed(view: int, batches: Sequence[range]) -> Iterator[list[Tensor]]:
        own = [list(batches[number]) for number in deal(len(batches))]
        for inputs, _ in load_pairs(dataset(view), own, settings, hardware):
            with hardware.autocast():
                levels = fused.features(inputs.to(hardware.device, non_blocking=True))
            yield [level.to("cpu", torch.bfloat16) for level in levels]

    with progress(total=rows.total, done=rows.filled, title="student, features", unit="view") as bar:
        for view in range(settings.views.count):
            firsts = range(max(0, done - view * images), images, size)
            batches = [range(first, min(first + size, images)) for first in firsts]
            for levels in gather_dealt(embed(view, batches), [len(batch) for batch in batches]):
                rows.add(levels)
                bar.update(len(levels[0]))
    return rows.tensors


def keep_targets(dataset: MakeDataset, is_label: bool, settings: StudentSettings) -> Tensor:
    """The targets of all views, view by view. Shape: (V * N, S / 4, S / 4)"""
    found = []
    for view in range(settings.views.count):
        loader = BatchLoader(
            TargetDataset(dataset(view)),
            workers=settings.workers,
            key="student.workers",
            batch_bytes=settings.batch_size * settings.views.size**2,
            batch_size=settings.batch_size,
            collate_fn=_stack,
            generator=torch.Generator(),  # as in `load_pairs`
        )
        found += [make_cells(targets, is_label, settings) for targets in loader]
    return torch.cat(found)


def view_bytes(network: StudentNetwork, settings: StudentSettings) -> int:
    """Memory of one view that is kept: its features in bfloat16, and the target of each cell."""
    side = settings.views.size
    with torch.inference_mode():
        levels = network.eval().features(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    cell = 4 if network.design.outputs == 1 else 1  # float32 shares, or class ids of one byte
    return sum(2 * level.numel() for level in levels) + cell * (side // STRIDE) ** 2


def load_pairs(
    dataset: PairDataset, batches: Sequence[Sequence[int]], settings: StudentSettings, hardware: Hardware
) -> BatchLoader:
    """Batches of (images (N, 3, S, S), targets (N, S, S)), uint8, of the images at these positions."""
    return BatchLoader(
        dataset,
        workers=settings.workers,
        key="student.workers",
        batch_bytes=4 * settings.batch_size * settings.views.size**2,  # three levels and a target a pixel
        batch_sampler=batches,
        collate_fn=_collate,
        pin_memory=hardware.pins_memory,
        generator=torch.Generator(),  # else it draws from torch's own, on which dropout depends
    )


def _collate(items: Sequence[Item]) -> Batch:
    images = torch.from_numpy(np.stack([image for image, _, _ in items])).permute(0, 3, 1, 2)
    return images, torch.from_numpy(np.stack([target for _, target, _ in items]))


def _stack(targets: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(targets))


def score_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Track 3: binary cross entropy of soft targets, the mean over the cells that count; 0 if none does.

    Args:
        logits: (N, 1, h, w)
        targets: in [0, 1], or `IGNORED`. Shape: (N, h, w)
    """
    counts = (targets != IGNORED).float()
    losses = functional.binary_cross_entropy_with_logits(logits[:, 0], targets.clamp(min=0), reduction="none")
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Track 1: cross entropy, the mean over the cells that count; 0 if none does.

    Args:
        logits: (N, K + 1, h, w)
        targets: class ids, or 255. Shape: (N, h, w)
    """
    labels = targets.long()
    total = functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (labels != IGNORE_INDEX).sum().clamp(min=1)
