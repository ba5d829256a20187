"""Learning a classifier of image-level labels.

A frozen backbone gives the same features for the same view in every epoch. They are pooled once for a few random views
of every image and kept; the head then learns from them in seconds.

A backbone that is trained can wait for such a head (`head_epochs`): a head of zeros sends it gradients that say nothing
yet, and the features lose the object within the first epoch. Source: Kumar et al., "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution", ICLR 2022, section 3. The head learns on batch norms as loaded; with
`batch_norm: trained` they move afterwards, and a part of the start is lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.errors import SettingsError, TrainError
from pipeline.core.files import write_json, write_text
from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest
from pipeline.models.backbones import normalization
from pipeline.models.classifier import Classifier, Design, save_classifier
from pipeline.models.placement import FEWEST_CELLS, Offset, measure_offset
from pipeline.models.weights import load_weights
from pipeline.train.augment import plain_view, random_view
from pipeline.train.data import ViewDataset, batches
from pipeline.train.loop import Batch, Epoch, run_epochs
from pipeline.train.settings import TrainSettings
from pipeline.train.targets import Targets, choose_held_out, log_odds, make_targets, sampling_weights, several_labels

OFFSET_IMAGES = 32  # of split train, at most: they give the offset of the cells to some hundredths of a cell


@dataclass(slots=True)
class Fit:
    """A trained classifier and how it came about."""

    classifier: Classifier
    history: list[Epoch]
    best: Epoch
    facts: dict[str, Any] = field(default_factory=dict)


def fit(manifest: Manifest, settings: TrainSettings) -> Fit:
    """Train the classifier that the settings describe on split train, choose its epoch as `settings.checkpoint` says.

    Raises:
        TrainError: if there is nothing to learn from or to choose by, or the loss is no longer a number
    """
    (trained,) = fit_poolings(manifest, [settings])
    return trained


def fit_poolings(manifest: Manifest, every: Sequence[TrainSettings]) -> list[Fit]:
    """Train classifiers that differ in their pooling alone, each as `fit` would, bit for bit.

    A frozen backbone looks at the images once for all of them.

    Raises:
        TrainError: as `fit`
        SettingsError: if more than the pooling differs
    """
    settings = every[0]
    if any(
        replace(other, pooling=settings.pooling, tap_threshold=settings.tap_threshold) != settings for other in every
    ):
        raise SettingsError("train: expected settings that differ in pooling and tap_threshold alone, got others")
    if len(manifest.classes) == 1 and settings.loss == "single_label":
        raise TrainError(
            "train.loss: expected 'multi_label' with one class, got 'single_label'; its loss is 0 whatever the image"
        )
    train, val = _train_and_validation(manifest, settings)
    targets = make_targets(train.labels(), len(manifest.classes), settings)
    val_targets = _validation_targets(val, len(manifest.classes), settings)
    data = _Data(train.files(), targets, val.files(), val_targets)
    hardware = choose_hardware(settings.device, settings.precision, learning=settings.backbone.trained)
    classifiers = [_start(one, targets, len(manifest.classes), hardware) for one in every]
    learn = _fit_backbones if settings.backbone.trained else _fit_heads
    learnt = learn(classifiers, data, settings, hardware)
    _measure_offsets(classifiers, train.files(), settings, hardware)
    facts = {
        "device": str(hardware.device),
        "precision": hardware.precision,
        "parameters": classifiers[0].parameter_count(),
        "train_images": len(targets.kept),
        "train_images_without_label": sum(not row for row in train.labels()),
        "selected_by": {"held_out_loss": "held_out", "last": "none"}.get(settings.checkpoint, "val"),
        "validation_images": len(val_targets.kept),
    }
    return [
        Fit(classifier.eval(), run.history, run.best, {**facts, **run.facts})
        for classifier, run in zip(classifiers, learnt, strict=True)
    ]


def _measure_offsets(
    classifiers: Sequence[Classifier], files: Sequence[Path], settings: TrainSettings, hardware: Hardware
) -> None:
    """Write into each design where its cells look; a frozen backbone is measured once for all."""
    chosen = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, OFFSET_IMAGES).round().astype(int))]
    measured = classifiers if settings.backbone.trained else classifiers[:1]
    offsets = [_offset(classifier.eval(), chosen, settings.resize, hardware) for classifier in measured]
    for n, classifier in enumerate(classifiers):
        classifier.design = replace(classifier.design, offset=offsets[min(n, len(offsets) - 1)])


def _offset(classifier: Classifier, files: Sequence[Path], size: int, hardware: Hardware) -> Offset:
    stride = classifier.design.output_stride
    side = max(FEWEST_CELLS, round(size / stride)) * stride  # whole cells: else the mirror image is divided otherwise
    views = (resize_image(read_rgb(file), (side, side)) for file in files)
    images = (torch.from_numpy(view).permute(2, 0, 1)[None].to(hardware.device) for view in views)
    with hardware.autocast():
        return measure_offset(classifier.features, images)


def _start(settings: TrainSettings, targets: Targets, classes: int, hardware: Hardware) -> Classifier:
    torch.manual_seed(settings.seed)
    classifier = make_classifier(settings, classes)
    if settings.loss == "multi_label":
        with torch.no_grad():
            classifier.head.bias.copy_(log_odds(targets.values))
    check_size(classifier, settings.parameter_limit)
    return classifier.to(hardware.device)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What one training was like."""

    history: list[Epoch]
    best: Epoch
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Data:
    train_files: Sequence[Path]
    train: Targets
    val_files: Sequence[Path]
    val: Targets


