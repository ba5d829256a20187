"""The numbers of the page: the ranking score beside what it is to be compared with, the other scores, the verdict."""

import dataclasses
import re

import pytest
from support.report_data import make_page

from pipeline.report.results import Results
from pipeline.report.scores import cards, class_counts, exact_sets, losses, pseudo_labels, verdict

CHALLENGE = {"preprocess": {"source": {"name": "ilsvrc_cls"}}}


def test_the_ranking_score_stands_beside_its_baselines_and_the_board(track3: Results) -> None:
    shown = verdict(track3)
    assert [(bar.name, bar.value) for bar in shown.bars] == [
        ("with CRF", 0.8125),
        ("without CRF", 0.5625),
        ("best centered disc", 0.4375),
        ("everything foreground", 0.3125),
        ("board 2020, another data set", 0.63),
        ("board 2021, another data set", 0.697),
    ]
    assert shown.about.endswith("pooled over the pixels of all images, reached at threshold 90")
    assert [card.name for card in cards(track3)] == ["Peak IoU, mean over images", "PxAP", "Classification accuracy"]


def test_on_the_challenge_s_images_the_board_is_of_its_test_images(track3: Results) -> None:
    shown = verdict(dataclasses.replace(track3, params=CHALLENGE))
    assert shown.bars[-1].name == "board 2021, test images"
    assert any("on its test images" in sentence for sentence in shown.sentences)
    assert not any("another data set" in sentence for sentence in shown.sentences)


def test_the_verdict_says_what_follows(track3: Results) -> None:
    ends = {"peak_iou_interval": [0.75, 0.84375], "crf_gain_interval": [0.125, 0.5]}
    first = {"first_stage": {"peak_iou": 0.6875, "before_crf": {"peak_iou": 0.5}}}
    shown = verdict(dataclasses.replace(track3, metrics={**track3.metrics, **ends, **first}))
    assert shown.interval == (0.75, 0.84375)
    assert shown.sentences == [
        "0.375 above the best prediction that looks at no pixel (best centered disc, 0.438).",
        "The CRF adds +0.250 (+0.125 to +0.500).",
        "The student changes the score of the first stage (0.688) by +0.125.",
        "The best published results of the challenge are 0.630 (2020), 0.697 (2021), but on another data set: these "
        "numbers are not to be compared with the ones above.",
        "Of the 0.188 that the IoU lacks to 1, the largest part (0.125) is lost to surplus pixels.",
    ]
    assert [bar.name for bar in shown.bars][:3] == ["with CRF", "without CRF", "first stage"]


def test_intervals_stand_on_the_page(track3: Results) -> None:
    plain = make_page(track3)
    assert "bootstrap over images" not in plain
    assert "The CRF adds +0.250." in plain
    ends = {"peak_iou_interval": [0.75, 0.84375], "crf_gain_interval": [-0.0625, 0.5]}
    page = make_page(dataclasses.replace(track3, metrics={**track3.metrics, **ends}))
    assert "<b>0.750 to 0.844</b>: 95 % interval, bootstrap over images" in page
    assert "The CRF changes +0.250 (−0.062 to +0.500): chance explains it." in page
    nothing = dict.fromkeys(ends)
    assert make_page(dataclasses.replace(track3, metrics={**track3.metrics, **nothing})) == plain


def test_losses_and_score_fill_the_bar(results: Results) -> None:
    parts = losses(results)
    score = 0.8125 if results.localizes else 0.6875
    assert score + sum(part.share for part in parts) == pytest.approx(1)
    names = ["missed", "surplus"] if results.localizes else ["missed", "false", "confused", "at borders"]
    assert [part.name for part in parts] == names
    assert losses(dataclasses.replace(results, metrics={"iou_lost": {"missed": None, "surplus": None}})) == []
    assert losses(dataclasses.replace(results, metrics={})) == []


def test_two_words_for_two_accuracies(results: Results) -> None:
    """Top class among the labels, and equal sets of classes; the chart's is of one view in training."""
    page = make_page(results)
    assert ("Exact class sets" in page) == (not results.localizes)
    assert "accuracy in training" in page
    assert exact_sets(results.per_image) == 1
    assert exact_sets([{"label": "", "predicted": "a"}]) is None


def count_row(classes: int, images: int, score: float, **more: float) -> dict[str, object]:
    return {"classes": classes, "images": images, "mean_iou": score, "mean_iou_before_crf": score - 0.125, **more}


def test_images_with_several_classes_stand_in_a_table(track1: Results) -> None:
    assert class_counts(track1) == []
    rows = [count_row(1, 5, 0.75), count_row(2, 3, 0.5), count_row(3, 1, 0.25)]
    several = {"images": 4, "mean_iou": 0.4375, "mean_iou_before_crf": 0.25}
    told = dataclasses.replace(track1, metrics={**track1.metrics, "by_class_count": rows, "several_classes": several})
    found = class_counts(told)
    assert [(row.classes, row.images, row.before, row.score) for row in found] == [
        ("1", 5, 0.625, 0.75), ("2", 3, 0.375, 0.5), ("3", 1, 0.125, 0.25), ("2 or more", 4, 0.25, 0.4375)
    ]  # fmt: skip
    page = re.sub(r"[ \n]+", " ", make_page(told))
    assert "Several classes in an image" in page
    assert ">2 or more</td>" in page
    assert "first stage</th>" not in page


def test_a_row_that_repeats_another_is_left_out(track1: Results) -> None:
    """With one or two classes, two or more are two; where all have the same number, the row is the score."""
    several = {"images": 3, "mean_iou": 0.5, "mean_iou_before_crf": 0.25}
    rows = [count_row(1, 5, 0.75, mean_iou_first_stage=0.5), count_row(2, 3, 0.5, mean_iou_first_stage=0.25)]
    two = dataclasses.replace(track1, metrics={**track1.metrics, "by_class_count": rows, "several_classes": several})
    assert [(row.classes, row.first_stage) for row in class_counts(two)] == [("1", 0.5), ("2", 0.25)]
    assert "first stage</th>" in make_page(two)
    for alone in (rows[:1], [count_row(0, 2, 0.5), *rows[:1]]):
        metrics = {**track1.metrics, "by_class_count": alone, "several_classes": None}
        one = dataclasses.replace(track1, metrics=metrics)
        assert class_counts(one) == []
        assert "Several classes" not in make_page(one)


def test_pseudo_labels_stand_in_a_table_of_their_own(results: Results) -> None:
    """Where there are some; a number that is not known is a dash."""
    assert pseudo_labels(results) is None
    assert "Pseudo labels" not in make_page(results)
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
    page = re.sub(r"[ \n]+", " ", make_page(with_table))
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
    assert "random walk" not in make_page(plain)
    table = pseudo_labels(with_walk)
    assert table is not None
    assert table.columns == ["without CRF", "with CRF", "random walk, with CRF"]
    assert table.rows[1:3] == [
        ("recall of the foreground", [0.25, 0.5, 0.75]),
        ("IoU of the foreground", [0.25, 0.5, None]),
    ]
    page = make_page(with_walk)
    assert '<th class="number">with CRF</th><th class="number">random walk, with CRF</th></tr>' in page
    cells = "".join(f'<td class="number">{text}</td>' for text in ("0.250", "0.500", "–"))
    assert f"<tr><td>IoU of the foreground</td>{cells}</tr>" in page
