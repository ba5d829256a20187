"""Trials give what the stages refine and evaluate give, also where they share a lattice."""

from dataclasses import replace

import pytest

from pipeline.core.errors import ScoreError
from pipeline.core.manifest import read_manifest
from pipeline.core.tracks import get_track
from pipeline.evaluate.run import evaluate
from pipeline.evaluate.scorer import Context
from pipeline.experiments.scoring import Scoring, Trial, measure
from pipeline.params.check import check
from pipeline.refine.run import refine


def _judge(run):
    settings = check(run.params)[run.track]
    manifest = read_manifest(run.folder / "data" / "manifest")
    return (
        Scoring(get_track(run.track), Context(settings["evaluate"], manifest.classes, manifest.mask_kind)),
        settings,
        manifest,
    )


@pytest.mark.parametrize(("track", "score"), [("track1", "mean_iou"), ("track3", "peak_iou")])
def test_a_trial_scores_what_the_stages_score(make_run, tmp_path, track, score):
    run = make_run(track)
    scoring, settings, manifest = _judge(run)
    data = run.folder / "data"
    refine(manifest, data / "maps", tmp_path / "refined", settings["refine"])
    metrics = evaluate(
        data / "manifest", data / "maps", tmp_path / "refined", tmp_path / "out", settings["evaluate"], get_track(track)
    )
    off = replace(settings["refine"], crf=replace(settings["refine"].crf, enabled=False))
    trials = [Trial(data / "maps", 90.0, settings["refine"]), Trial(data / "maps", 90.0, off)]
    found = measure(scoring, list(manifest.select("val")), trials, jobs=1, title="test")
    assert [one.value for one in found] == [metrics[score], metrics["before_crf"][score]]
    assert metrics[score] > 0.1  # not equal because both are nothing
    assert found[0].threshold == metrics.get("peak_threshold")


def test_trials_together_and_in_processes_score_as_each_alone(make_run):
    run = make_run(val=6)
    scoring, settings, manifest = _judge(run)
    records = list(manifest.select("val"))
    maps = run.folder / "data" / "maps"
    trials = [
        Trial(maps, percentile, replace(settings["refine"], exponent=exponent))
        for percentile in (80.0, 90.0, 100.0)
        for exponent in (0.5, 1.0)
    ]
    alone = [measure(scoring, records, [trial], 1, "alone")[0] for trial in trials]
    assert measure(scoring, records, trials, 1, "together") == alone
    assert measure(scoring, records, trials, 2, "in processes") == alone
    assert len({one.value for one in alone}) > 1


def test_images_of_another_split_are_refused(make_run):
    run = make_run()
    scoring, settings, manifest = _judge(run)
    trial = Trial(run.folder / "data" / "maps", 90.0, settings["refine"])
    with pytest.raises(ScoreError, match=r"expected images of split val, got \['test_6'"):
        measure(scoring, list(manifest), [trial], 1, "all")