def _train_and_validation(manifest: Manifest, settings: TrainSettings) -> tuple[Manifest, Manifest]:
    """The images that train, and those that choose the epoch: split val, or a part of split train.

    Raises:
        TrainError: if nothing can be held out
    """
    train = manifest.select("train")
    if settings.checkpoint != "held_out_loss":
        return train, manifest.select("val")
    held_out = choose_held_out(train.ids(), train.labels(), settings.seed)
    if not held_out.any():
        raise TrainError(
            f"train.checkpoint is 'held_out_loss': expected train images to hold out, found none among {len(train)} "
            "that "
            "leave every "
            "class an image; likely too few images, use 'last'"
        )
    return train.keep(pa.array(~held_out)), train.keep(pa.array(held_out))


def _validation_targets(val: Manifest, classes: int, settings: TrainSettings) -> Targets:
    """All labels of every labelled image: the most probable class is right if it is any of them."""
    labels = val.labels()
    kept = np.array([n for n, row in enumerate(labels) if row], dtype=np.int64)
    if not len(kept) and settings.checkpoint != "last":
        raise TrainError(
            f"train.checkpoint is {settings.checkpoint!r}: expected labelled images in split val, found none; use "
            "'last'"
        )
    return Targets(kept, several_labels([labels[n] for n in kept], classes))


# --- the whole network ---------------------------------------------------------------------------------------------


def _fit_backbones(
    classifiers: Sequence[Classifier], data: _Data, settings: TrainSettings, hardware: Hardware
) -> list[_Learnt]:
    return [_fit_all(classifier, data, settings, hardware) for classifier in classifiers]


def _fit_all(classifier: Classifier, data: _Data, settings: TrainSettings, hardware: Hardware) -> _Learnt:
    facts = {}
    if settings.head_epochs:
        (first,) = _fit_heads([classifier], data, replace(settings, epochs=settings.head_epochs), hardware)
        facts = {"head_start_val_loss": first.best.val_loss, "head_start_val_accuracy": first.best.val_accuracy}
    view = random_view(settings.resize, settings.crop, settings.flip)

    def train_batches(epoch: int) -> Iterator[Batch]:
        dataset = ViewDataset(data.train_files, view, settings.seed, epoch)
        order = draw_order(data.train.values, settings, epoch)
        for images, drawn in batches(dataset, data.train.kept[order].tolist(), settings, hardware):
            yield images, _rows(data.train, drawn)

    def val_batches() -> Iterator[Batch]:
        dataset = ViewDataset(data.val_files, plain_view(settings.resize), settings.seed)
        for images, drawn in batches(dataset, data.val.kept.tolist(), settings, hardware):
            yield images, _rows(data.val, drawn)

    torch.manual_seed(settings.seed)
    history, best = run_epochs(classifier, train_batches, val_batches, len(data.train.kept), settings, hardware)
    return _Learnt(history, best, facts)


