"""What a run's folder has to hold, and what is said where it does not."""

from pathlib import Path
from typing import Any

import pytest
from support.helpers import make_tiny
from support.prediction import CLASSES, Finished

from pipeline.core.errors import MapError, SettingsError, StoreError
from pipeline.core.files import read_json, write_json
from pipeline.models.classifier import save_classifier
from pipeline.params.check import check
from pipeline.predict.run_folder import choose_threshold, read_model, read_run

Runs = dict[str, Finished]


def edit(folder: Path, stage: str, **changes: Any) -> None:
    values = {**read_json(folder / f"{stage}.json"), **changes}
    write_json(folder / f"{stage}.json", {key: value for key, value in values.items() if value != "removed"})


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_a_copied_run_has_the_settings_of_its_params_file(runs: Runs, track: str, tmp_path: Path) -> None:
    run = read_run(runs[track].copied(tmp_path / "elsewhere"))
    params = check(runs[track].folder.parents[1] / "params.yaml")[track]
    assert (run.extract, run.refine) == (params["extract"], params["refine"])
    assert (run.track.name, run.class_names) == (track, CLASSES)
    assert read_model(run).design.classes == 3


@pytest.mark.parametrize("stage", ["extract", "refine"])
@pytest.mark.parametrize("damage", ["no file", "no settings", "other settings"])
def test_an_old_run_names_the_stage_to_run_again(runs: Runs, stage: str, damage: str, tmp_path: Path) -> None:
    folder = runs["track3"].copied(tmp_path / "run")
    if damage == "no file":
        (folder / f"{stage}.json").unlink()
    if damage == "no settings":
        edit(folder, stage, settings="removed")
    if damage == "other settings":
        edit(folder, stage, settings={**read_json(folder / f"{stage}.json")["settings"], "brand_new": 1})
    with pytest.raises(StoreError, match=rf"{stage}\.json: .*run the stage `{stage}` again") as error:
        read_run(folder)
    assert ("settings.brand_new: expected no such key" in str(error.value)) == (damage == "other settings")


def test_no_folder_no_track_and_a_mixture_of_runs_are_refused(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected the folder of a finished run, such as data/track3, found none"):
        read_run(tmp_path / "nothing")
    folder = runs["track3"].copied(tmp_path / "run")
    edit(folder, "extract", track="track1")
    with pytest.raises(MapError, match=r"tracks\.track1\.refine\.output: expected one of"):
        read_run(folder)
    edit(folder, "extract", track="track2")
    with pytest.raises(StoreError, match=r"expected a track among .*, got 'track2'"):
        read_run(folder)


def test_a_model_of_another_run_is_refused(runs: Runs, tmp_path: Path) -> None:
    folder = runs["track3"].copied(tmp_path / "run")
    save_classifier(make_tiny(classes=4), folder / "model")
    with pytest.raises(StoreError, match=r"expected a classifier of 3 classes, as extract\.json lists, got 4"):
        read_model(read_run(folder))


def test_the_threshold_is_the_peak_of_val_the_given_one_or_half(runs: Runs, tmp_path: Path) -> None:
    folder = runs["track3"].copied(tmp_path / "run")
    run = read_run(folder)
    peak = read_json(runs["track3"].folder.parents[1] / "reports" / "metrics.json")["peak_threshold"]
    assert choose_threshold(run, None) == (peak, "peak threshold of split val")
    assert choose_threshold(run, 0) == (0, "given")
    for comparison, found, expected in ((">", 100, 101), (">=", 100, 100), (">", 255, 256)):
        edit(folder, "evaluate", peak_threshold=found, comparison=comparison)
        assert choose_threshold(run, None)[0] == expected
    edit(folder, "evaluate", peak_threshold=None)
    assert choose_threshold(run, None) == (128, "half of 255: split val has no truth")
    (folder / "evaluate.json").unlink()
    assert choose_threshold(run, 7)[0] == 7, "who gives one needs no score"
    with pytest.raises(StoreError, match=r"evaluate\.json: .*run the stage `evaluate` again, or give a threshold"):
        choose_threshold(run, None)


@pytest.mark.parametrize("wrong", [-1, 256, 1.5, True, "9"])
def test_a_threshold_that_is_no_score_is_refused(runs: Runs, wrong: Any) -> None:
    with pytest.raises(SettingsError, match=r"threshold: expected a whole number in 0\.\.255, got "):
        choose_threshold(read_run(runs["track3"].folder), wrong)


def test_track1_has_no_threshold(runs: Runs, tmp_path: Path) -> None:
    folder = runs["track1"].copied(tmp_path / "run")
    (folder / "evaluate.json").unlink()
    assert choose_threshold(read_run(folder), None) == (None, "class ids above background")
    with pytest.raises(SettingsError, match="threshold: expected none for track1, whose predictions are label maps"):
        choose_threshold(read_run(folder), 7)
