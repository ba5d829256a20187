"""What the numbers of the diagnosis say in words."""

import pytest

from pipeline.evaluate.diagnostics_text import conclude, say


def _values():
    """Numbers as `diagnose` leaves them, those that the words need."""

    def mean(value):
        return {"mean": value, "spread": 0.1, "images": 3}

    p2 = {"density_positive": mean(4.0), "density_negative": mean(1.5), "negative_weights": 0.25}
    return {
        "pooling": "gap",
        "p1": {"area_percentiles": {"10": 0.01, "90": 0.5}, "correlation_positive": -0.25},
        "p2": {**p2, "separation_keep": mean(0.8), "separation_clamp": mean(0.9)},
        "p3": {
            "top_overlap": mean(0.2),
            "positions_of_half": mean(0.05),
            "standards": [{"percentile": 90.0, "peak_iou": 0.6}, {"percentile": 100.0, "peak_iou": 0.5}],
        },
    }


def test_all_three_are_said():
    assert say(_values()) == {
        "p1": "One channel in ten is active on at most 1% of the cells, one in ten on at least 50%. Rank "
        "correlation of area and positive weight, trained with GAP: -0.25, so small regions get larger weights, "
        "which TAP is meant to correct.",
        "p2": "25% of the weights are negative. Positive evidence is 4.00 times as dense on the object as beside it, "
        "negative 1.50 times: it is taken away from the object. Pixel-level ROC AUC, object against background, on "
        "feature cells: 0.800 with all weights, 0.900 with the negative ones clamped: NWC helps here.",
        "p3": "The strongest regions of 20% of the positively weighted channels share one cell; 5% of the "
        "cells hold half of all maxima. Best standard without the CRF: percentile 90 with 0.600; the maximum "
        "reaches 0.500.",
    }


@pytest.mark.parametrize(
    ("correlation", "pooling", "words"),
    [
        (None, "gap", "No correlation of area and weight is defined."),
        (0.25, "gap", "so small regions do not get larger weights here."),
        (-0.25, "tap", "so small regions get larger weights, TAP or not."),
    ],
)
def test_words_about_areas(correlation, pooling, words):
    values = {**_values(), "pooling": pooling}
    values["p1"]["correlation_positive"] = correlation
    assert say(values)["p1"].endswith(words)


@pytest.mark.parametrize(
    ("negative", "clamp", "source", "verdict"),
    [(1.5, 0.9, "object", "helps"), (0.5, 0.7, "background", "costs"), (0.5, 0.8, "background", "changes nothing")],
)
def test_words_about_negative_weights(negative, clamp, source, verdict):
    values = _values()
    values["p2"]["density_negative"]["mean"], values["p2"]["separation_clamp"]["mean"] = negative, clamp
    assert f"taken away from the {source}" in say(values)["p2"]
    assert f"NWC {verdict} here" in say(values)["p2"]


def test_what_is_not_defined_is_said():
    values = _values()
    values["p2"]["separation_keep"]["mean"] = None
    values["p3"] = {"top_overlap": {"mean": None}, "positions_of_half": {"mean": None}, "standards": []}
    words = say(values)
    assert words["p2"] == (
        "25% of the weights are negative. The sample has too little object or background to say more."
    )
    assert words["p3"] == "No stored map to compare standards by."


def test_what_follows_is_said_in_a_few_words():
    values = _values()
    assert conclude(values) == {
        "p1": "Small regions get larger weights here.",
        "p2": "NWC helps here.",
        "p3": "The best standard here is percentile 90.",
    }
    values["p1"]["correlation_positive"] = 0.25
    values["p2"]["separation_clamp"]["mean"] = 0.7
    values["p3"]["standards"][1]["peak_iou"] = 0.7
    assert conclude(values) == {
        "p1": "Small regions do not get larger weights here.",
        "p2": "NWC costs here.",
        "p3": "The best standard here is the maximum.",
    }


def test_nothing_follows_from_no_numbers():
    values = _values()
    values["p1"]["correlation_positive"] = values["p2"]["separation_keep"]["mean"] = None
    values["p3"]["standards"] = []
    assert conclude(values) == {"p1": "", "p2": "", "p3": ""}
