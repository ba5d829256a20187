"""The numbers of the page: the ranking score beside baselines, every number in the table, classes in order."""

import dataclasses
import re
from pathlib import Path

from support.report_data import SETTINGS, make_results

from pipeline.report.results import Results
from pipeline.report.run import render
from pipeline.report.scores import class_table, headline, pseudo_labels


def test_headline_puts_the_ranking_score_beside_its_baselines(track3: Results) -> None:
    shown = headline(track3)
    assert [(bar.name, bar.value) for bar in shown.hero.bars] == [
        ("with CRF", 0.8125), ("without CRF", 0.5625), ("best centered disc", 0.4375), ("everything foreground",
                                                                                        0.3125),
    ]  # fmt: skip
    assert shown.hero.gain == "+0.250"
    assert shown.about.endswith("pooled over the pixels of all images, reached at threshold 90")
    assert [card.name for card in shown.cards] == [
        "Peak IoU, mean over images",
        "PxAP",
        "Classification accuracy",
    ]  # pooled is the hero


def test_intervals_stand_beside_the_ranking_score(track3: Results) -> None:
    plain = render(track3, SETTINGS)
    assert "confidence interval" not in plain
    assert "The CRF changed it by +0.250." in plain
    ends = {"peak_iou_interval": [0.75, 0.84375], "crf_gain_interval": [-0.0625, 0.5]}
    page = render(dataclasses.replace(track3, metrics={**track3.metrics, **ends}), SETTINGS)
    assert "<b>0.750 to 0.844</b>: 95 % confidence interval over images." in page
    assert "The CRF changed it by +0.250 (−0.062 to +0.500)." in page
    nothing = dict.fromkeys(ends)
    assert render(dataclasses.replace(track3, metrics={**track3.metrics, **nothing}), SETTINGS) == plain


def test_headline_names_the_first_stage_where_a_student_predicts(track3: Results) -> None:
    metrics = {**track3.metrics, "first_stage": {"peak_iou": 0.6875, "before_crf": {"peak_iou": 0.5}}}
    bars = headline(dataclasses.replace(track3, metrics=metrics)).hero.bars
    assert [(bar.name, bar.value) for bar in bars[:3]] == [
        ("with CRF", 0.8125),
        ("without CRF", 0.5625),
        ("first stage", 0.6875),
    ]


def test_pseudo_labels_stand_in_a_table_of_their_own(results: Results) -> None:
    """Where there are some; a number that is not known is a dash."""
    assert pseudo_labels(results) is None
    assert "Pseudo labels" not in render(results, SETTINGS)
    is_track1 = results.track.name == "track1"
    before = {"precision": 0.5, "recall": 0.25, "iou": 0.2, "ignored_share": None if is_track1 else 0.125}
    after = {"precision": 0.75, "recall": 0.625, "iou": 0.5185, "ignored_share": 0.375}
    if is_track1:
        before, after = {**before, "mean_iou": 0.3125}, {**after, "mean_iou": 0.4375}
    found = {"images": 4321, "images_without_truth": 5, "before": before, "after": after}
    with_table = dataclasses.replace(results, metrics={**results.metrics, "pseudo_labels": found})
    table = pseudo_labels(with_table)
    assert table is not None
    assert table.columns == ["without CRF", "with CRF"]
    assert ("precision of the foreground", [0.5, 0.75]) in table.rows
    assert len(table.rows) == len(after)
    page = re.sub(r"[ \n]+", " ", render(with_table, SETTINGS))
    assert "the truth of 4\u2009321 train images (5 more have none)" in page
    assert ("Foreground is every class" in page, "Foreground is p ≥ 0.5" in page) == (is_track1, not is_track1)
    ignored = f'<td class="number">{"–" if is_track1 else "0.125"}</td><td class="number">0.375</td>'
    assert f"<td>share of pixels that are no target</td>{ignored}" in page
    assert ('<td class="number">0.312</td><td class="number">0.438</td>' in page) == is_track1


def test_targets_that_have_walked_have_a_column_where_there_are_some(track3: Results) -> None:
    keys = ("precision", "recall", "iou", "ignored_share")
    before, after, walked = (dict.fromkeys(keys, value) for value in (0.25, 0.5, 0.75))
    found = {"images": 2, "images_without_truth": 0, "before": before, "after": after}
    plain, with_walk = (
        dataclasses.replace(track3, metrics={**track3.metrics, "pseudo_labels": told})
        for told in (found, {**found, "walked": {**walked, "iou": None}})
    )
    assert "random walk" not in render(plain, SETTINGS)
    table = pseudo_labels(with_walk)
    assert table is not None
    assert table.columns == ["without CRF", "with CRF", "random walk, with CRF"]
    assert table.rows[1:3] == [
        ("recall of the foreground", [0.25, 0.5, 0.75]),
        ("IoU of the foreground", [0.25, 0.5, None]),
    ]
    page = render(with_walk, SETTINGS)
    assert '<th class="number">with CRF</th><th class="number">random walk, with CRF</th></tr>' in page
    cells = "".join(f'<td class="number">{text}</td>' for text in ("0.250", "0.500", "–"))
    assert f"<tr><td>IoU of the foreground</td>{cells}</tr>" in page


def test_a_score_nobody_has_heard_of_is_in_the_table(track3: Results) -> None:
    assert ("brand_new_score", 0.123456, None) in headline(track3).numbers
    assert ("peak_iou", 0.8125, 0.5625) in headline(track3).numbers
    assert not any(key == "comparison" for key, _, _ in headline(track3).numbers)
    assert ">0.123456<" in render(track3, SETTINGS)


def test_classes_stand_from_best_to_worst_and_absent_ones_last(tmp_path: Path) -> None:
    rows = class_table(make_results(tmp_path / "images", "track1"))
    assert [(row.id, row.after) for row in rows] == [("2", 0.95), ("0", 0.9), ("1", None)]
