"""Maps to predictions, by hand: who wins where, what ties do, and what the CRF is given."""

import numpy as np
import pytest
from numpy.typing import NDArray
from support.helpers import refine_settings

from pipeline.core.errors import MapError
from pipeline.refine.outputs import Evidence, make_label_map, make_score_map, predict_image, present_classes

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
