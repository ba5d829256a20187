"""The measures of the three phenomena on one image: arrays in, numbers out.

P1  The areas of the activated regions differ much between channels; global average pooling divides every channel by all
    positions, so that a channel with a small region gets a larger weight than it deserves. TAP corrects this.
P2  Channels with negative weights are active inside the object, too: what they subtract is missing there. NWC corrects
    this.
P3  The most activated regions of the channels overlap in a small part of the object, so that the maximum of a map says
    little about the rest of it. PaS corrects this.

The activated region of channel c is {F_c > theta * max F_c}, with the theta of TAP.

Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020,
section 3
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

TOP = 0.8  # of a channel's maximum: its most activated region


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The object at feature resolution.

    Attributes:
        inside: share of each cell that is object. Shape: (h, w)
        known: share of each cell that is object or background, not ignored. Shape: (h, w)
    """

    inside: Floats
    known: Floats

    @property
    def share(self) -> float:
        """The object's share of the image: the IoA of a region at a random position, on average."""
        return float(self.inside.sum() / self.known.sum())


def activated(features: Floats, theta: float) -> Mask:
    """Where each channel is active: F > theta * max F; nowhere in a dead channel. Shape: (C, h, w)"""
    return np.asarray(features > theta * features.max(axis=(1, 2), keepdims=True))


def area_shares(features: Floats, theta: float) -> Array:
    """Share of the positions at which each channel is active; NaN for a dead one. Shape: (C,)

    >>> area_shares(np.array([[[4.0, 1.0]], [[2.0, 2.0]], [[0.0, 0.0]]], np.float32), theta=0.5).tolist()
    [0.5, 1.0, nan]
    """
    alive = features.max(axis=(1, 2)) > 0
    return np.where(alive, activated(features, theta).mean(axis=(1, 2)), np.nan)


def intersection_over_area(active: Mask, truth: Truth) -> Array:
    """IoA of each region with the object: how much of the region lies on it; NaN for an empty one. Shape: (C, h, w) to
    (C,)

        IoA_c = |A_c and object| / |A_c|

    >>> truth = Truth(np.array([[1.0, 0.0, 0.0]], np.float32), np.ones((1, 3), np.float32))
    >>> intersection_over_area(np.array([[[True, True, False]], [[False, False, False]]]), truth).tolist()
    [0.5, nan]
    """
    inside = (active * truth.inside).sum(axis=(1, 2), dtype=np.float64)
    area = (active * truth.known).sum(axis=(1, 2), dtype=np.float64)
    return np.where(area > 0, inside / np.where(area > 0, area, 1), np.nan)


def density_ratio(evidence: Floats, truth: Truth) -> float:
    """How much denser evidence lies on the object than beside it: mean inside over mean outside; 1 is no preference.

    NaN where the object is everything or nothing, or there is no evidence beside it.

    >>> truth = Truth(np.array([[1.0, 0.0, 0.0]], np.float32), np.ones((1, 3), np.float32))
    >>> density_ratio(np.array([[6.0, 1.0, 3.0]], np.float32), truth)
    3.0
    """
    outside = truth.known - truth.inside
    if not (truth.inside.sum() > 0 and outside.sum() > 0):
        return float("nan")
    on = float((evidence * truth.inside).sum() / truth.inside.sum())
    beside = float((evidence * outside).sum() / outside.sum())
    return on / beside if beside > 0 else float("nan")


def separation(values: Floats, truth: Truth) -> float:
    """Area under the ROC curve of a map: the chance that a cell of the object has a higher value than one beside it.

    Scales change nothing. Ties count half; cells that are more than half ignored count not. NaN where there is no pair.

    >>> truth = Truth(np.array([[1.0, 1.0, 0.0]], np.float32), np.ones((1, 3), np.float32))
    >>> separation(np.array([[3.0, 1.0, 1.0]], np.float32), truth)
    0.75
    """
    counted = truth.known > 0.5
    inside = truth.inside[counted] > 0.5 * truth.known[counted]
    positives, negatives = int(inside.sum()), int((~inside).sum())
    if not positives or not negatives:
        return float("nan")
    above = average_ranks(values[counted].astype(np.float64))[inside].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def average_ranks(values: Array) -> Array:
    """Ranks from 1; equal values share their mean rank. Shape: (N,)

    >>> average_ranks(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2)[place.ravel()], np.float64)


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's rank correlation; NaN where one side is constant or there are fewer than three pairs.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 2.0, 1.0]))
    -1.0
    """
    if len(first) < 3 or (first == first[0]).all() or (second == second[0]).all():
        return float("nan")
    return round(float(np.corrcoef(average_ranks(first), average_ranks(second))[0, 1]), 12)


def top_overlap(features: Floats) -> Array:
    """At each position the share of the live channels whose most activated region, {F > 0.8 max F}, covers it. Shape:
    (h, w)

    >>> top_overlap(np.array([[[1.0, 0.0]], [[5.0, 4.5]], [[0.0, 0.0]]], np.float32)).tolist()
    [[1.0, 0.5]]
    """
    alive = features[features.max(axis=(1, 2)) > 0]
    if not len(alive):
        return np.zeros(features.shape[1:])
    return np.asarray(activated(alive, TOP).mean(axis=0), np.float64)


def positions_of_half(features: Floats) -> float:
    """The smallest share of the positions that hold the maxima of half of the live channels; spread evenly it would be
    0.5.

    >>> positions_of_half(np.array([[[9, 0, 0, 0]], [[9, 0, 0, 1]], [[0, 0, 2, 0]]], np.float32))
    0.25
    """
    alive = features[features.max(axis=(1, 2)) > 0]
    if not len(alive):
        return float("nan")
    places = alive.reshape(len(alive), -1).argmax(axis=1)
    counts = np.sort(np.bincount(places))[::-1].cumsum()
    needed = int(np.searchsorted(counts, len(alive) / 2)) + 1
    return needed / len(features[0].ravel())
