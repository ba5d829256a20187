"""From scaled maps to a prediction: a score map (Track 3) or a label map (Track 1), before and after the CRF."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.images import resize, score_to_uint8
from pipeline.core.store import Arrays
from pipeline.core.truth import IGNORE_INDEX
from pipeline.refine.boxes import fill_boxes
from pipeline.refine.settings import RefineSettings

Refine = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # probabilities (L, H, W) to probabilities (L, H, W)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one image before decoding.

    Attributes:
        scaled: maps at the size of the image, 1 is the standard, not clipped. Shape: (P, H, W)
        classes: class index of each map, most probable first. Shape: (P,)
        probabilities: of each of these classes, in [0, 1]. Shape: (P,)
    """

    scaled: NDArray[np.float32]
    classes: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    known: bool = False  # the classes are the image's labels: all of them are present, however improbable
    present: NDArray[np.int32] | None = None  # the classes that the image has, where the stage extract has decided it


@dataclass(frozen=True, slots=True)
class Prediction:
    """The same image predicted twice. Shape: (H, W) each, uint8"""

    before: NDArray[np.uint8]  # without the CRF
    after: NDArray[np.uint8]  # with it; the same where it is switched off
    foreground: NDArray[np.uint8] | None = None  # label maps: 255 times the probability of not being background
    target: NDArray[np.uint8] | None = None  # what a student learns instead of `after`, if it is asked for


def read_evidence(arrays: Arrays, shape: tuple[int, int]) -> Evidence:
    """The stored arrays of one image, maps resized to its shape (H, W)."""
    classes = arrays["classes"]
    return Evidence(
        scaled=np.stack([resize(cam, shape) for cam in arrays["maps"].astype(np.float32)]),
        classes=classes,
        probabilities=arrays["probabilities"].astype(np.float32)[classes],
        known=bool(arrays.get("known", [False])[0]),
        present=arrays.get("present"),
    )


def predict_image(
    evidence: Evidence, settings: RefineSettings, refine: Refine | None, smooth: Refine | None = None
) -> Prediction:
    """The prediction of one image that the settings ask for.

    Args:
        refine: the CRF; None: switched off
        smooth: the averages over neighbors of similar color before it; None: switched off
    """
    if settings.output == "score_map":
        return in_shape(make_score_map(evidence, settings.exponent, refine, smooth), settings.shape)
    several = settings.output == "label_map"
    prediction = make_label_map(
        evidence,
        settings.exponent,
        settings.background,
        settings.min_probability if several else None,
        refine,
        background_exponent=settings.background_exponent,
        smooth=smooth,
    )
    if not (evidence.known and settings.target_backgrounds):
        return prediction
    low, high = settings.target_backgrounds
    return replace(prediction, target=make_target(evidence, settings.exponent, low, high, refine, smooth))


def make_score_map(
    evidence: Evidence, exponent: float, refine: Refine | None, smooth: Refine | None = None
) -> Prediction:
    """Track 3: the map of the most probable class as scores 0..255.

    Before the CRF: S = round(255 * clip(M, 0, 1)). The CRF starts from the foreground probability p = clip(M, 0, 1) ^
    exponent against 1 - p, and its foreground marginal times 255 is the refined score. Without the CRF,
    the exponent would change the quantization only, because every threshold is tried.

    With `smooth`, the CRF starts from smooth(p), and before it S = round(255 * smooth(p)).
    """
    score = np.clip(evidence.scaled[0], 0.0, 1.0)
    before = score_to_uint8(score)
    if refine is None and smooth is None:
        return Prediction(before, before)
    foreground = score**exponent
    if smooth is not None:
        foreground = np.clip(smooth(np.stack([1 - foreground, foreground]))[1], 0.0, 1.0)  # sums of floats pass 1
        before = score_to_uint8(foreground)
    return Prediction(before, before if refine is None else refine_score(foreground, refine))


def refine_score(foreground: NDArray[np.float32], refine: Refine) -> NDArray[np.uint8]:
    """The foreground marginal of the CRF, times 255, from the probability of the foreground. Shapes: (H, W)"""
    refined = refine(np.stack([1 - foreground, foreground]))[1]
    return score_to_uint8(np.clip(refined, 0.0, 1.0))  # mean-field sums can pass 1 by a rounding


def in_shape(prediction: Prediction, shape: str) -> Prediction:
    if shape == "free":
        return prediction
    before = fill_boxes(prediction.before)
    return Prediction(before, before if prediction.after is prediction.before else fill_boxes(prediction.after))


