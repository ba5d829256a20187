"""Heads that were trained without a part of the train images, for probabilities of these images that they never saw."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline.core.errors import TrainError
from pipeline.core.files import write_bytes

FOLDS = "folds.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Heads of one classifier, each trained without one fold of the train images.

    Attributes:
        weight: of each head. Shape: (F, K, C)
        bias: Shape: (F, K)
        seed: decides with an image's id which fold it is in
    """

    weight: Tensor
    bias: Tensor
    seed: int

    @property
    def count(self) -> int:
        """F"""
        return len(self.weight)


def fold_of(image_id: str, folds: int, seed: int) -> int:
    """The fold of a train image: a function of its id, so that another image does not change it.

    Not the function by which images are held out of training to choose an epoch: these would all be of one fold.

    >>> [fold_of(image_id, 3, 0) for image_id in ("a", "b", "c", "d")]
    [0, 1, 0, 1]
    """
    digest = hashlib.sha256(f"fold {seed} {image_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % folds


def save_folds(folds: Folds, folder: Path) -> None:
    """Write `folds.safetensors` beside the weights of the classifier; equal heads give equal bytes."""
    tensors = {"weight": folds.weight, "bias": folds.bias, "seed": torch.tensor([folds.seed])}
    write_bytes(folder / FOLDS, safetensors.torch.save(tensors))


def load_folds(folder: Path) -> Folds:
    """Read what `save_folds` wrote.

    Raises:
        TrainError: if there is none, or it cannot be read
    """
    path = folder / FOLDS
    if not path.is_file():
        raise TrainError(
            f"{path}: expected heads of folds, found none; likely train.class_folds is 0: set it to 5 and train again"
        )
    try:
        found = safetensors.torch.load_file(path)
        return Folds(found["weight"], found["bias"], int(found["seed"]))
    except (OSError, SafetensorError, KeyError) as error:
        raise TrainError(f"{path}: expected heads of folds, got {error}; likely damaged: train again") from error
