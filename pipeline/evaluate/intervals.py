"""Confidence intervals of scores, from a bootstrap over images: how far a score moves with the images it is taken from.

The images are drawn anew, with replacement, as many as there are, and each resample is scored as the metric scores all
images; the interval lies between two percentiles of these scores. What an image adds to a score is counts, so that a
resample is a row of multinomial weights, and its counts are the product of that row with the counts per image.

An interval says what other images of the same kind would change. It does not contain what another seed of the training
would change, nor the optimism of settings that were chosen on these images. With few images it is somewhat narrow: from
60 simulated ones, 93 % of the intervals of 95 % held the score of their population; most of the others lay above it.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (the percentile method)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.mean_iou import iou_of_counts, mean_of_present
from pipeline.evaluate.peak_iou import LEVELS, Comparison, iou_curve

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0
FEWEST_IMAGES = 2  # resamples of one image are all that image: no interval
BLOCK = 1 << 20  # weights at a time: 8 MiB, whatever the number of images
IMAGES_AT_ONCE = 1024  # whose counts are floating-point numbers at the same time

Weights = NDArray[np.int64]  # (R, N): how often each of N images is in each of R resamples
Scores = NDArray[np.float64]  # (R,): the score of each resample, NaN where it holds nothing that can be scored
Score = Callable[[Weights], Scores]
Interval = tuple[float, float]  # lower and upper end


@dataclass(frozen=True, slots=True)
class PairedIntervals:
    """Intervals of two predictions of the same images, from the same resamples; None where there is no interval.

    Attributes:
        first: of the first one's score
        second: of the second one's score
        difference: of the second score minus the first
    """

    first: Interval | None
    second: Interval | None
    difference: Interval | None


def interval(
    score: Score, images: int, *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = SEED
) -> Interval | None:
    """The confidence interval of a score over images.

    Args:
        score: of resamples; see `peak_iou_score` and `mean_iou_score`
        images: N, how many the score is made of
        resamples: how many are drawn
        confidence: share of the resamples' scores between the two ends
        seed: of the draws

    Returns:
        lower and upper end; None for fewer than two images, or if no resample has a score

    >>> counts = np.zeros((2, 2, 256), np.int32)  # two images of 4 pixels, half of each in the mask
    >>> counts[:, 0, 200] = 2  # all of it is found,
    >>> counts[:, 1, [200, 0]] = [[0, 2], [2, 0]]  # in the second one with both other pixels
    >>> interval(peak_iou_score(counts), images=2)  # both the first, ..., both the second
    (0.5, 1.0)
    """
    if images < FEWEST_IMAGES:
        return None
    return percentile_interval(resampled_scores([score], images, resamples, seed)[0], confidence)


def paired_interval(
    first: Score,
    second: Score,
    images: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> PairedIntervals:
    """The confidence intervals of two predictions of the same images, and of the difference of their scores.

    Each resample holds the same images for both, so that what makes an image easy or hard for both cancels: the
    difference is often certain where the two intervals overlap. Equal predictions differ by (0, 0).

    Args:
        first: score of the one prediction, over the images in some order
        second: score of the other, over the same images in the same order
        images: N
        resamples: how many are drawn
        confidence: share of the resamples' scores between the two ends
        seed: of the draws

    Returns:
        the intervals of both and of second - first
    """
    if images < FEWEST_IMAGES:
        return PairedIntervals(None, None, None)
    one, other = resampled_scores([first, second], images, resamples, seed)
    return PairedIntervals(*(percentile_interval(scores, confidence) for scores in (one, other, other - one)))


def score_of_all(score: Score, images: int) -> float:
    """The score of the images as they are, each of them once; NaN where they hold nothing that can be scored."""
    return float(score(np.ones((1, images), np.int64))[0])


def as_list(ends: Interval | None) -> list[float] | None:
    """An interval for JSON, with six decimals: more than the resamples can tell, and the same on any machine."""
    return None if ends is None else [round(end, 6) for end in ends]


def show_interval(interval: Interval | None, signed: bool = False) -> str:
    """The two ends of an interval; nothing where there is none.

    >>> show_interval((0.25, 0.5)), show_interval((-0.25, 0.5), signed=True), show_interval(None)
    ('[0.250, 0.500]', '[-0.250, +0.500]', '')
    """
    sign = "+" if signed else ""
    return f"[{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else ""


def percentile_interval(scores: Scores, confidence: float = CONFIDENCE) -> Interval | None:
    """The percentiles of the resamples' scores that leave (1 - confidence) / 2 on either side; NaN is left out.

    >>> percentile_interval(np.arange(101.0), 0.5), percentile_interval(np.array([np.nan]))
    ((25.0, 75.0), None)
    """
    known = scores[~np.isnan(scores)]
    if not known.size:
        return None
    low, high = np.percentile(known, [50 * (1 - confidence), 50 * (1 + confidence)]).tolist()
    return low, high


# --- drawing ----------------------------------------------------------------------------------------------------------


def resampled_scores(
    scores: Sequence[Score], images: int, resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """Several scores of the same resamples, which are drawn in blocks of bounded size.

    Returns:
        in the order of `scores`. Shape: (S, R)
    """
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // images)
    blocks = []
    for start in range(0, resamples, size):
        weights = draw_weights(images, min(size, resamples - start), generator)
        blocks.append(np.stack([score(weights) for score in scores]))
    return np.concatenate(blocks, axis=1)


def draw_weights(images: int, resamples: int, generator: np.random.Generator) -> Weights:
    """How often each image is drawn, in N draws with replacement: rows of Multinomial(N; 1/N, ..., 1/N).

    Returns:
        each row sums to N. Shape: (R, N)
    """
    draws = generator.integers(images, size=(resamples, images))
    draws += images * np.arange(resamples)[:, None]
    return np.bincount(draws.ravel(), minlength=resamples * images).reshape(resamples, images)


def resampled_counts(weights: Weights, counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """The counts of each resample: the product of (R, N) and (N, M), in floating point for its speed.

    Every partial sum is a whole number below 2^53, hence exact and independent of the order of the additions.
    """
    total = np.zeros((len(weights), counts.shape[1]))
    for start in range(0, len(counts), IMAGES_AT_ONCE):
        some = slice(start, start + IMAGES_AT_ONCE)
        total += weights[:, some].astype(np.float64) @ counts[some].astype(np.float64)
    return total.astype(np.int64)


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of several scores, resample by resample."""
    return lambda weights: np.stack([score(weights) for score in scores]).mean(axis=0)