def make_label_map(
    evidence: Evidence,
    exponent: float,
    background: float,
    min_probability: float | None,
    refine: Refine | None,
    *,
    background_exponent: float = 0.0,
    smooth: Refine | None = None,
) -> Prediction:
    """Track 1: the best of the background and the present classes at every pixel.

    The background scores a constant beta, class k scores clip(M_k, 0, 1) ^ exponent; divided by their sum they are
    probabilities. The prediction is the class id (class index + 1, background 0) of the largest, before and after the
    CRF. For one class this thresholds its map at beta ^ (1 / exponent).

    Args:
        min_probability: classes below it are left out, except the most probable; None keeps the most probable alone, as
            the authors did. Not read where `evidence.present` says which classes there are; without any, all is
            background
        background_exponent: above 0, the score of the background depends on the pixel: see `class_probabilities`
        smooth: changes the probabilities before they are decoded and before the CRF
    """
    kept = decoded_classes(evidence, min_probability)
    if not len(kept):
        nothing = np.zeros(evidence.scaled.shape[1:], np.uint8)
        return Prediction(nothing, nothing, nothing)
    probabilities = class_probabilities(evidence.scaled[kept], exponent, background, background_exponent)
    return decode_labels(probabilities if smooth is None else smooth(probabilities), evidence.classes[kept], refine)


def class_probabilities(
    scaled: NDArray[np.float32], exponent: float, background: float, background_exponent: float = 0.0
) -> NDArray[np.float32]:
    """The shares of the background and of each class in the sum of their scores.

    With S_k = clip(M_k, 0, 1), class k scores S_k ^ exponent. The background scores beta = `background` at every pixel,
    or with alpha = `background_exponent` above 0 what the classes leave, a large alpha little of it:

        (1 - max_k S_k) ^ alpha

    Args:
        scaled: maps M_k of the present classes, 1 is the standard. Shape: (P, H, W)

    Returns:
        adding up to 1 at every pixel, the background first. Shape: (1 + P, H, W)

    Source of the second score: Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
    Weakly Supervised Semantic Segmentation", CVPR 2018, whose classes score S_k itself

    >>> maps = np.array([[[0.0, 0.5, 2.0]]], np.float32)
    >>> class_probabilities(maps, 1.0, 0.25)[0]  # 0.25 / (0.25 + S)
    array([[1.        , 0.33333334, 0.2       ]], dtype=float32)
    >>> class_probabilities(maps, 1.0, 0.25, background_exponent=2.0)[0]  # 1 / 1, 0.25 / 0.75, 0 / 1
    array([[1.        , 0.33333334, 0.        ]], dtype=float32)
    """
    clipped = np.clip(scaled, 0.0, 1.0)
    scores = clipped**exponent  # (P, H, W)
    empty = np.full_like(scores[:1], background)
    if background_exponent:
        empty = (1 - clipped.max(axis=0, keepdims=True)) ** background_exponent
    scores = np.concatenate([empty, scores])  # (1 + P, H, W)
    shares: NDArray[np.float32] = scores / scores.sum(axis=0, keepdims=True)
    return shares


def make_target(
    evidence: Evidence, exponent: float, low: float, high: float, refine: Refine | None, smooth: Refine | None = None
) -> NDArray[np.uint8]:
    """What a student learns from an image whose classes are known: the class ids of which two backgrounds agree.

    All classes of the image are decoded twice, as `make_label_map` does, with the background scores `low` and `high`.
    What is a class in spite of the high score is certainly that class, what is background in spite of the low one is
    certainly background. All other pixels are ignored, and so are those of two classes.

    Args:
        low, high: 0 < low < high < 1, constant scores, whatever the background of the prediction is
        refine: the CRF, which runs once for each of the two; None: switched off

    Returns:
        0 background, class index + 1, or 255 where a pixel is ignored. Shape: (H, W), uint8

    Source: Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR
    2019, section 4.1
    """
    loose, strict = (
        make_label_map(evidence, exponent, background, 0.0, refine, smooth=smooth).after for background in (low, high)
    )
    return np.where(loose == strict, strict, IGNORE_INDEX).astype(np.uint8)


def decode_labels(probabilities: NDArray[np.float32], classes: NDArray[np.int32], refine: Refine | None) -> Prediction:
    """The most probable class id at every pixel, before and after the CRF.

    Args:
        probabilities: of the background and of each class, adding up to 1. Shape: (1 + P, H, W)
        classes: class index of each map after the background. Shape: (P,)
    """
    values = np.concatenate([[0], classes + 1]).astype(np.uint8)  # (1 + P,)
    before = values[probabilities.argmax(axis=0)]
    refined = probabilities if refine is None else refine(probabilities)
    after = before if refine is None else values[refined.argmax(axis=0)]
    return Prediction(before, after, score_to_uint8(np.clip(1 - refined[0], 0.0, 1.0)))


def decoded_classes(evidence: Evidence, min_probability: float | None) -> NDArray[np.int64]:
    """Positions of the classes of an image that are decoded. Shape: (P,)

    Args:
        min_probability: as in `make_label_map`
    """
    if evidence.present is not None:
        present = np.flatnonzero(np.isin(evidence.classes, evidence.present))
        return present if min_probability is not None else present[:1]
    known = evidence.known and min_probability is not None
    return present_classes(evidence.probabilities, 0.0 if known else min_probability)


def present_classes(probabilities: NDArray[np.float32], min_probability: float | None) -> NDArray[np.int64]:
    """Positions of the classes to decode: the first, and with `min_probability` all that reach it. Shape: (P,)"""
    kept = np.zeros(len(probabilities), bool)
    kept[0] = True
    if min_probability is not None:
        kept |= probabilities >= min_probability
    return np.flatnonzero(kept)
