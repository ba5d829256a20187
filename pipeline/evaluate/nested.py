"""Settings chosen on some images and scored on others: what a choice is worth where no choice was made.

The best of several candidates, chosen on the images that it is then scored on, scores too high there: part of what made
it the best is chance. Here the images are divided into halves, several times; the candidate that is best on one half is
scored on the other. The mean of these scores has no such bias. It is slightly too low for the candidate that is chosen
on all images, because half as many images choose less well.

Source: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", J. Royal Stat. Soc. B 36, 1974
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.intervals import (
    SEED,
    Interval,
    Score,
    interval,
    mean_score,
    percentile_interval,
    resampled_scores,
    score_on,
    show_interval,
)

FEWEST_IMAGES = 4  # two in each half
DIVISIONS = 5  # each gives two halves to choose on
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class NestedChoice:
    """The choice among candidates, and what it is worth.

    Attributes:
        chosen: the candidate with the best score on all images, the first of equal ones
        score: its score on the images that chose it
        interval: of that score, over images; it does not contain the bias of the choice
        nested: mean score of the candidates chosen on a half, on the other half
        nested_interval: of it, over images
        gain: `nested` minus the score of the first candidate on the same halves
        gain_interval: of it, over images, both on the same resamples
        agreement: share of the halves that chose the same candidate as all images did
    """

    chosen: int
    score: float
    interval: Interval | None
    nested: float
    nested_interval: Interval | None
    gain: float
    gain_interval: Interval | None
    agreement: float

    def show(self, label: str, first: str) -> str:
        """Both scores in words.

        Args:
            label: of the score
            first: what the first candidate is
        """
        return (
            f"{label} {self.score:.4f} {show_interval(self.interval)} on the images that chose it. Chosen on one half "
            f"and scored on the other: {self.nested:.4f} {show_interval(self.nested_interval)}, {self.gain:+.4f} "
            f"{show_interval(self.gain_interval, signed=True)} over {first}; {100 * self.agreement:.0f} % of the "
            "halves choose the same."
        )


def nested_choice(
    candidates: Sequence[Callable[[], Score]], images: int, *, divisions: int = DIVISIONS, seed: int = SEED
) -> NestedChoice | None:
    """Choose the best of several candidates on all images, and score the choice on images that had no part in it.

    Args:
        candidates: each gives the scores of resamples of the same images; called when it is needed, since counts of
            many images and candidates do not fit into memory. The first is what the others are compared with
        images: N, how many the scores are made of
        divisions: into halves
        seed: of the divisions and the resamples

    Returns:
        None for fewer than four images, or where a half holds nothing that can be scored
    """
    if images < FEWEST_IMAGES:
        return None
    halves = draw_halves(images, divisions, seed)
    weights = np.concatenate([halves, np.ones((1, images), np.int64)])
    scores = np.stack([candidate()(weights) for candidate in candidates])  # (C, 2 D + 1)
    if np.isnan(scores).any():
        return None
    on_halves, on_all = scores[:, :-1], scores[:, -1]
    best, best_on_half = int(on_all.argmax()), on_halves.argmax(axis=0)
    places = np.arange(len(halves))
    nested, first = on_halves[best_on_half, places ^ 1].mean(), on_halves[0].mean()
    chosen, start = (
        resampled_scores([_mean_of_others(candidates, which, halves)], images, RESAMPLES, seed)[0]
        for which in (best_on_half, np.zeros_like(best_on_half))
    )
    return NestedChoice(
        chosen=best,
        score=float(on_all[best]),
        interval=interval(candidates[best](), images),
        nested=float(nested),
        nested_interval=percentile_interval(chosen),
        gain=float(nested - first),
        gain_interval=percentile_interval(chosen - start),
        agreement=float(np.mean(best_on_half == best)),
    )


def draw_halves(images: int, divisions: int, seed: int) -> NDArray[np.int64]:
    """Random divisions of the images into halves, as weights of 0 and 1: rows 2d and 2d + 1 are one division.

    Of an odd number, the first half of each division has one image less.

    Returns:
        Shape: (2 D, N)
    """
    generator = np.random.default_rng(seed)
    halves = np.zeros((2 * divisions, images), np.int64)
    for division in range(divisions):
        halves[2 * division, generator.permutation(images)[: images // 2]] = 1
        halves[2 * division + 1] = 1 - halves[2 * division]
    return halves


def _mean_of_others(
    candidates: Sequence[Callable[[], Score]], chosen: NDArray[np.intp], halves: NDArray[np.int64]
) -> Score:
    """The mean, over the halves, of the score of the candidate chosen on a half, on the images of the other."""
    scores = {which: candidates[which]() for which in set(chosen.tolist())}
    return mean_score([score_on(halves[half ^ 1], scores[which]) for half, which in enumerate(chosen.tolist())])
