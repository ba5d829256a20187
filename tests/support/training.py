"""What tests of training share: a tiny network that starts from a file, so that its backbone can be frozen."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from support.helpers import TINY, train_settings

from pipeline.core.manifest import Manifest, from_rows
from pipeline.models.backbones import build_backbone
from pipeline.train.run import Fit
from pipeline.train.settings import TrainSettings


def write_start(folder: Path) -> str:
    """A file of weights for the tiny network."""
    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in build_backbone(TINY, 16).state_dict().items()}
    path = folder / "start.safetensors"
    safetensors.torch.save_file(state, path)
    return str(path)


def quick(start: str, **changes: Any) -> TrainSettings:
    """The tiny network, frozen."""
    backbone = {"name": TINY, "weights": "file", "weights_from": start, **changes.pop("backbone", {})}
    return train_settings(backbone=backbone, **changes)


def relabeled(manifest: Manifest, labels: dict[str, Any]) -> Manifest:
    """The same images with `labels` for all rows of a split."""
    rows = [{**row, "labels": labels.get(row["split"], row["labels"])} for row in manifest.table.to_pylist()]
    return from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind)


def head(trained: Fit) -> dict[str, torch.Tensor]:
    """The weights of the head."""
    return trained.classifier.head.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors."""
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)
