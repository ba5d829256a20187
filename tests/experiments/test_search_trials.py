"""A trial has the score of the chain; other maps are made once; what a score depends on is in its key."""

import pytest

from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.evaluate.run import evaluate
from pipeline.experiments import search_trials
from pipeline.experiments.search_space import make_space
from pipeline.experiments.search_trials import prepare
from pipeline.extract.rescale import rescale
from pipeline.params.check import check
from pipeline.refine.run import refine


def _prepare(made, most=0):
    return prepare(made.params, get_track(made.track), made.folder / "data", most, seed=0)


def _start(scoring):
    return make_space(scoring.values["tracks"][scoring.track.name], scoring.track, {}).start


@pytest.mark.parametrize(("track", "score"), [("track1", "mean_iou"), ("track3", "peak_iou")])
def test_a_trial_has_the_score_of_the_stages(make_run, tmp_path, track, score):
    made = make_run(track)
    scoring, settings = _prepare(made), check(made.params)[track]
    data, task = made.folder / "data", get_track(track)
    manifest = read_manifest(data / "manifest")
    rescale(manifest, data / "maps" / "val", tmp_path / "max", "max", 100.0)
    found = {}
    for name, maps in (("recipe", data / "maps"), ("maximum", tmp_path / "max")):
        refine(manifest, maps, tmp_path / name, settings["refine"])
        found[name] = evaluate(data / "manifest", maps, tmp_path / name, tmp_path / "out", settings["evaluate"], task)
    start = _start(scoring)
    points = {
        found["recipe"][score]: start,
        found["recipe"]["before_crf"][score]: {**start, "refine.crf.iterations": 0},
        found["maximum"][score]: {**start, "extract.percentile": 100.0},
    }
    assert {value: scoring.score(point)[0] for value, point in points.items()} == {value: value for value in points}
    assert len(points) == 3  # three different scores
    assert min(points) > 0.1
    assert scoring.score(start)[1] == found["recipe"].get("peak_threshold")


def test_maps_are_made_once_and_of_the_chosen_images_alone(make_run, monkeypatch):
    scoring = _prepare(make_run(val=6), 4)
    start = _start(scoring)
    points = [{**start, "extract.flip": True}, {**start, "extract.flip": True, "refine.exponent": 2.0}]
    scores = [scoring.score(point) for point in points]
    (folder,) = scoring.scratch.glob("extracted-*")
    chosen = read_manifest(scoring.manifest).ids()
    assert len(chosen) == 4
    assert sorted(Store(folder / "val").ids) == sorted(chosen)
    monkeypatch.setattr(search_trials, "extract", lambda *_: pytest.fail("extracted again"))
    monkeypatch.setattr(search_trials, "rescale", lambda *_: pytest.fail("scaled again"))
    assert [scoring.score(point) for point in points] == scores


def test_the_key_is_another_one_for_other_truth_maps_code_params_and_images(make_run, monkeypatch):
    made = make_run()
    data, text = made.folder / "data", made.params.read_text()
    keys = [_prepare(made).key]
    assert _prepare(made).key == keys[0]
    keys.append(_prepare(made, 3).key)
    made.params.write_text(text.replace("jobs: 1", "jobs: 2"))
    assert _prepare(made).key == keys[0]  # how the work is divided has no part in a score
    made.params.write_text(text.replace("iterations: 2", "iterations: 4"))
    keys.append(_prepare(made).key)
    made.params.write_text(text)
    index = data / "maps" / "val" / "index.json"
    index.write_text(index.read_text().replace('"three"', '"four"'))
    keys.append(_prepare(made).key)
    manifest = read_manifest(data / "manifest")
    rows = [{**row, "mask": row["mask"] and "val_0_mask.png"} for row in manifest.table.to_pylist()]
    write_manifest(data / "manifest", from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    keys.append(_prepare(made).key)
    monkeypatch.setattr(search_trials, "code_digest", lambda: "another")
    keys.append(_prepare(made).key)
    assert len(set(keys)) == 6


def test_params_that_change_during_the_search_change_no_trial(make_run):
    made = make_run()
    scoring = _prepare(made)
    before = scoring.score(_start(scoring))
    made.params.write_text(made.params.read_text().replace("exponent: ", "exponent: 1"))
    assert scoring.score(_start(scoring)) == before


def test_images_without_truth_and_those_of_split_test_are_left_out(make_run):
    made = make_run(val=6, test=2)
    path = made.folder / "data" / "manifest"
    manifest = read_manifest(path)
    rows = [{**row, "mask": None if row["id"] == "val_2" else row["mask"] or "none.png"} for row in
            manifest.table.to_pylist()]  # fmt: skip
    write_manifest(path, from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    scoring = _prepare(made)
    assert read_manifest(scoring.manifest).ids() == ["val_0", "val_1", "val_3", "val_4", "val_5"]
    assert scoring.images == 5