def _rows(targets: Targets, positions: Tensor) -> Tensor:
    """Targets of images by their position in the manifest; `kept` is sorted."""
    return targets.values[np.searchsorted(targets.kept, positions.numpy())]


# --- the head alone ------------------------------------------------------------------------------------------------


def _fit_heads(
    classifiers: Sequence[Classifier], data: _Data, settings: TrainSettings, hardware: Hardware
) -> list[_Learnt]:
    """Heads of classifiers with one backbone."""
    view = random_view(settings.resize, settings.crop, settings.flip)
    files = [data.train_files[n] for n in data.train.kept]
    val_files = [data.val_files[n] for n in data.val.kept]
    channels = classifiers[0].head.in_features
    # filled view by view: stacking a list would need twice the memory
    banks = torch.empty(len(classifiers), settings.views, len(files), channels, dtype=torch.float16)  # (P, V, N, C)
    for v in range(settings.views):
        banks[:, v] = _pool_all(
            classifiers, ViewDataset(files, view, settings.seed, v), settings, hardware, f"view {v + 1}"
        )
    plain = ViewDataset(val_files, plain_view(settings.resize), settings.seed)
    val_banks = _pool_all(classifiers, plain, settings, hardware, "val")
    head_hardware = Hardware(hardware.device, "fp32")  # the precision is the backbone's; logits are float32 everywhere
    return [
        _fit_head(classifier.head, bank, val_bank, data, settings, head_hardware)
        for classifier, bank, val_bank in zip(classifiers, banks, val_banks, strict=True)
    ]


def _fit_head(
    head: nn.Module, bank: Tensor, val_bank: Tensor, data: _Data, settings: TrainSettings, hardware: Hardware
) -> _Learnt:
    def train_batches(epoch: int) -> Iterator[Batch]:
        order = torch.from_numpy(draw_order(data.train.values, settings, epoch))
        which = torch.from_numpy(
            np.random.default_rng((settings.seed, epoch, 1)).integers(settings.views, size=len(order))
        )
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            yield bank[which[start : start + settings.batch_size], rows].float(), data.train.values[rows]

    def val_batches() -> Iterator[Batch]:
        yield from zip(val_bank.float().split(1024), data.val.values.split(1024), strict=True)

    return _Learnt(*run_epochs(head, train_batches, val_batches, len(data.train.kept), settings, hardware))


@torch.inference_mode()
def _pool_all(
    classifiers: Sequence[Classifier], dataset: ViewDataset, settings: TrainSettings, hardware: Hardware, title: str
) -> Tensor:
    """Features of every image, pooled as each classifier does it. Shape: (P, N, C)

    In float16: they are rounded far below what a head can tell apart.
    """
    backbone = classifiers[0].eval()
    pooled = torch.empty(len(classifiers), len(dataset), backbone.head.in_features, dtype=torch.float16)
    with tqdm(total=len(dataset), desc=f"features, {title}", unit="image") as bar:
        for images, positions in batches(dataset, range(len(dataset)), settings, hardware):
            with hardware.autocast():
                features = backbone.features(images.to(hardware.device, non_blocking=True))
            for row, classifier in zip(pooled, classifiers, strict=True):
                row[positions] = classifier.pool(features).to("cpu", torch.float16)
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
    load_weights(classifier.backbone, settings.backbone)
    return classifier.to(memory_format=torch.channels_last)


def check_size(classifier: Classifier, limit: int) -> None:
    """Print how large the classifier is, and refuse one that the challenge would not take.

    Raises:
        TrainError: if it has `limit` parameters or more; 0 is no limit
    """
    count = classifier.parameter_count()
    print(
        f"{classifier.design.backbone}: {count:,} parameters" + (f", of fewer than {limit:,} allowed" if limit else "")
    )
    if limit and count >= limit:
        raise TrainError(
            f"train.parameter_limit: expected fewer than {limit:,} parameters, got {count:,} of "
            f"{classifier.design.backbone!r}; "
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


def save_fit(trained: Fit, model: Path, history: Path, report: Path) -> None:
    """Write the classifier, its history as a table, and what is to be known of the training."""
    save_classifier(trained.classifier, model)
    write_text(history, pd.DataFrame(history_rows(trained.history)).to_csv(index=False, lineterminator="\n"))
    write_json(report, {"best": asdict(trained.best), **trained.facts})
