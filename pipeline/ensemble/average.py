"""The arrays of one image of several runs as those of one: class maps, scores, label maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.core.images import resize
from pipeline.core.store import Arrays

Pixels = NDArray[np.uint8]


def average_maps(
    stored: Sequence[Arrays],
    weights: Sequence[float],
    most: int,
    min_probability: float,
    labels: Sequence[int] = (),
) -> dict[str, NDArray[Any]]:
    """The maps of one image, averaged class by class, as the stage `extract` would store them.

    With w_m the weight of run m, P_m its probabilities and M_mk its map of class k, brought to the largest grid:

        P = sum_m w_m P_m / sum_m w_m,    M_k = sum_m w_m M_mk / sum_m w_m,    m in M_k over the runs that store k

    Kept are the classes that `extract` would keep with P, of those of which a run stores a map: the most probable one,
    and all that reach `min_probability`, at most `most`; known labels are all kept. What is equal in all runs stays as
    it is, bit by bit. Where the runs have decided which classes the image has (`present`), they vote: see
    `voted_classes`.

    Args:
        stored: `maps`, `classes`, `probabilities`, `predicted`, `known` of each run, perhaps `label_maps`
        weights: of each run, above 0
        most: `extract.max_classes`
        min_probability: `extract.min_probability`
        labels: class indices of the image, for the map that is stored for scoring alone

    Raises:
        MapError: if labels chose the classes of some runs, and predictions those of others
    """
    known = {bool(one["known"][0]) for one in stored}
    if len(known) > 1:
        raise MapError(
            "expected runs of one `extract.classes`, got some with classes chosen by labels, others by predictions"
        )
    means = np.average([one["probabilities"].astype(np.float64) for one in stored], axis=0, weights=weights).astype(
        np.float16
    )
    candidates = dict.fromkeys(int(k) for one in stored for k in one["classes"])
    ordered = sorted(candidates, key=lambda k: -means[k])  # stable: ties in the order of the first run
    voted = voted_classes(stored, weights)
    if known == {False}:
        least = np.float16(min_probability)  # as it is stored
        reached = [k for k in ordered[1:most] if means[k] >= least or (voted and k in voted)]
        ordered = [ordered[0], *reached]
    maps = np.stack([_mean_map([_map_of(one, k) for one in stored], weights) for k in ordered])
    return {
        "maps": maps,
        "classes": np.array(ordered, np.int32),
        "probabilities": means,
        "predicted": np.array([_most_probable(means, int(stored[0]["predicted"][0]))], np.int32),
        "known": np.array(sorted(known)),
        **({} if voted is None else {"present": np.array([k for k in ordered if k in voted], np.int32)}),
        **_label_maps(stored, weights, means, ordered[0], labels),
    }


def voted_classes(stored: Sequence[Arrays], weights: Sequence[float]) -> set[int] | None:
    """The classes that an image has by half the weight or more of the runs that have decided; None if these are fewer
    than half themselves, so that later stages decide.

    >>> one, two = {"present": np.array([0, 2])}, {"present": np.array([0])}
    >>> voted_classes([one, two, two], [1, 1, 1]), voted_classes([one, {}, {}], [1, 1, 1])
    ({0}, None)
    """
    decided = [
        (set(one["present"].tolist()), weight) for one, weight in zip(stored, weights, strict=True) if "present" in one
    ]
    half = sum(weight for _, weight in decided) / 2
    if not decided or half < sum(weights) / 4:
        return None
    every = set().union(*(classes for classes, _ in decided))
    return {k for k in every if sum(weight for classes, weight in decided if k in classes) >= half}


def _map_of(stored: Arrays, k: int) -> NDArray[np.float16] | None:
    """The map of a class, if a run stores it. Shape: (h, w)"""
    places = np.flatnonzero(stored["classes"] == k)
    return stored["maps"][places[0]] if len(places) else None


def _mean_map(maps: Sequence[NDArray[np.float16] | None], weights: Sequence[float]) -> NDArray[np.float16]:
    """The weighted mean of the maps that there are, on the grid of the largest."""
    found = [(one, weight) for one, weight in zip(maps, weights, strict=True) if one is not None]
    shape = max((one.shape for one, _ in found), key=lambda shape: shape[0] * shape[1])
    brought = [one if one.shape == shape else resize(one.astype(np.float32), shape) for one, _ in found]
    mean = np.average(np.stack(brought).astype(np.float64), axis=0, weights=[weight for _, weight in found])
    return np.asarray(mean, np.float16)


def _most_probable(means: NDArray[np.float16], first: int) -> int:
    """The most probable class; among equal ones that of the first run, if it is one of them."""
    return first if means[first] == means.max() else int(means.argmax())


def _label_maps(
    stored: Sequence[Arrays], weights: Sequence[float], means: NDArray[np.float16], chosen: int, labels: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """For scoring, where no label is chosen: the map of the most probable label of those of which a run stores one."""
    maps = {k: [_map_of_label(one, k, labels) for one in stored] for k in labels if chosen not in labels}
    found = [k for k, of_runs in maps.items() if any(one is not None for one in of_runs)]
    if not found:
        return {}
    return {"label_maps": _mean_map(maps[max(found, key=lambda k: means[k])], weights)[None]}


def _map_of_label(stored: Arrays, k: int, labels: Sequence[int]) -> NDArray[np.float16] | None:
    """The map of a label, if a run stores it: apart from the others that of the label that it finds most probable."""
    apart = max(labels, key=lambda label: stored["probabilities"][label])
    return stored["label_maps"][0] if "label_maps" in stored and k == apart else _map_of(stored, k)


def average_scores(scores: Sequence[Pixels], weights: Sequence[float]) -> Pixels:
    """The weighted mean of score maps 0..255, rounded half to even. Shapes: (H, W)

    >>> average_scores([np.array([[10, 0]], np.uint8), np.array([[20, 255]], np.uint8)], [1, 3])
    array([[ 18, 191]], dtype=uint8)
    """
    return np.rint(np.average(np.stack(scores).astype(np.float64), axis=0, weights=weights)).astype(np.uint8)


def vote(
    labels: Sequence[Pixels], foregrounds: Sequence[Pixels] | None, weights: Sequence[float]
) -> tuple[Pixels, Pixels]:
    """Label maps of several runs as one, each vote as strong as the run is certain.

    Run m with the weight w_m has the class l_m at a pixel, and f_m as the probability of all foreground there:

        background: sum_m w_m (1 - f_m);    class k: sum of w_m f_m over the runs with l_m = k

    The largest wins; equal ones go to the background, then to the lower class. Where l_m is the background, f_m belongs
    to no class. Runs that all predict the same class at a pixel keep it.

    Args:
        labels: class ids of each run. Shape: (H, W)
        foregrounds: 255 f_m of each; None: 255 where it has a class, 0 elsewhere. Shape: (H, W)
        weights: of each, above 0

    Returns:
        class ids, and 255 times the mean of f_m, rounded half to even. Shapes: (H, W)

    >>> first, second = np.array([[1, 1, 0]], np.uint8), np.array([[2, 0, 0]], np.uint8)
    >>> certain, doubtful = np.array([[230, 230, 10]], np.uint8), np.array([[140, 120, 10]], np.uint8)
    >>> vote([first, second], [certain, doubtful], [1, 1])[0]
    array([[1, 1, 0]], dtype=uint8)
    """
    given = [255 * (one > 0) for one in labels] if foregrounds is None else foregrounds
    shares = np.stack(given).astype(np.float64)
    total = float(sum(weights))
    foreground = np.average(shares, axis=0, weights=weights)
    values = np.unique(np.concatenate([np.zeros(1, np.uint8), *(np.unique(one) for one in labels)]))
    votes = np.zeros((len(values), *foreground.shape))
    votes[0] = total * (255 - foreground)
    for place, value in enumerate(values[1:], start=1):
        for one, share, weight in zip(labels, shares, weights, strict=True):
            votes[place] += weight * np.where(one == value, share, 0)
    return values[votes.argmax(axis=0)], np.rint(foreground).astype(np.uint8)
