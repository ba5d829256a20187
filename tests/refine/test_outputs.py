"""Maps to predictions, by hand: who wins where, what ties do, and what the CRF is given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from support.helpers import refine_settings

from pipeline.core.errors import MapError
from pipeline.refine.outputs import (
    Evidence,
    class_probabilities,
    make_label_map,
    make_score_map,
    make_target,
    predict_image,
    present_classes,
)

Floats = NDArray[np.float32]

FIRST = [[0.0, 0.2, 0.5], [1.0, 3.0, -0.5]]  # 1 is the standard: more is clipped, and so is less than 0
SECOND = [[0.9, 0.1, 0.5], [0.4, 1.0, 0.0]]
THIRD = [[0.3, 0.95, 0.2], [0.8, 0.6, 0.4]]


def evidence(classes: tuple[int, ...] = (4, 0, 2), probabilities: tuple[float, ...] = (0.5, 0.3, 0.05)) -> Evidence:
    """Maps of shape (2, 3): never square."""
    maps = np.array([FIRST, SECOND, THIRD], np.float32)[: len(classes)]
    return Evidence(maps, np.array(classes, np.int32), np.array(probabilities, np.float32))


def test_known_classes_are_all_there_however_improbable() -> None:
    found = evidence()
    settings = refine_settings(output="label_map", min_probability=0.4, background=0.45, exponent=1.0)
    assert set(predict_image(found, settings, None).before.ravel()) <= {0, 5}  # only class 4 is probable enough
    known = Evidence(found.scaled, found.classes, found.probabilities, known=True)
    assert predict_image(known, settings, None).before.tolist() == [
        [1, 3, 5],
        [5, 5, 0],
    ]  # ties go to the more probable class


def test_what_extract_has_decided_is_decoded_whatever_is_probable() -> None:
    settings = refine_settings(output="label_map", min_probability=0.4, background=0.45, exponent=1.0)
    found = replace(evidence(), present=np.array([2, 0], np.int32))  # the classes of SECOND and THIRD
    assert predict_image(found, settings, None).before.tolist() == [[1, 3, 1], [3, 1, 0]]
    one = refine_settings(output="label_map_one_class", background=0.45, exponent=1.0)
    assert predict_image(found, one, None).before.tolist() == [[1, 0, 1], [0, 1, 0]]  # the more probable of them


@pytest.mark.parametrize("output", ["label_map", "label_map_one_class"])
def test_an_image_without_a_class_is_background(output: str) -> None:
    crf = Recorder()
    found = predict_image(replace(evidence(), present=np.zeros(0, np.int32)), refine_settings(output=output), crf)
    for pixels in (found.before, found.after, found.foreground):
        assert pixels is not None
        assert pixels.tolist() == [[0, 0, 0], [0, 0, 0]]
        assert pixels.dtype == np.uint8
    assert not crf.given.size  # nothing to refine


class Recorder:
    """Stands for the CRF: keeps what it is given and predictions as told."""

    def __init__(self, prediction: Floats | None = None) -> None:
        self.prediction, self.given = prediction, np.zeros(0, np.float32)

    def __call__(self, probabilities: Floats) -> Floats:
        self.given = probabilities
        return probabilities if self.prediction is None else self.prediction


# --- Track 3 ---------------------------------------------------------------------------------------------------------


def test_foreground_is_the_map_of_the_first_class_in_255_steps() -> None:
    prediction = make_score_map(evidence(), 1.0, None)
    assert prediction.before.tolist() == [[0, 51, 128], [255, 255, 0]]  # 127.5 rounds to even
    assert prediction.before.dtype == np.uint8
    assert prediction.after.tolist() == prediction.before.tolist()


def test_the_crf_starts_from_foreground_and_its_complement() -> None:
    crf = Recorder()
    prediction = make_score_map(evidence(), 2.0, crf)
    expected = np.array([[0.0, 0.04, 0.25], [1.0, 1.0, 0.0]], np.float32)
    np.testing.assert_allclose(crf.given, np.stack([1 - expected, expected]), atol=1e-7)
    assert prediction.before.tolist() == [[0, 51, 128], [255, 255, 0]]  # without the exponent
    assert prediction.after.tolist() == [[0, 10, 64], [255, 255, 0]]  # 10.2, 63.75


def test_the_prediction_is_the_foreground_marginal() -> None:
    marginal = np.array([[0.11, 0.2, 0.31], [0.4, 1.0000001, -1e-9]], np.float32)  # sums of floats pass the borders
    crf = Recorder(np.stack([1 - marginal, marginal]))
    assert make_score_map(evidence(), 1.0, crf).after.tolist() == [[28, 51, 79], [102, 255, 0]]


# --- Track 1 ---------------------------------------------------------------------------------------------------------


def test_one_class_is_thresholded_at_the_background() -> None:
    prediction = make_label_map(evidence(), 1.0, 0.4, None, None)
    # class index 4 has the id 5; 0.5, 1 and 3 lie above 0.4
    assert prediction.before.tolist() == [[0, 0, 5], [5, 5, 0]]
    assert prediction.before.dtype == np.uint8
    assert prediction.after.tolist() == prediction.before.tolist()


def test_the_exponent_moves_the_threshold() -> None:
    # 0.2 ^ 0.5 = 0.447 > 0.4: as if thresholded at 0.4 ^ (1 / 0.5) = 0.16
    assert make_label_map(evidence(), 0.5, 0.4, None, None).before.tolist() == [[0, 5, 5], [5, 5, 0]]
    assert make_label_map(evidence(), 3.0, 0.4, None, None).before.tolist() == [[0, 0, 0], [5, 5, 0]]  # 0.5 ^ 3 = 0.125


def test_several_classes_compete_with_the_background_and_each_other() -> None:
    prediction = make_label_map(evidence(), 1.0, 0.45, 0.3, None)  # the third class, 0.05, is left out
    # (0, 2): both 0.5, the more probable wins; (1, 1): both clipped to 1, likewise
    assert prediction.before.tolist() == [[1, 0, 5], [5, 5, 0]]
    everyone = make_label_map(evidence(), 1.0, 0.45, 0.0, None)
    assert everyone.before.tolist() == [[1, 3, 5], [5, 5, 0]]


def test_a_tie_with_the_background_is_background() -> None:
    assert make_label_map(evidence(), 1.0, 0.5, None, None).before.tolist() == [[0, 0, 0], [5, 5, 0]]


def test_the_crf_is_given_shares_that_add_up_to_1() -> None:
    crf = Recorder()
    prediction = make_label_map(evidence(), 1.0, 0.5, 0.3, crf)
    scores = np.array([np.full((2, 3), 0.5), np.clip(FIRST, 0, 1), SECOND])
    np.testing.assert_allclose(crf.given, scores / scores.sum(axis=0), rtol=1e-6)
    assert crf.given.dtype == np.float32
    assert prediction.after.tolist() == prediction.before.tolist()  # the largest share is the largest score


def test_what_the_crf_predictions_is_turned_to_class_ids() -> None:
    marginals = np.zeros((3, 2, 3), np.float32)
    marginals[0, 0], marginals[1, 1], marginals[2, :, 2] = 0.9, 0.9, 1.0
    prediction = make_label_map(evidence(), 1.0, 0.5, 0.3, Recorder(marginals))
    assert prediction.after.tolist() == [[0, 0, 1], [5, 5, 1]]
    assert prediction.before.tolist() != prediction.after.tolist()


def test_the_largest_class_id_fits() -> None:
    many = Evidence(np.ones((1, 1, 2), np.float32), np.array([199], np.int32), np.array([1.0], np.float32))
    assert make_label_map(many, 1.0, 0.5, None, None).before.tolist() == [[200, 200]]


@pytest.mark.parametrize(
    ("probabilities", "least", "expected"),
    [
        ((0.5, 0.3, 0.05), None, [0]),
        ((0.5, 0.3, 0.05), 0.0, [0, 1, 2]),
        ((0.5, 0.25, 0.05), 0.25, [0, 1]),  # reaching it is enough
        ((0.5, 0.3, 0.05), 0.9, [0]),  # the most probable always stays
        ((0.1, 0.9, 0.05), 0.5, [0, 1]),  # known labels may come in front of more probable classes
        ((0.5, 0.3, 0.05), 1.0, [0]),
    ],
)
def test_present_classes(probabilities: tuple[float, ...], least: float | None, expected: list[int]) -> None:
    assert present_classes(np.array(probabilities, np.float32), least).tolist() == expected


# --- the background of each pixel ------------------------------------------------------------------------------------

MAPS = arrays(np.float32, st.tuples(st.integers(1, 4), st.just(2), st.just(3)), elements=st.floats(-1, 2, width=32))


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (1.0, [[0, 0, 0], [5, 5, 0]]),  # 1 - 0.5 = 0.5: a tie is background
        (2.0, [[0, 0, 5], [5, 5, 0]]),  # (1 - 0.5)^2 = 0.25 < 0.5, (1 - 0.2)^2 = 0.64 > 0.2
        (8.0, [[0, 5, 5], [5, 5, 0]]),  # 0.8^8 = 0.17 < 0.2; where the map is 0, nothing beats 1
    ],
)
def test_the_background_is_what_the_largest_map_leaves(alpha: float, expected: list[list[int]]) -> None:
    prediction = make_label_map(evidence(), 1.0, 0.45, None, None, background_exponent=alpha)
    assert prediction.before.tolist() == prediction.after.tolist() == expected


def test_the_exponent_of_the_classes_leaves_the_background_alone() -> None:
    """And so do classes that are left out: the third map is the largest at (0, 1)."""
    crf = Recorder()
    make_label_map(evidence(), 0.5, 0.45, 0.3, crf, background_exponent=3.0)
    first, second = np.clip(FIRST, 0, 1), np.clip(SECOND, 0, 1)
    scores = np.stack([(1 - np.maximum(first, second)) ** 3, first**0.5, second**0.5])
    np.testing.assert_allclose(crf.given, scores / scores.sum(axis=0), rtol=1e-5)
    assert crf.given.dtype == np.float32


@settings(deadline=None)
@given(MAPS, st.floats(0.3, 3), st.floats(0.1, 4), st.floats(1, 8))
def test_probabilities_add_up_and_a_larger_exponent_leaves_less_background(
    maps: Floats, exponent: float, alpha: float, more: float
) -> None:
    found = class_probabilities(maps, exponent, 0.45, alpha)
    assert found.shape == (1 + len(maps), 2, 3)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    assert (found[0][maps.max(axis=0) >= 1] == 0).all()
    assert (found[0][maps.max(axis=0) <= 0] == 1).all()
    assert (class_probabilities(maps, exponent, 0.45, alpha + more)[0] <= found[0] + 1e-6).all()


@settings(deadline=None)
@given(MAPS, st.floats(0.3, 3), st.floats(0.05, 0.95))
def test_exponent_0_is_the_fixed_score_bit_for_bit(maps: Floats, exponent: float, background: float) -> None:
    scores = np.clip(maps, 0.0, 1.0) ** exponent
    scores = np.concatenate([np.full_like(scores[:1], background), scores])
    expected = scores / scores.sum(axis=0, keepdims=True)
    assert class_probabilities(maps, exponent, background, 0.0).tobytes() == expected.tobytes()


# --- averages over neighbors, before the CRF -------------------------------------------------------------------------


def halved(probabilities: Floats) -> Floats:
    """Stands for averages over neighbors: half of what is not background."""
    return np.concatenate([1 - (1 - probabilities[:1]) / 2, probabilities[1:] / 2])


def test_the_crf_starts_from_smoothed_probabilities_in_both_tracks() -> None:
    crf = Recorder()
    scores = make_score_map(evidence(), 2.0, crf, halved)
    expected = np.array([[0.0, 0.02, 0.125], [0.5, 0.5, 0.0]], np.float32)  # half of the square
    np.testing.assert_allclose(crf.given, np.stack([1 - expected, expected]), atol=1e-7)
    assert scores.before.tolist() == scores.after.tolist() == [[0, 5, 32], [128, 128, 0]]  # 127.5 rounds to even
    labels = make_label_map(evidence(), 1.0, 0.4, None, crf, smooth=halved)
    shares = 0.5 * np.clip(FIRST, 0, 1) / (0.4 + np.clip(FIRST, 0, 1))
    np.testing.assert_allclose(crf.given, np.stack([1 - shares, shares]), atol=1e-6)
    assert labels.before.tolist() == [[0, 0, 0], [0, 0, 0]]  # half of a share is never more than the rest


@pytest.mark.parametrize("output", ["score_map", "label_map"])
def test_without_the_crf_the_smoothed_probabilities_are_the_prediction(output: str) -> None:
    chosen = refine_settings(output=output, exponent=1.0, background=0.45, min_probability=0.3)
    found = predict_image(evidence(), chosen, None, lambda given: given[:, ::-1, ::-1].copy())
    turned = [[0, 255, 255], [128, 51, 0]] if output == "score_map" else [[0, 5, 5], [5, 0, 1]]
    assert found.before.tolist() == found.after.tolist() == turned


# --- targets of two backgrounds --------------------------------------------------------------------------------------


def known(**changes: Any) -> Evidence:
    """Two classes that are the image's labels, the second one improbable."""
    return replace(evidence((4, 0), (0.5, 0.01)), known=True, **changes)