def score_on(some: NDArray[np.int64], score: Score) -> Score:
    """The score of the images alone whose weight in `some` is 1; that of the others is 0."""
    return lambda weights: score(weights * some)


# --- scores of resamples ----------------------------------------------------------------------------------------------


def peak_iou_score(
    counts: NDArray[np.int32], comparison: Comparison = ">=", average: Literal["pooled", "mean"] = "pooled"
) -> Score:
    """Peak IoU of resamples.

        pooled:  max over t of sum_i w_i TP_i(t) / sum_i w_i (P_i + FP_i(t))
        mean:    max over t of sum_i w_i IoU_i(t) / sum_i w_i,    i over the images with foreground

    with w_i how often image i is in the resample. Each resample has a threshold of its own: the choice of the best one
    is part of the metric, made on the same images, so its uncertainty belongs to that of the score.

    Args:
        counts: pixels inside and outside the mask per score value, from `PeakIoU.image_counts`. Shape: (N, 2, 256)
        comparison: which side of the threshold equality is on
        average: which of the two

    Returns:
        weights (R, N) to scores (R,); NaN for a resample without foreground
    """
    if average == "pooled":
        return partial(_pooled_peak, counts=counts.reshape(len(counts), 2 * LEVELS), comparison=comparison)
    has_foreground: NDArray[np.bool_] = np.any(counts[:, 0], axis=1)
    scored = counts[has_foreground].astype(np.int64)
    curves = iou_curve(scored[:, 0], scored[:, 1], comparison)  # (M, 256)
    return partial(_mean_peak, curves=curves, has_foreground=has_foreground)


def _pooled_peak(weights: Weights, counts: NDArray[np.int32], comparison: Comparison) -> Scores:
    sums = resampled_counts(weights, counts).reshape(len(weights), 2, LEVELS)
    peaks = np.full(len(weights), np.nan)
    known = sums[:, 0].any(axis=1)
    peaks[known] = iou_curve(sums[known, 0], sums[known, 1], comparison).max(axis=1)
    return peaks


def _mean_peak(weights: Weights, curves: NDArray[np.float64], has_foreground: NDArray[np.bool_]) -> Scores:
    kept = weights[:, has_foreground].astype(np.float64)  # (R, M)
    images = kept.sum(axis=1)
    peaks = np.full(len(weights), np.nan)
    known = images > 0
    peaks[known] = (kept[known] @ curves / images[known, None]).max(axis=1)
    return peaks


def mean_iou_score(counts: NDArray[np.int32], classes: Literal["with_background", "foreground"]) -> Score:
    """Mean IoU of resamples.

        IoU_k = sum_i w_i R_ik / sum_i w_i (T_ik + P_ik - R_ik)

    with w_i how often image i is in the resample, R the pixels of class k that are right, T those of the truth, P those
    of the prediction. A class that is in no truth and no prediction of a resample is left out of its mean, as it is
    where the metric meets it: the mean of a resample may be over fewer classes.

    Args:
        counts: R, T and P of each class, from `MeanIoU.image_counts`. Shape: (N, 3, K + 1)
        classes: with background, or without

    Returns:
        weights (R, N) to scores (R,); NaN for a resample without any of the classes
    """
    wanted = counts if classes == "with_background" else counts[:, :, 1:]
    return partial(_mean_iou, counts=wanted.reshape(len(wanted), 3 * wanted.shape[2]))


def _mean_iou(weights: Weights, counts: NDArray[np.int32]) -> Scores:
    right, truth, predicted = resampled_counts(weights, counts).reshape(len(weights), 3, -1).transpose(1, 0, 2)
    return np.array([mean_of_present(ious) for ious in iou_of_counts(right, truth, predicted)])


def box_accuracy_score(hits: NDArray[np.bool_]) -> Score:
    """Box accuracy of resamples: GT-known Loc of one row of hits, MaxBoxAccV2 of several.

        mean over d of max over t of sum_i w_i hit_i(d, t) / sum_i w_i

    with w_i how often image i is in the resample, d the IoU level, t the threshold.

    Args:
        hits: whether each image has a right box, from `BoxAccuracy.image_hits`. Shape: (N, D, 256)

    Returns:
        weights (R, N) to scores (R,)

    >>> hits = np.zeros((2, 1, 256), bool)
    >>> hits[0, 0, 3:] = True  # the first image is right from 3 on, the second never
    >>> box_accuracy_score(hits)(np.array([[1, 1], [2, 0], [0, 2]])).tolist()
    [0.5, 1.0, 0.0]
    """
    return partial(_box_accuracy, hits=hits.reshape(len(hits), -1).astype(np.int32), levels=hits.shape[1])


def _box_accuracy(weights: Weights, hits: NDArray[np.int32], levels: int) -> Scores:
    counts = resampled_counts(weights, hits).reshape(len(weights), levels, LEVELS)
    return np.asarray(counts.max(axis=2).sum(axis=1) / (levels * weights.sum(axis=1)), np.float64)
