"""Heads trained without one fold of the train images each, on the features that the head itself was trained on."""

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.device import Hardware
from pipeline.core.distributed import is_first
from pipeline.core.errors import TrainError
from pipeline.models.folds import Folds, fold_of
from pipeline.train.head import PooledFeatures, fit_head
from pipeline.train.settings import TrainSettings
from pipeline.train.split import TrainingData
from pipeline.train.targets import log_odds


def fit_folds(
    head: nn.Linear,
    features: PooledFeatures,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
) -> Folds:
    """Train `settings.class_folds` heads, each as `head` was, without the images of its fold.

    Args:
        head: only its shape and device count
        features: of all images; several ranks call this together, and rank 0 alone has some

    Raises:
        TrainError: if there is no image in a fold
    """
    folds = settings.class_folds
    number = np.array([fold_of(image_id, folds, settings.seed) for image_id in data.ids])
    if empty := sorted(set(range(folds)) - set(number.tolist())):
        raise TrainError(
            f"train.class_folds is {folds}: expected train images in each fold, found {len(data.ids)} and none in "
            f"{len(empty)} of them; use fewer folds, or 0"
        )
    heads = [_fit_without(number == fold, head, features, data, settings, hardware) for fold in range(folds)]
    weight, bias = (torch.stack([getattr(one, name).detach().cpu() for one in heads]) for name in ("weight", "bias"))
    return Folds(weight, bias, settings.seed)


def _fit_without(
    left_out: NDArray[np.bool_],
    head: nn.Linear,
    features: PooledFeatures,
    data: TrainingData,
    settings: TrainSettings,
    hardware: Hardware,
) -> nn.Linear:
    """A new head, trained without some of the images."""
    kept = torch.from_numpy(np.flatnonzero(~left_out))
    values = data.train.values[kept]
    targets = replace(data.train, kept=data.train.kept[kept.numpy()], values=values)
    one = copy.deepcopy(head)
    with torch.no_grad():
        one.weight.zero_()
        one.bias.copy_(log_odds(values, data.train.weights))
    part = replace(features, train=features.train[:, kept]) if is_first() else features  # others have no features
    fit_head(one, part, replace(data, train=targets), settings, hardware)
    return one