def test_a_target_has_what_two_backgrounds_agree_on() -> None:
    """(0, 2): 0.5 lies between 0.3 and 0.6; the second class is there, however improbable."""
    assert make_target(known(), 1.0, 0.3, 0.6, None).tolist() == [[1, 0, 255], [5, 5, 0]]
    assert make_target(known(), 1.0, 0.6, 0.7, None).tolist() == [[1, 0, 0], [5, 5, 0]]
    assert make_target(known(), 1.0, 0.05, 0.95, None).tolist() == [[255, 255, 255], [5, 5, 0]]
    assert make_target(known(), 0.5, 0.3, 0.6, None).tolist() == [[1, 255, 5], [5, 5, 0]]  # 0.45 and 0.71
    assert make_target(known(), 1.0, 0.3, 0.6, None).dtype == np.uint8


def test_a_target_is_ignored_wherever_the_two_crfs_differ() -> None:
    """Columns: both the same class; two classes; background with the low score only; with the high score only."""
    loose, strict = np.array([5, 5, 0, 5], np.uint8), np.array([5, 1, 5, 0], np.uint8)
    marginals = {0.3: loose, 0.6: strict}

    def crf(probabilities: Floats) -> Floats:
        background = 0.3 if probabilities[0, 0, 0] < 0.5 else 0.6  # of a map of 0.45
        ids = np.array([0, 5, 1])
        return (marginals[background][None, None] == ids[:, None, None]).astype(np.float32)

    one = known(scaled=np.stack([np.full((1, 4), 0.45, np.float32), np.zeros((1, 4), np.float32)]))
    assert make_target(one, 1.0, 0.3, 0.6, crf).tolist() == [[5, 255, 255, 255]]


