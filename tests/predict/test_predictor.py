"""Predictions of images equal what the stages left of the same images."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.helpers import CPU, merge
from support.import_graph import ROOT, imported_packages
from support.prediction import CLASSES, SHAPES, Finished, make_finished

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.files import read_json, write_json
from pipeline.core.images import decode_png, read_rgb
from pipeline.core.store import Store
from pipeline.extract.scale import raw_maps
from pipeline.predict import Predictor
from pipeline.predict.predictor import keep_probable
from pipeline.predict.run_folder import read_run
from pipeline.student.network import fuse_student, load_student
from pipeline.student.predict import as_probabilities, make_job, predict_jobs
from pipeline.student.refine import refine_file

Runs = dict[str, Finished]
TRACKS = ("track1", "track3")


def predictor(run: Finished | Path, **options: Any) -> Predictor:
    """On the device and in the precision of the stages."""
    return Predictor(run if isinstance(run, Path) else run.folder, device="cpu", precision="fp32", **options)


def assert_equals_the_stages(run: Finished, found: Predictor) -> None:
    for n, one in enumerate(found.predict_batch(run.images)):
        maps, refined = run.maps.read(f"val_{n}"), run.refined.read(f"val_{n}")
        np.testing.assert_array_equal(one.prediction, decode_png(refined["after"], "after"))
        np.testing.assert_array_equal(one.before, decode_png(refined["before"], "before"))
        np.testing.assert_array_equal(one.scaled_maps, maps["maps"].astype(np.float32))
        np.testing.assert_array_equal(one.raw_maps, raw_maps(maps))
        np.testing.assert_array_equal(one.classes, maps["classes"])
        np.testing.assert_array_equal(one.probabilities, maps["probabilities"].astype(np.float32))


@pytest.mark.parametrize("track", TRACKS)
def test_a_copy_of_the_folder_predicts_what_the_stages_predicted(runs: Runs, track: str, tmp_path: Path) -> None:
    found = predictor(runs[track].copied(tmp_path / "moved" / "elsewhere"))
    assert (found.track, found.class_names) == (track, CLASSES)
    assert_equals_the_stages(runs[track], found)


@pytest.mark.parametrize(
    "changes",
    [
        {"refine": {"crf": {"enabled": False}}, "extract": {"resize": "square", "flip": False}},
        {"refine": {"shape": "box"}, "extract": {"resize": "area", "scale": "max", "negative_weights": "keep"}},
        {"extract": {"classes": "label", "placement": "grid"}},
    ],
)
def test_other_settings_are_those_of_the_stages_too(changes: dict, tmp_path: Path) -> None:
    by_label = changes["extract"].get("classes") == "label"
    run = make_finished(tmp_path, "track3", **changes)
    if by_label:  # the predictor knows no labels: neither does a run whose classes are predicted
        found = predictor(run).predict(run.images[0])
        assert found.classes[0] == found.probabilities.argmax()
        return
    assert_equals_the_stages(run, predictor(run))


def test_thresholds_crops_and_images_without_a_class_are_those_of_the_stages(tmp_path: Path) -> None:
    choice = {"class_thresholds": "val", "class_crops": "max", "min_first_probability": 0.9}
    run = make_finished(tmp_path, "track1", extract=choice)
    assert all("present" in arrays for _, arrays in run.maps.items())
    assert_equals_the_stages(run, predictor(run))
    found = predictor(run.copied(tmp_path / "copy"))
    assert found.run.thresholds is not None
    assert len(found.run.thresholds) == len(CLASSES)


@pytest.mark.parametrize("track", TRACKS)
def test_an_image_alone_is_what_it_is_in_a_batch_but_for_a_gray_level(runs: Runs, track: str) -> None:
    """Sums may be rounded in another order: 0 levels as measured here, 1 with EfficientNet-Lite0 on photographs."""
    found = predictor(runs[track])
    together = found.predict_batch(runs[track].images)
    for file, one in zip(runs[track].images, together, strict=True):
        alone = found.predict(file)
        difference = np.abs(alone.prediction.astype(int) - one.prediction)
        assert difference.max() <= 1
    assert len({one.prediction.tobytes() for one in together}) == len(SHAPES), "the images must differ"


def test_order_and_kind_of_the_images_change_nothing(runs: Runs) -> None:
    found, files = predictor(runs["track3"]), runs["track3"].images
    first = found.predict_batch(files[:3])
    pixels = [read_rgb(file) for file in files[:3]]
    for images in (pixels, [Image.fromarray(image) for image in pixels], [str(file) for file in files[:3]]):
        for one, other in zip(first, found.predict_batch(images), strict=True):
            np.testing.assert_array_equal(one.prediction, other.prediction)
    for one, other in zip(first, found.predict_batch(pixels[::-1])[::-1], strict=True):
        assert one.prediction.shape == other.prediction.shape
        np.testing.assert_array_equal(one.classes, other.classes)
    assert found.predict_batch([]) == []


@pytest.mark.parametrize("track", TRACKS)
def test_mask_and_instances_are_read_off_the_prediction(runs: Runs, track: str) -> None:
    found = predictor(runs[track], min_area=0, **({"threshold": 90} if track == "track3" else {}))
    one = found.predict(runs[track].images[0])
    assert one.left_out == 0
    assert one.threshold == found.threshold
    expected = one.prediction >= 90 if track == "track3" else one.prediction > 0
    np.testing.assert_array_equal(one.mask, expected)
    assert expected.any()
    covered = sum(instance.mask.astype(int) for instance in one.instances)
    np.testing.assert_array_equal(covered, expected.astype(int))
    for instance in one.instances:
        inside = one.prediction[instance.mask]
        if track == "track3":
            assert instance.class_id == one.classes[0] + 1
            assert instance.score == inside.mean()
        else:
            assert set(inside.tolist()) == {instance.class_id}
            assert instance.score == one.probabilities[instance.class_id - 1]
        assert instance.class_name == one.class_names[instance.class_id - 1]


def test_a_run_without_truth_has_half_as_its_threshold(tmp_path: Path) -> None:
    found = predictor(make_finished(tmp_path, "track3", truth=False))
    assert (found.threshold, found.threshold_rule) == (128, "half of 255: split val has no truth")


def test_mistakes_are_named(runs: Runs) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: expected an image, found no file"):
        predictor(runs["track3"]).predict("none.jpg")
    with pytest.raises(SettingsError, match="expected auto or a device of this machine, got 'toaster'"):
        Predictor(runs["track3"].folder, device="toaster")
    with pytest.raises(SettingsError, match=r"stage: expected one of \['auto', 'first'\], got 'last'"):
        predictor(runs["track3"], stage="last")


def test_no_stage_depends_on_this_package() -> None:
    """An edit here reruns nothing."""
    scripts = sorted((ROOT / "stages").glob("*.py"))
    assert len(scripts) >= 7
    for script in scripts:
        assert "pipeline/predict" not in imported_packages(script), script.name
    assert "pipeline/predict" not in (ROOT / "dvc.yaml").read_text()
    assert "pipeline/predict" in imported_packages(ROOT / "pipeline" / "predict" / "files.py"), "the search can find it"


# --- the student ------------------------------------------------------------------------------------------------------


def copied(run: Finished, to: Path) -> Path:
    """What a prediction with the student needs, elsewhere."""
    run.copied(to)
    shutil.copy(run.folder / "student.json", to)
    shutil.copytree(run.folder / "student" / "model", to / "student" / "model")
    return to


@pytest.mark.parametrize("track", TRACKS)
def test_a_copy_of_a_run_with_a_student_predicts_what_the_stage_stored(
    taught: Runs, track: str, tmp_path: Path
) -> None:
    run = taught[track]
    found = predictor(copied(run, tmp_path / "elsewhere"))
    stored, first = Store(run.folder / "student" / "val"), Store(run.folder / "refined" / "val")
    assert found.stage == "student"
    differ = 0
    for n, one in enumerate(found.predict_batch(run.images)):
        arrays = stored.read(f"val_{n}")
        np.testing.assert_array_equal(one.prediction, decode_png(arrays["after"], "after"))
        np.testing.assert_array_equal(one.before, decode_png(arrays["before"], "before"))
        np.testing.assert_array_equal(one.scaled_maps, run.maps.read(f"val_{n}")["maps"].astype(np.float32))
        assert one.stage == "student"
        differ += one.prediction.tobytes() != decode_png(first.read(f"val_{n}")["after"], "after").tobytes()
    assert differ, "the two stages must not predict the same"


@pytest.mark.parametrize("track", TRACKS)
def test_the_first_stage_predicts_what_the_maps_alone_say(taught: Runs, track: str) -> None:
    found = predictor(taught[track], stage="first")
    assert found.stage == "first"
    assert_equals_the_stages(taught[track], found)
    assert {one.stage for one in found.predict_batch(taught[track].images[:2])} == {"first"}


@pytest.mark.parametrize("changes", [{"crf": {"enabled": False}, "flip": False}, {"shape": "box", "resize": "area"}])
def test_other_settings_of_the_student_are_those_of_the_stage_too(
    taught: Runs, changes: dict[str, Any], tmp_path: Path
) -> None:
    """The network of the run with other settings of its predictions, as the stage itself would store them."""
    folder = copied(taught["track3"], tmp_path / "run")
    values = read_json(folder / "student.json")
    write_json(folder / "student.json", {**values, "settings": merge(values["settings"], changes)})
    settings = read_run(folder).student
    assert settings is not None
    network, files = fuse_student(load_student(folder / "student" / "model")), taught["track3"].images
    jobs = [make_job(f"{n}", file, read_rgb(file).shape[:2], settings) for n, file in enumerate(files)]
    one_by_one = predictor(folder).predict_batch(files)
    for job, found in predict_jobs(network, jobs, settings, CPU):
        expected = refine_file(job.file, job.id, as_probabilities(found, {}, (), settings), settings)
        np.testing.assert_array_equal(one_by_one[int(job.id)].prediction, decode_png(expected["after"], "after"))


def test_a_run_whose_student_is_switched_off_or_unknown_is_predicted_by_its_maps(runs: Runs, tmp_path: Path) -> None:
    folder = runs["track3"].copied(tmp_path / "run")
    assert not (folder / "student.json").exists(), "as in runs of earlier versions"
    assert predictor(folder).stage == "first"
    write_json(folder / "student.json", {"enabled": False, "settings": {}})
    found = predictor(folder)
    assert found.stage == "first"
    assert_equals_the_stages(runs["track3"], found)
    assert predictor(folder, stage="first").threshold == found.threshold


def test_classes_of_the_student_may_have_no_map(taught: Runs) -> None:
    found = predictor(taught["track1"])
    for one in found.predict_batch(taught["track1"].images):
        present = {instance.class_id for instance in one.instances}
        assert present == set(np.unique(one.prediction[one.mask]).tolist())
        assert all(instance.score == one.probabilities[instance.class_id - 1] for instance in one.instances)


# --- some classes alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", TRACKS)
def test_all_classes_chosen_are_as_none(runs: Runs, taught: Runs, track: str) -> None:
    for run in (runs[track], *([taught[track]] if track == "track1" else [])):
        free, chosen = predictor(run), predictor(run, classes=CLASSES)
        for one, other in zip(free.predict_batch(run.images), chosen.predict_batch(run.images), strict=True):
            np.testing.assert_array_equal(one.prediction, other.prediction)
            np.testing.assert_array_equal(one.classes, other.classes)
            np.testing.assert_array_equal(one.scaled_maps, other.scaled_maps)


@pytest.mark.parametrize("name", CLASSES)
def test_a_chosen_class_has_the_map_whatever_is_most_probable(runs: Runs, name: str) -> None:
    run, index = runs["track3"], CLASSES.index(name)
    free, chosen = predictor(run), predictor(run, classes=[name])
    for one, other in zip(free.predict_batch(run.images), chosen.predict_batch(run.images), strict=True):
        assert other.classes.tolist() == [index]
        assert {instance.class_name for instance in other.instances} <= {name}
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        if one.classes[0] == index:
            np.testing.assert_array_equal(one.prediction, other.prediction)


@pytest.mark.parametrize("with_student", [False, True])
def test_label_maps_hold_chosen_classes_alone(runs: Runs, taught: Runs, with_student: bool) -> None:
    run = (taught if with_student else runs)["track1"]
    found = predictor(run, classes=["cow", "ant"])
    values = {int(value) for one in found.predict_batch(run.images) for value in np.unique(one.prediction)}
    assert values <= {0, 1, 3}
    assert values & {1, 3}
    for one in found.predict_batch(run.images):
        listed = one.probabilities[one.classes]
        assert listed.tolist() == sorted(listed.tolist(), reverse=True)
        assert one.classes[0] == max((0, 2), key=lambda index: one.probabilities[index])


def test_chosen_classes_keep_the_rules_of_extract(runs: Runs) -> None:
    """The most probable always, each other one from `min_probability` on: 0.05 in this run, by hand here."""
    arrays = {
        "classes": np.array([2, 0, 1], np.int32), "probabilities": np.array([0.3, 0.1, 0.4], np.float16),
        "maps": np.arange(3, dtype=np.float16)[:, None, None], "standard": np.zeros((3, 2), np.float32),
        "known": np.array([True]), "predicted": np.array([2], np.int32),
    }  # fmt: skip
    settings = read_run(runs["track1"].folder).extract  # max_classes 3
    for least, kept in ((0.05, [2, 0, 1]), (0.2, [2, 0]), (0.35, [2]), (0.9, [2])):
        found = keep_probable(arrays, replace(settings, min_probability=least))
        assert found["classes"].tolist() == kept
        assert found["maps"].ravel().tolist() == list(range(len(kept)))
        assert found["known"].tolist() == [False]
    assert keep_probable(arrays, replace(settings, max_classes=1))["classes"].tolist() == [2]
    own = keep_probable(arrays, replace(settings, min_probability=0.35), np.array([0.25, 0.05, 0.5]))
    assert (own["classes"].tolist(), own["present"].tolist()) == ([2, 0, 1], [0, 1])  # 2 misses its threshold


def test_classes_that_cannot_be_chosen_are_named(runs: Runs, taught: Runs) -> None:
    message = r"classes: expected some of \['ant', 'bee', 'cow'\], got \['ants'\]; likely \['ant'\]"
    with pytest.raises(SettingsError, match=message):
        predictor(runs["track1"], classes=["ants"])
    with pytest.raises(SettingsError, match=r"classes: expected some of .*, got \[\]"):
        predictor(runs["track1"], classes=[])
    with pytest.raises(SettingsError, match="in Track 3 its network knows no classes; choose the first stage"):
        predictor(taught["track3"], classes=["ant"])
    assert predictor(taught["track3"], classes=["ant"], stage="first").chosen == (0,)
