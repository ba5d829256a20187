"""A trial has the score of the chain; other maps are made once; what a score depends on is in its key."""

from dataclasses import replace

import pytest

from pipeline.core.manifest import from_rows, read_manifest, write_manifest
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.evaluate.run import evaluate
from pipeline.experiments import search_trials
from pipeline.experiments.search_space import make_space
from pipeline.experiments.search_trials import Run, make_once, prepare
from pipeline.extract.rescale import rescale
from pipeline.params.check import check
from pipeline.refine.run import refine


def _run(made) -> Run:
    data = made.folder / "data"
    return Run(made.params, made.track, data / "manifest", data / "maps" / "val", data / "model", data / "search")


def _start(scoring):
    return make_space(scoring.sections, get_track(scoring.run.track), {}).start


@pytest.mark.parametrize(("track", "score"), [("track1", "mean_iou"), ("track3", "peak_iou")])
def test_a_trial_has_the_score_of_the_stages(make_run, tmp_path, track, score):
    made = make_run(track)
    scoring, settings = prepare(_run(made), 0, 0), check(made.params)[track]
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
    assert {value: scoring.score(point).value for value, point in points.items()} == {value: value for value in points}
    assert len(points) == 3  # three different scores
    assert min(points) > 0.1
    assert scoring.score(start).threshold == found["recipe"].get("peak_threshold")


def test_maps_are_made_once_and_of_the_chosen_images_alone(make_run, monkeypatch):
    scoring = prepare(_run(make_run(val=6)), 4, 0)
    start = _start(scoring)
    points = [{**start, "extract.flip": True}, {**start, "extract.flip": True, "refine.exponent": 2.0}]
    scores = [scoring.score(point) for point in points]
    (folder,) = scoring.run.scratch.glob("extracted-*")
    chosen = read_manifest(scoring.manifest).ids()
    assert len(chosen) == 4
    assert sorted(Store(folder / "val").ids) == sorted(chosen)
    monkeypatch.setattr(search_trials, "extract", lambda *_: pytest.fail("extracted again"))
    monkeypatch.setattr(search_trials, "rescale", lambda *_: pytest.fail("scaled again"))
    assert [scoring.score(point) for point in points] == scores


def test_a_folder_that_another_process_made_meanwhile_is_used(tmp_path):
    def make(out):
        out.mkdir()
        (out / "a").write_text("ours")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "a").write_text("theirs")

    assert (make_once(tmp_path / "made", make) / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_could_not_be_finished_is_not_there(tmp_path):
    def fail(out):
        out.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path / "made", fail)
    assert not any(tmp_path.iterdir())


def test_the_key_is_another_one_for_other_truth_maps_code_params_and_images(make_run, monkeypatch):
    made = make_run()
    run = _run(made)
    keys = [prepare(run, 0, 0).key]
    assert prepare(run, 0, 0).key == keys[0]
    keys.append(prepare(run, 3, 0).key)
    text = made.params.read_text()
    made.params.write_text(text.replace("jobs: 1", "jobs: 2"))
    assert prepare(run, 0, 0).key == keys[0]  # how the work is divided has no part in a score
    made.params.write_text(text.replace("iterations: 2", "iterations: 4"))
    keys.append(prepare(run, 0, 0).key)
    made.params.write_text(text)
    rescale(read_manifest(run.manifest), run.maps, made.folder / "other", "percentile", 90.0)
    index = made.folder / "other" / "index.json"
    index.write_text(index.read_text().replace('"three"', '"four"'))
    keys.append(prepare(replace(run, maps=made.folder / "other"), 0, 0).key)
    manifest = read_manifest(run.manifest)
    rows = [{**row, "mask": row["mask"] and "val_0_mask.png"} for row in manifest.table.to_pylist()]
    write_manifest(made.folder / "moved", from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    keys.append(prepare(replace(run, manifest=made.folder / "moved"), 0, 0).key)
    monkeypatch.setattr(search_trials, "code_digest", lambda: "another")
    keys.append(prepare(run, 0, 0).key)
    assert len(set(keys)) == 6


def test_images_without_truth_and_those_of_split_test_are_left_out(make_run):
    made = make_run(val=6, test=2)
    run = _run(made)
    manifest = read_manifest(run.manifest)
    rows = [{**row, "mask": None if row["id"] == "val_2" else row["mask"] or "none.png"} for row in
            manifest.table.to_pylist()]  # fmt: skip
    write_manifest(run.manifest, from_rows(rows, manifest.classes, manifest.root, manifest.mask_kind))
    scoring = prepare(run, 0, 0)
    assert read_manifest(scoring.manifest).ids() == ["val_0", "val_1", "val_3", "val_4", "val_5"]
    assert scoring.images == 5
