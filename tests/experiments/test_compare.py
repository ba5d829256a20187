"""From hand-made scores of all runs to the numbers, files and figures of the ablation."""

import json
from pathlib import Path

import cv2
import pytest
from support.ablation import WORTH, collected

from pipeline.core.errors import ScoreError, StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.summary import summarize
from pipeline.experiments import compare as module
from pipeline.experiments.ablation_rows import grid
from pipeline.experiments.ablation_tables import ScoredRow
from pipeline.experiments.compare import add_gains, compare, part_gains

FILES = ("results.json", "table.csv", "table.md", "figure.svg", "strip.png")


def _row(parts: tuple[bool, ...], *values: float) -> ScoredRow:
    return ScoredRow("a row", parts, "score_map", None, {"x": summarize(values)})


def test_rows_without_crf_come_from_before_crf(ablation: Path) -> None:
    rows = collected(ablation).groups["additive"]
    assert [row.scores["peak_iou"].values[0] for row in rows] == pytest.approx([0.4, 0.42, 0.46, 0.54, 0.7])
    assert [row.scores["peak_iou"].values[1] for row in rows] == pytest.approx([0.41, 0.43, 0.47, 0.55, 0.71])
    assert [row.parts[0] for row in rows] == [False, True, True, True, True]


def test_gains_are_paired_by_seed(ablation: Path) -> None:
    rows = collected(ablation).groups["additive"]
    gains = [row.gain for row in rows]
    assert gains[0] is None
    assert [gain.mean for gain in gains[1:]] == pytest.approx([0.02, 0.04, 0.08, 0.16])
    assert all(gain.spread == pytest.approx(0, abs=1e-12) for gain in gains[1:])  # both seeds gain the same
    assert rows[0].scores["peak_iou"].spread == pytest.approx(0.01 / 2**0.5)


def test_a_gain_is_the_difference_to_the_row_before() -> None:
    first, second, third = add_gains([_row((False,), 1, 2), _row((True,), 4, 3), _row((True,), 0, 0)], "x")
    assert first.gain is None
    assert (second.gain, third.gain) == (summarize([3, 1]), summarize([-4, -3]))


def test_the_grid_gives_back_what_each_part_is_worth(ablation: Path) -> None:
    for part, gain in collected(ablation).parts.items():
        assert (gain.mean, gain.smallest, gain.largest) == pytest.approx((WORTH[part],) * 3)


def test_part_gains_average_over_the_combinations_of_the_others() -> None:
    rows = [_row(row.parts, float(row.parts == (True,) * 4)) for row in grid("score_map")]
    for gain in part_gains(rows, "x").values():  # each part counts only where all others are on: 1 of 8 combinations
        assert (gain.mean, gain.smallest, gain.largest) == (1 / 8, 0, 1)


def test_a_score_that_is_null_in_every_run_is_left_out(ablation: Path) -> None:
    rows = [row for rows in collected(ablation).groups.values() for row in rows]
    assert {key for row in rows for key in row.scores} == {"peak_iou", "peak_iou_mean", "peak_threshold"}


def test_equal_scores_give_equal_files(ablation: Path) -> None:
    def files() -> dict[str, bytes]:
        compare(ablation)
        return {name: (ablation / name).read_bytes() for name in FILES}

    first = files()
    assert first == files()
    assert first["figure.svg"].startswith(b"<?xml")
    assert json.loads(first["results.json"])["seeds"] == [0, 1]


def test_results_as_json_are_by_name(ablation: Path) -> None:
    compare(ablation)
    results = read_json(ablation / "results.json")
    row = results["groups"]["additive"][1]
    assert row["scores"]["peak_threshold"] == {"mean": 100.5, "spread": pytest.approx(0.5**0.5), "values": [100, 101]}
    assert row["gain"]["mean"] == pytest.approx(0.02)
    assert "gain" not in results["groups"]["additive"][0]
    assert results["parts"]["TAP"]["largest"] == pytest.approx(WORTH["TAP"])


