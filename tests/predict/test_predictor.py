"""Predictions of images equal what the stages left of the same images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.import_graph import ROOT, imported_packages
from support.prediction import CLASSES, SHAPES, Finished, make_finished

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.images import decode_png, read_rgb
from pipeline.extract.scale import raw_maps
from pipeline.predict import Predictor

Runs = dict[str, Finished]
TRACKS = ("track1", "track3")


def predictor(run: Finished | Path, **options: int) -> Predictor:
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
    found = predictor(runs[track], **({"threshold": 90} if track == "track3" else {}))
    one = found.predict(runs[track].images[0])
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


def test_no_stage_depends_on_this_package() -> None:
    """An edit here reruns nothing."""
    scripts = sorted((ROOT / "stages").glob("*.py"))
    assert len(scripts) >= 7
    for script in scripts:
        assert "pipeline/predict" not in imported_packages(script), script.name
    assert "pipeline/predict" not in (ROOT / "dvc.yaml").read_text()
    assert "pipeline/predict" in imported_packages(ROOT / "pipeline" / "predict" / "files.py"), "the search can find it"
