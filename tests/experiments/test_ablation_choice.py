"""Intervals of the rows, and what choosing one is worth; the images of a row have known scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.ablation import collected, write_counts
from support.evaluation import SETTINGS

from pipeline.core.errors import StoreError
from pipeline.core.summary import summarize
from pipeline.core.typed_json import read_typed
from pipeline.evaluate.image_counts import IMAGE_COUNTS
from pipeline.experiments.ablation_choice import RowScores, add_intervals, choose_row
from pipeline.experiments.ablation_rows import PLAN, Plan, additive_rows
from pipeline.experiments.ablation_tables import ScoredRow, choice_sentence


def scores_of(folder: Path, seeds: tuple[int, ...] = (0, 1)) -> RowScores:
    return RowScores(folder, seeds, "localization", SETTINGS)


def test_equal_images_have_an_interval_of_one_point(ablation: Path) -> None:
    rows = collected(ablation).groups["additive"]
    assert [row.interval for row in rows] == [
        pytest.approx((mean, mean)) for mean in (0.405, 0.425, 0.465, 0.545, 0.705)
    ]
    gains = [row.gain_interval for row in rows]
    assert gains[0] is None
    assert gains[1:] == [pytest.approx((gain, gain), abs=1e-9) for gain in (0.02, 0.04, 0.08, 0.16)]
    assert all(row.gain_interval is None for row in collected(ablation).groups["grid"])  # no row is before another


def test_a_gain_that_is_the_same_for_every_image_is_certain_where_the_scores_are_not(tmp_path: Path) -> None:
    first, *_, last = additive_rows("score_map")
    for row, more in ((first, 0.0), (last, 0.1)):
        write_counts(tmp_path / row.folder("scores", 0) / IMAGE_COUNTS, [0.2 + more, 0.6 + more], [0.3 + more] * 2)
    every = [scores_of(tmp_path, (0,))(replace(row, crf=False)) for row in (first, last)]
    score = summarize([0.0])
    scored = [ScoredRow("", (), "", None, {}, gain) for gain in (None, score)]
    before, after = add_intervals(scored, every, 2)
    assert (before.interval, after.interval) == (pytest.approx((0.2, 0.6)), pytest.approx((0.3, 0.7)))
    assert (before.gain_interval, after.gain_interval) == (None, pytest.approx((0.1, 0.1)))


def test_the_score_of_a_row_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    row = additive_rows("score_map")[0]
    for seed, iou in enumerate((0.2, 0.4)):
        write_counts(tmp_path / row.folder("scores", seed) / IMAGE_COUNTS, [iou, iou], [0.9, 0.9])
    assert scores_of(tmp_path)(row)(np.array([[1, 1]])).tolist() == [pytest.approx(0.3)]
    assert scores_of(tmp_path)(replace(row, crf=True))(np.array([[1, 1]])).tolist() == [pytest.approx(0.9)]


def test_two_images_are_too_few_to_divide(ablation: Path) -> None:
    assert collected(ablation).choice is None


def test_the_best_row_is_chosen_and_compared_with_the_whole_method(ablation: Path) -> None:
    """Every image is 0.1 better without the last part, with either seed."""
    plan = read_typed(Plan, ablation / PLAN)
    every = {row.folder("scores", seed) for rows in plan.groups.values() for row in rows for seed in plan.seeds}
    better = plan.groups["additive"][3]
    ious = np.linspace(0.2, 0.6, 8)
    for place in every:
        gain = 0.1 * any(place == better.folder("scores", seed) for seed in plan.seeds)
        write_counts(ablation / place / IMAGE_COUNTS, [0.1] * 8, list(ious + gain))
    choice = choose_row(plan, scores_of(ablation), 8)
    assert choice is not None
    assert choice.rows == 16
    assert "NWC" in choice.title
    assert "TAP" not in choice.title
    assert (choice.nested.score, choice.nested.nested) == pytest.approx((0.5, 0.5))
    assert choice.nested.gain_interval == pytest.approx((0.1, 0.1))
    told = choice_sentence(choice, "localization")
    assert told.startswith(f"Best of 16 rows: {choice.title}. peak IoU 0.5000 [")
    assert "+0.1000 [+0.100, +0.100] over the row with all parts; 100 % of the halves" in told


def test_missing_counts_name_the_stage_that_makes_them(ablation: Path) -> None:
    next(ablation.glob(f"scores/*/{IMAGE_COUNTS}")).unlink()
    with pytest.raises(StoreError, match="run `evaluate` again"):
        collected(ablation)
