"""The registry describes what `evaluate` writes, no more and no less; docs and DVC name nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.evaluation import World
from support.helpers import ROOT

from pipeline.evaluate.metrics import BASELINES, COUNTS, METRICS, NOTES, columns_of, find, metrics_of, ranking

TASKS = ("localization", "segmentation")


def test_keys_stand_once() -> None:
    keys = [metric.key for metric in METRICS] + [*BASELINES, *COUNTS, *NOTES]
    assert len(keys) == len(set(keys))


def test_every_baseline_belongs_to_a_metric_and_has_a_name() -> None:
    assert {key for metric in METRICS for key in metric.baselines} == set(BASELINES)


@pytest.mark.parametrize("task", TASKS)
def test_the_ranking_score_is_a_column_with_a_reading_beside_it(task: str) -> None:
    first = ranking(task)
    assert next(iter(columns_of(task))) == first.key
    assert first.higher_is_better
    readings = [metric for metric in metrics_of(task) if metric.setting]
    assert len(readings) == 2  # pooled or mean; with background or without
    assert first not in readings


def test_only_thresholds_are_neither_better_nor_worse() -> None:
    neither = {metric.key for metric in METRICS if metric.higher_is_better is None}
    assert neither == {"peak_threshold", "gt_known_threshold"}
    assert {find(key).digits for key in neither} == {0}


@pytest.mark.parametrize("task", TASKS)
def test_evaluate_writes_these_keys_and_no_other(task: str, request: pytest.FixtureRequest) -> None:
    metrics = request.getfixturevalue(task).run()
    assert set(metrics) - {*COUNTS, *NOTES} == _scores(task) | _baselines(task)
    without_crf = _scores(task) - {"classification_accuracy"}  # the CRF does not classify
    assert set(metrics["before_crf"]) - set(NOTES) == without_crf


def test_every_count_and_note_is_written(localization: World, segmentation: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    noted = World(tmp_path / "empty", "track3", {}, "foreground")
    written = {*localization.run(), *segmentation.run(), *noted.run()}
    localization.student, localization.pseudo_labels = localization.refined, {"images": 1}
    written |= {*localization.run()}
    worse = {key: {**one, "before": one["after"], "after": one["before"]} for key, one in localization.refined.items()}
    localization.student = worse
    written |= {*localization.run()}
    assert {*COUNTS, *NOTES} <= written


def _scores(task: str) -> set[str]:
    return {metric.key for metric in metrics_of(task)}


def _baselines(task: str) -> set[str]:
    return {key for metric in metrics_of(task) for key in metric.baselines}


@pytest.mark.parametrize(("task", "track"), [("localization", "Track 3"), ("segmentation", "Track 1")])
def test_architecture_lists_every_score_and_no_other(task: str, track: str) -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    own, both = (_item(page, start) for start in (f"- `metrics.json`, {track}:", "- In both:"))
    named = set(re.findall(r"`(\w+)`", own + both)) - {*COUNTS, *NOTES}
    assert named == _scores(task) | _baselines(task)


def _item(page: str, start: str) -> str:
    """One item of a list, from its first words to the next item."""
    return page.partition(start)[2].partition("\n- ")[0]


def test_dvc_shows_files_that_evaluate_writes() -> None:
    chain = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())
    outs = {
        out.replace("${item.track}", track)
        for out in chain["stages"]["evaluate"]["outs"]
        for track in ("track1", "track3")
    }
    plots = {path for entry in chain["plots"] for path in entry if path.startswith("reports/")}
    assert set(chain["metrics"]) == {out for out in outs if out.endswith("metrics.json")}
    assert plots <= outs


def test_dvc_shows_the_numbers_and_passes_over_lists(localization: World) -> None:
    """Intervals are lists, which `dvc metrics show` leaves out; if it ever fails on them, they need two keys."""
    metrics = localization.run()
    (localization.folder / "dvc.yaml").write_text("metrics: [report/metrics.json]\n")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=localization.folder, check=True)
    words = [*dvc, "metrics", "show", "--json"]
    shown = json.loads(subprocess.run(words, cwd=localization.folder, check=True, capture_output=True).stdout)
    found = shown[""]["data"]["report/metrics.json"]["data"]
    assert found["peak_iou"] == metrics["peak_iou"]
    assert found["before_crf"]["peak_iou"] == metrics["before_crf"]["peak_iou"]
    assert set(metrics) - set(found) == {"peak_iou_interval", "crf_gain_interval"}


def test_dvc_plots_columns_that_evaluate_writes(localization: World) -> None:
    localization.run()
    columns = set(localization.rows("table.csv")[0])
    chain = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())
    (plot,) = (entry["reports/track3/table.csv"] for entry in chain["plots"] if "reports/track3/table.csv" in entry)
    assert {plot["x"], *plot["y"]} <= columns