@settings(deadline=None)
@given(
    arrays(np.int8, (2, 3, 4), elements=st.integers(-8, 20)),  # eighths: scores are equal or clearly different
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.5),
)
def test_a_target_is_ignored_or_says_what_any_background_between_says(
    eighths: NDArray[np.int8], low: float, width: float
) -> None:
    given = known(scaled=(eighths / 8).astype(np.float32))
    target = make_target(given, 0.7, low, low + width, None)
    between = make_label_map(given, 0.7, low + width / 2, 0.0, None).after
    assert ((target == 255) | (target == between)).all()


def test_a_target_is_made_of_known_classes_where_it_is_asked_for() -> None:
    common = {"output": "label_map", "exponent": 1.0, "background": 0.45, "background_exponent": 2.0}
    plain, asked = (refine_settings(**common, target_backgrounds=pair) for pair in ([], [0.3, 0.6]))
    found = predict_image(known(), asked, None)
    assert found.target is not None
    assert found.target.tolist() == [[1, 0, 255], [5, 5, 0]]  # by its own scores, whatever the background's exponent is
    for name in ("before", "after", "foreground"):
        np.testing.assert_array_equal(getattr(found, name), getattr(predict_image(known(), plain, None), name))
    assert predict_image(known(), plain, None).target is None
    assert predict_image(evidence(), asked, None).target is None
    smooth = predict_image(known(), asked, None, halved).target
    assert smooth is not None
    assert smooth.tolist() == [[0, 0, 0], [0, 0, 0]]


# --- settings --------------------------------------------------------------------------------------------------------


def test_decode_follows_the_settings() -> None:
    common = {"exponent": 1.0, "background": 0.45, "min_probability": 0.3}
    foreground = predict_image(evidence(), refine_settings(output="score_map", **common), None)
    one = predict_image(evidence(), refine_settings(output="label_map_one_class", **common), None)
    several = predict_image(evidence(), refine_settings(output="label_map", **common), None)
    assert foreground.before.tolist() == [[0, 51, 128], [255, 255, 0]]
    assert one.before.tolist() == [[0, 0, 5], [5, 5, 0]]
    assert several.before.tolist() == [[1, 0, 5], [5, 5, 0]]


@pytest.mark.parametrize("output", ["score_map", "label_map_one_class", "label_map"])
def test_a_decoder_leaves_its_evidence_alone(output: str) -> None:
    given = evidence()
    predict_image(given, refine_settings(output=output), Recorder())
    np.testing.assert_array_equal(given.scaled, evidence().scaled)


def test_a_map_that_is_no_number_is_an_error() -> None:
    broken = evidence()
    broken.scaled[0, 1, 2] = np.nan
    with pytest.raises(MapError, match="expected scores in"):
        make_score_map(broken, 1.0, None)
