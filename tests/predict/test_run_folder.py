"""What a run's folder has to hold, and what is said where it does not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.helpers import make_tiny
from support.prediction import CLASSES, Finished

from pipeline.core.errors import MapError, SettingsError, StoreError
from pipeline.core.files import read_json, write_json
from pipeline.models.classifier import save_classifier
from pipeline.params.check import check
from pipeline.predict.run_folder import choose_stage, choose_threshold, read_model, read_run, read_student_model

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


def test_thresholds_of_classes_are_read_and_checked(runs: Runs, tmp_path: Path) -> None:
    folder = runs["track1"].copied(tmp_path / "run")
    assert read_run(folder).thresholds is None
    calibrated = {**read_json(folder / "extract.json")["settings"], "class_thresholds": "val"}
    edit(folder, "extract", settings=calibrated, class_thresholds={"values": [0.25, 0.5, 0.75]})
    thresholds = read_run(folder).thresholds
    assert thresholds is not None
    assert thresholds.tolist() == [0.25, 0.5, 0.75]
    for wrong in ({"values": [0.25, 0.5]}, {"values": [0.25, 0.5, 7]}, {}):
        edit(folder, "extract", class_thresholds=wrong)
        with pytest.raises(StoreError, match=r"class_thresholds\.values: expected 3 numbers in 0\.\.1"):
            read_run(folder)


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


# --- the student ------------------------------------------------------------------------------------------------------


def taught_copy(run: Finished, to: Path) -> Path:
    run.copied(to)
    shutil.copy(run.folder / "student.json", to)
    shutil.copytree(run.folder / "student" / "model", to / "student" / "model")
    return to


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_the_settings_of_the_student_are_those_of_the_params_file(taught: Runs, track: str, tmp_path: Path) -> None:
    run = read_run(taught_copy(taught[track], tmp_path / "elsewhere"))
    assert run.student == check(taught[track].folder.parents[1] / "params.yaml")[track]["student"]
    assert (choose_stage(run, "auto"), choose_stage(run, "first")) == ("student", "first")
    assert read_student_model(run).design.outputs == (4 if track == "track1" else 1)


def test_each_stage_has_the_peak_threshold_of_its_own_predictions(taught: Runs, tmp_path: Path) -> None:
    folder = taught_copy(taught["track3"], tmp_path / "run")
    run = read_run(folder)
    metrics = read_json(taught["track3"].folder.parents[1] / "reports" / "metrics.json")
    assert choose_threshold(run, None) == (metrics["peak_threshold"], "peak threshold of split val")
    assert choose_threshold(run, None, "first")[0] == metrics["first_stage"]["peak_threshold"]
    edit(folder, "evaluate", comparison=">", peak_threshold=50, first_stage={"peak_threshold": 70})
    assert (choose_threshold(run, None)[0], choose_threshold(run, None, "first")[0]) == (51, 71)
    assert choose_threshold(run, 7, "first")[0] == 7
    edit(folder, "evaluate", first_stage="removed")
    assert choose_threshold(run, None)[0] == 51
    with pytest.raises(StoreError, match=r"evaluate\.json: expected the keys \['first_stage'\].*run the stage `evalua"):
        choose_threshold(run, None, "first")
    edit(folder, "evaluate", peak_threshold=None)
    assert choose_threshold(run, None, "first")[0] == 128, "val has no truth: neither stage has a peak"


@pytest.mark.parametrize("damage", ["no settings", "other settings"])
def test_an_old_student_names_the_stage_to_run_again(taught: Runs, damage: str, tmp_path: Path) -> None:
    folder = taught_copy(taught["track3"], tmp_path / "run")
    settings = read_json(folder / "student.json")["settings"]
    edit(folder, "student", settings="removed" if damage == "no settings" else {**settings, "brand_new": 1})
    with pytest.raises(StoreError, match=r"student\.json: .*run the stage `student` again"):
        read_run(folder)


def test_a_network_that_is_missing_or_of_another_run_is_refused(taught: Runs, tmp_path: Path) -> None:
    folder = taught_copy(taught["track3"], tmp_path / "run")
    run = read_run(folder)
    shutil.rmtree(folder / "student" / "model")
    with pytest.raises(StoreError, match=r"expected the network of the stage `student`.* or predict with the first st"):
        read_student_model(run)
    shutil.copytree(taught["track1"].folder / "student" / "model", folder / "student" / "model")
    with pytest.raises(StoreError, match="expected a network of 1 outputs for track3 and 3 classes, got 4; likely fil"):
        read_student_model(run)
