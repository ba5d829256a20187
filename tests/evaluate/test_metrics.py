"""The registry describes what `evaluate` writes, no more and no less; docs and DVC name nothing else."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.evaluation import World
from support.helpers import ROOT

from pipeline.evaluate.metrics import (
    BASELINES,
    COUNTS,
    DVC_METRICS,
    METRICS,
    NOTES,
    columns_of,
    find,
    metrics_of,
    ranking,
)
from pipeline.train.state import Epoch

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


CHAIN = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())


def columns_of_plots() -> dict[str, set[str]]:
    """The columns that the plots of dvc.yaml read, by file; an axis without a file is a column of the other's file."""
    found: dict[str, set[str]] = {}
    for plot in (plot for entry in CHAIN["plots"] if isinstance(entry, dict) for plot in entry.values()):
        for path, names in plot["y"].items():
            x = plot["x"][path] if isinstance(plot["x"], dict) else plot["x"]
            found.setdefault(path, set()).update([x, *([names] if isinstance(names, str) else names)])
    return found


def test_dvc_shows_files_that_stages_write() -> None:
    entries = [entry.get("do", entry) for entry in CHAIN["stages"].values()]
    every = {out for entry in entries for out in entry["outs"]}
    outs = {out.replace("${item.track}", track) for out in every for track in ("track1", "track3")}
    assert set(CHAIN["metrics"]) == {out for out in outs if out.endswith("scores.json")}
    images = {entry for entry in CHAIN["plots"] if isinstance(entry, str)}
    assert {*images, *columns_of_plots()} <= outs


def test_every_plot_says_what_its_axes_are() -> None:
    plots = [plot for entry in CHAIN["plots"] if isinstance(entry, dict) for plot in entry.values()]
    assert all(plot.keys() >= {"x_label", "y_label"} for plot in plots)
    templates = {plot["template"] for plot in plots if "template" in plot}
    assert templates == {path.stem for path in (ROOT / ".dvc" / "plots").glob("*.json")}


def test_dvc_has_one_table_of_few_columns(localization: World) -> None:
    """All of them scores: no setting, no count, no name that both tracks have."""
    metrics = localization.run()
    scores = json.loads((localization.folder / "report" / "scores.json").read_text())
    assert scores["peak_iou"] == metrics["peak_iou"]
    assert scores["peak_iou_before_crf"] == metrics["before_crf"]["peak_iou"]
    assert len(scores) <= 5
    assert all(0 <= score <= 1 for score in scores.values())
    names = [{*DVC_METRICS[task], f"{ranking(task).key}_before_crf"} for task in ("localization", "segmentation")]
    assert not names[0] & names[1]


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


def test_dvc_plots_columns_that_evaluate_writes(localization: World, segmentation: World) -> None:
    for track, world in (("track3", localization), ("track1", segmentation)):
        world.run()
        for path, names in columns_of_plots().items():
            if path.startswith(f"reports/{track}/"):
                assert names <= set(world.rows(path.rpartition("/")[2])[0]), path


def test_dvc_plots_columns_of_a_history() -> None:
    wanted = [names for path, names in columns_of_plots().items() if path.endswith("history.csv")]
    assert wanted
    assert all(names <= {field.name for field in fields(Epoch)} for names in wanted)
