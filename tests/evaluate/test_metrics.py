"""The registry describes what `evaluate` writes, no more and no less; docs and DVC name nothing else."""

import re

import pytest
from ruamel.yaml import YAML
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
    readings = [metric for metric in metrics_of(task) if metric.reading]
    assert len(readings) == 2  # pooled or mean; with background or without
    assert first not in readings


def test_only_thresholds_are_neither_better_nor_worse() -> None:
    neither = {metric.key for metric in METRICS if metric.higher_is_better is None}
    assert neither == {"peak_threshold", "gt_known_threshold"}
    assert {find(key).digits for key in neither} == {0}


def test_architecture_lists_every_key() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`(\w+)`", page))
    assert [metric.key for metric in METRICS if metric.key not in words] == []


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
