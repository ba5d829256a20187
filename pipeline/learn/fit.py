"""Learning a classifier of image-level labels.

A frozen body gives the same features for the same view in every epoch. They are pooled once for a few random views of every
image and kept; the head then learns from them in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pipeline.errors import TrainError
from pipeline.learn.augment import plain_view, random_view
from pipeline.learn.backbones import normalization
from pipeline.learn.classifier import Classifier, Design
from pipeline.learn.device import Hardware, choose_hardware
from pipeline.learn.loop import Batch, Epoch, run_epochs
from pipeline.learn.pictures import Pictures, batches
from pipeline.learn.targets import Targets, make_targets, sampling_weights, several_labels
from pipeline.learn.weights import load_weights
from pipeline.manifest import Manifest
from pipeline.settings.train import TrainSettings


@dataclass(slots=True)
class Fit:
    """A trained classifier and how it came about."""

    classifier: Classifier
    history: list[Epoch]
    best: Epoch
    facts: dict[str, Any] = field(default_factory=dict)


def fit(manifest: Manifest, settings: TrainSettings) -> Fit:
    """Train the classifier that the settings describe on split train, choose its epoch on split val.

    Raises:
        TrainError: if there is nothing to learn from or to choose by, or the loss is no longer a number
    """
    torch.manual_seed(settings.seed)
    if len(manifest.classes) == 1 and settings.loss == "single_label":
        raise TrainError(
            "train.loss: expected 'multi_label' with one class, got 'single_label'; its loss is 0 whatever the picture"
        )
    train, val = manifest.select("train"), manifest.select("val")
    targets = make_targets(train.labels(), len(manifest.classes), settings)
    val_targets = _validation_targets(val, len(manifest.classes), settings)
    classifier = make_classifier(settings, len(manifest.classes))
    check_size(classifier, settings.parameter_limit)
    data = _Data(train.files(), targets, val.files(), val_targets)
    hardware = choose_hardware(settings.device, settings.precision, learning=settings.backbone.trained)
    classifier.to(hardware.device)
    learn = _fit_all if settings.backbone.trained else _fit_head
    history, best = learn(classifier, data, settings, hardware)
    facts = {
        "device": str(hardware.device),
        "precision": hardware.precision,
        "parameters": classifier.parameter_count(),
        "train_images": len(targets.kept),
        "train_images_without_label": sum(not row for row in train.labels()),
        "val_images": len(val_targets.kept),
    }
    return Fit(classifier.eval(), history, best, facts)


@dataclass(frozen=True, slots=True)
class _Data:
    train_files: Sequence[Path]
    train: Targets
    val_files: Sequence[Path]
    val: Targets


def _validation_targets(val: Manifest, classes: int, settings: TrainSettings) -> Targets:
    """All labels of every labelled image: the most probable class is right if it is any of them."""
    labels = val.labels()
    kept = np.array([n for n, row in enumerate(labels) if row], dtype=np.int64)
    if not len(kept) and settings.select != "last":
        raise TrainError(f"train.select is {settings.select!r}: expected labelled images in split val, found none; use 'last'")
    return Targets(kept, several_labels([labels[n] for n in kept], classes))


# --- the whole network ---------------------------------------------------------------------------------------------


def _fit_all(classifier: Classifier, data: _Data, settings: TrainSettings, hardware: Hardware) -> "tuple[list[Epoch], Epoch]":
    view = random_view(settings.resize, settings.crop, settings.flip)

    def train_batches(epoch: int) -> Iterator[Batch]:
        pictures = Pictures(data.train_files, view, settings.seed, epoch)
        order = draw_order(data.train.values, settings, epoch)
        for images, drawn in batches(pictures, data.train.kept[order].tolist(), settings.batch_size, settings.workers):
            yield images, _rows(data.train, drawn)

    def val_batches() -> Iterator[Batch]:
        pictures = Pictures(data.val_files, plain_view(settings.resize), settings.seed)
        for images, drawn in batches(pictures, data.val.kept.tolist(), settings.batch_size, settings.workers):
            yield images, _rows(data.val, drawn)

    return run_epochs(classifier, train_batches, val_batches, len(data.train.kept), settings, hardware)


def _rows(targets: Targets, positions: Tensor) -> Tensor:
    """Targets of images by their position in the manifest; `kept` is sorted."""
    return targets.values[np.searchsorted(targets.kept, positions.numpy())]


# --- the head alone ------------------------------------------------------------------------------------------------


def _fit_head(classifier: Classifier, data: _Data, settings: TrainSettings, hardware: Hardware) -> "tuple[list[Epoch], Epoch]":
    view = random_view(settings.resize, settings.crop, settings.flip)
    files = [data.train_files[n] for n in data.train.kept]
    # filled view by view: stacking a list would need twice the memory
    bank = torch.empty(settings.views, len(files), classifier.head.in_features, dtype=torch.float16)  # (V, N, C)
    for v in range(settings.views):
        bank[v] = _pool_all(classifier, Pictures(files, view, settings.seed, v), settings, hardware, f"view {v + 1}")
    val_files = [data.val_files[n] for n in data.val.kept]
    val_bank = _pool_all(classifier, Pictures(val_files, plain_view(settings.resize), settings.seed), settings, hardware, "val")

    def train_batches(epoch: int) -> Iterator[Batch]:
        order = torch.from_numpy(draw_order(data.train.values, settings, epoch))
        which = torch.from_numpy(np.random.default_rng((settings.seed, epoch, 1)).integers(settings.views, size=len(order)))
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            yield bank[which[start : start + settings.batch_size], rows].float(), data.train.values[rows]

    def val_batches() -> Iterator[Batch]:
        yield from zip(val_bank.float().split(1024), data.val.values.split(1024), strict=True)

    head_hardware = Hardware(hardware.device, "fp32")  # the precision is the body's; logits are float32 everywhere
    return run_epochs(classifier.head, train_batches, val_batches, len(data.train.kept), settings, head_hardware)


@torch.inference_mode()
def _pool_all(classifier: Classifier, pictures: Pictures, settings: TrainSettings, hardware: Hardware, title: str) -> Tensor:
    """Pooled features of every picture. Shape: (N, C), float16: they are rounded far below what a head can tell apart."""
    classifier.eval()
    pooled = torch.empty(len(pictures), classifier.head.in_features, dtype=torch.float16)
    with tqdm(total=len(pictures), desc=f"features, {title}", unit="image") as bar:
        for images, positions in batches(pictures, range(len(pictures)), settings.batch_size, settings.workers):
            with hardware.autocast():
                features = classifier.features(images.to(hardware.device, non_blocking=True))
            pooled[positions] = classifier.pool(features).to("cpu", torch.float16)
            bar.update(len(images))
    return pooled


def make_classifier(settings: TrainSettings, classes: int) -> Classifier:
    """A new classifier with the initial weights that the settings name."""
    tag = settings.backbone.weights_from if settings.backbone.weights == "hub" else None  # tags differ in mean and std
    design = Design(
        backbone=settings.backbone.name,
        output_stride=settings.backbone.output_stride,
        pooling=settings.pooling,
        tap_threshold=settings.tap_threshold,
        classes=classes,
        loss=settings.loss,
        normalization=normalization(f"{settings.backbone.name}.{tag}" if tag else settings.backbone.name),
    )
    classifier = Classifier(design)
    load_weights(classifier.body, settings.backbone)
    return classifier.to(memory_format=torch.channels_last)


def check_size(classifier: Classifier, limit: int) -> None:
    """Print how large the classifier is, and refuse one that the challenge would not take.

    Raises:
        TrainError: if it has `limit` parameters or more; 0 is no limit
    """
    count = classifier.parameter_count()
    print(f"{classifier.design.backbone}: {count:,} parameters" + (f", of fewer than {limit:,} allowed" if limit else ""))
    if limit and count >= limit:
        raise TrainError(
            f"train.parameter_limit: expected fewer than {limit:,} parameters, got {count:,} of {classifier.design.backbone!r}; "
            "the challenge allows inference models under 150 million in all, 0 switches this check off"
        )


def draw_order(targets: Tensor, settings: TrainSettings, epoch: int) -> NDArray[np.int64]:
    """Which images an epoch sees, in which order; a function of seed and epoch. Shape: (N,)

    `uniform` sees each once. `class_balanced` draws N times with replacement.
    """
    generator = np.random.default_rng((settings.seed, epoch))
    if settings.sampling == "uniform":
        return generator.permutation(len(targets))
    return generator.choice(len(targets), size=len(targets), p=sampling_weights(targets))


def history_rows(history: Sequence[Epoch]) -> list[dict[str, Any]]:
    """The history as rows of a table."""
    return [asdict(epoch) for epoch in history]