def test_the_strip_has_a_column_for_each_row(ablation: Path) -> None:
    compare(ablation)
    strip = cv2.imread(str(ablation / "strip.png"))
    columns = 2 + 5
    assert strip.shape == (2 * 160, columns * 160, 3)
    cells = strip.reshape(2, 160, columns, 160, 3)
    assert (cells.std(axis=(1, 3, 4)) > 10).all()  # every cell of both rows has an image on white
    assert len({cells[0, :, n].tobytes() for n in (0, 1, 2, 3)}) == 4  # image, truth, before and after the CRF


def test_nothing_scored_is_an_error(ablation: Path) -> None:
    for path in (ablation / "scores").glob("*/metrics.json"):
        write_json(path, {"peak_iou": None, "before_crf": {"peak_iou": None}, "images": 0, "note": "no mask"})
    with pytest.raises(ScoreError, match="expected scores, got none: no mask"):
        collected(ablation)


def test_a_plan_of_another_version_is_an_error(ablation: Path) -> None:
    plan = read_json(ablation / "plan.json")
    del plan["groups"]["additive"][0]["crf"]
    write_json(ablation / "plan.json", plan)
    with pytest.raises(StoreError, match=r"plan\.json: groups\.additive\.0\.crf: expected Plan"):
        collected(ablation)


def test_the_rows_without_the_crf_are_read_off_the_same_runs(ablation: Path) -> None:
    groups = collected(ablation).groups
    rows = groups["without_crf"]
    assert [row.title for row in rows] == ["CAM", "+ PaS", "+ NWC", "+ TAP"]
    assert [row.gain.mean for row in rows[1:]] == pytest.approx([WORTH["PaS"], WORTH["NWC"], WORTH["TAP"]])
    assert rows[0].scores == groups["additive"][0].scores


def test_accuracy_and_diagnosis_are_those_of_the_first_and_the_last_row(ablation: Path) -> None:
    results = collected(ablation)
    assert results.classification_accuracy["TAP"].values == (0.5, 0.75)
    assert results.why["GAP"]["p2.density_negative"].values == (1.0, 2.0)
    assert results.why["TAP"]["p2.density_negative"].mean == 2.5
    assert results.why["GAP"]["p1.area_percentiles.90"].values == (0.875, 0.875)
    assert "p1.correlation_positive" not in results.why["GAP"]  # not defined with either seed


def test_a_set_without_diagnosis_says_nothing_of_why(ablation: Path) -> None:
    for path in ablation.glob("scores/*/diagnostics.json"):
        write_json(path, {"note": "nothing to look at"})
    assert collected(ablation).why == {}


@pytest.mark.parametrize(
    ("facts", "threshold", "column"),
    [
        ({}, 100, "after_crf"),
        ({"average": "pooled", "comparison": ">="}, 100, "after_crf"),
        ({"comparison": ">"}, 101, "after_crf"),  # {score > 100} has the border of {score >= 101}
        ({"average": "mean"}, 7, "after_crf_mean"),  # per_image.csv is of the pooled peak
    ],
)
def test_figures_show_the_reading_that_ranks(ablation: Path, monkeypatch, facts, threshold, column) -> None:
    for path in ablation.glob("scores/*/metrics.json"):
        write_json(path, {**read_json(path), **facts})
        peak = [[f"{t}", "0.5", f"{0.9 if t == 7 else 0.1}", "0.25", "0.75"] for t in range(256)]
        header = ["threshold", "before_crf", "after_crf", "before_crf_mean", "after_crf_mean"]
        (path.parent / "table.csv").write_text("\n".join(",".join(row) for row in [header, *peak]))
    drawn = {}
    monkeypatch.setattr(module, "curves", lambda lines: drawn.setdefault("lines", lines) and b"")
    monkeypatch.setattr(module, "strip", lambda manifest, track, columns, images: drawn.update(columns=columns) or b"")
    compare(ablation)
    assert drawn["columns"][-1].threshold == threshold
    (_, seeds) = drawn["lines"][-1]
    assert seeds[0][8] == {"after_crf": 0.1, "after_crf_mean": 0.75}[column]
    assert drawn["lines"][0][1][0][8] == {"after_crf": 0.5, "after_crf_mean": 0.25}[column]  # CAM: before the CRF
