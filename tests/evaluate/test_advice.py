"""Steps that lower the score are named with their key; others are not."""

import json

from support.evaluation import localization_world

from pipeline.evaluate.advice import advice


def _metrics(here, before, first=None):
    found = {"peak_iou": here, "before_crf": {"peak_iou": before}}
    return {**found, "first_stage": {"peak_iou": first}} if first is not None else found


def test_a_chain_whose_steps_all_help_gets_no_advice():
    assert advice(_metrics(0.8, 0.6), "peak_iou") == []
    assert advice(_metrics(0.8, 0.8, 0.8), "peak_iou") == []  # equal is not lower


def test_the_key_is_that_of_the_stage_that_predicts():
    assert advice(_metrics(0.6, 0.625), "peak_iou") == [
        "the CRF lowers this score (0.625 without it): refine.crf.enabled false switches it off"
    ]
    assert advice(_metrics(0.6, 0.625, 0.5), "peak_iou") == [
        "the CRF lowers this score (0.625 without it): student.crf.enabled false switches it off"
    ]


def test_a_first_stage_that_is_better_is_named():
    assert advice(_metrics(0.6, 0.5, 0.625), "peak_iou") == [
        "the first stage scores higher (0.625): student.enabled false makes it the prediction"
    ]


def test_without_a_score_there_is_nothing_to_advise():
    assert advice(_metrics(None, None), "peak_iou") == []


def test_the_advice_stands_in_the_metrics(tmp_path):
    made = localization_world(tmp_path)
    for image_id, arrays in made.refined.items():
        made.refined[image_id] = {**arrays, "before": arrays["after"], "after": arrays["before"]}
    metrics = made.run()
    assert metrics["peak_iou"] < metrics["before_crf"]["peak_iou"]
    (told,) = json.loads((tmp_path / "report" / "metrics.json").read_text())["advice"]
    assert told.endswith("refine.crf.enabled false switches it off")
    assert "advice" not in localization_world(tmp_path / "fine").run()
