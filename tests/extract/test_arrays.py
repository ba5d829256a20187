"""What is stored of each image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.extraction import SHAPES, run
from support.helpers import CPU, extract_settings, make_tiny

from pipeline.core.errors import MapError
from pipeline.core.images import read_rgb, resize, resize_image
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.store import Store
from pipeline.extract.arrays import present_arrays, probable_classes
from pipeline.extract.network import predict
from pipeline.extract.plan import plan_shards, view_shape
from pipeline.extract.run import extract


@pytest.mark.parametrize("scale", ["max", "percentile"])
def test_what_is_stored_is_the_map_on_the_scale_of_the_image(scale: str, manifest: Manifest, tmp_path: Path) -> None:
    """From the raw maps again, on the way of the method: resize to the image, then minimum and percentile."""
    changes = {"scale": scale, "percentile": 80.0, "sizes": [64, 96], "max_classes": 4}
    classifier = make_tiny(classes=4)
    _, store = run(manifest, tmp_path, classifier, **changes)
    settings = extract_settings(**changes)
    (jobs,) = plan_shards(manifest, settings, 16)["val"]
    for job in jobs:
        arrays, shape = store.read(job.id), SHAPES[job.id]
        image = read_rgb(job.file)
        scales = [torch.from_numpy(resize_image(image, size)).permute(2, 0, 1)[None] for size in job.view_shapes]
        raw, wanted, probabilities = predict(classifier, scales, [()], settings, CPU)
        assert arrays["maps"].shape == raw.shape[1:] == (4, job.view_shapes[1][0] // 16, job.view_shapes[1][1] // 16)
        assert {name: array.dtype.name for name, array in arrays.items()} == {
            "maps": "float16", "classes": "int32", "standard": "float32", "probabilities": "float16", "known": "bool",
            "predicted": "int32",
        }  # fmt: skip
        assert arrays["classes"].tolist() == wanted[0].tolist()
        np.testing.assert_allclose(arrays["probabilities"], probabilities[0], atol=1e-3)  # half precision near 1
        for p in range(4):
            large = resize(raw[0, p], shape).astype(np.float64)
            unit = large.max() - large.min() if scale == "max" else np.percentile(large, 80) - large.min()
            expected = np.clip((large - large.min()) / unit, 0, 1)
            found = np.clip(resize(arrays["maps"][p].astype(np.float32), shape), 0, 1)
            np.testing.assert_allclose(found, expected, atol=2e-3)  # half a step of 1/255
            np.testing.assert_allclose(arrays["standard"][p], [large.min(), unit], rtol=1e-3, atol=1e-4)


def test_the_standard_gives_the_raw_map_back(manifest: Manifest, tmp_path: Path) -> None:
    _, one = run(manifest, tmp_path / "one", scale="max")
    _, other = run(manifest, tmp_path / "other", scale="percentile", percentile=60.0)
    for image_id in SHAPES:
        raw = []
        for arrays in (one.read(image_id), other.read(image_id)):
            low, unit = arrays["standard"][0]
            raw.append(arrays["maps"][0].astype(np.float32) * unit + low)
        np.testing.assert_allclose(raw[0], raw[1], atol=2e-3 * np.ptp(raw[0]))
    assert any((one.read(i)["standard"][0, 1] / other.read(i)["standard"][0, 1]) > 1.01 for i in SHAPES)


def test_known_labels_are_kept_and_nothing_else(manifest: Manifest, tmp_path: Path) -> None:
    _, store = run(manifest, tmp_path, classes="label", max_classes=3, min_probability=0.0)
    tall = store.read("tall")
    assert sorted(tall["classes"].tolist()) == [0, 2]
    first, second = tall["probabilities"][tall["classes"]]
    assert first >= second
    assert store.read("small")["classes"].tolist() == [1]
    assert all(arrays["known"].tolist() == [True] for _, arrays in store.items())
    _, few = run(manifest, tmp_path / "few", classes="label", max_classes=1)
    assert few.read("tall")["classes"].tolist() == tall["classes"].tolist()  # the limit is one for guesses
    assert few.read("small")["classes"].tolist() == [1]


def test_the_true_class_has_a_map_of_its_own_where_another_is_predicted(manifest: Manifest, tmp_path: Path) -> None:
    classifier, settings = make_tiny(classes=4), extract_settings(percentile=80.0)
    extract(manifest, classifier, tmp_path / "maps", settings, with_true=True)
    store = Store(tmp_path / "maps")
    _, by_label = run(manifest, tmp_path / "label", classifier, classes="label", max_classes=1, percentile=80.0)
    apart = 0
    for record in manifest.select("val"):
        arrays = store.read(record.id)
        top = int(arrays["predicted"][0])
        assert arrays["classes"].tolist() == [top] == [int(arrays["probabilities"].argmax())]
        assert ("label_maps" in arrays) == (top not in record.labels)
        if top not in record.labels:  # of several labels the most probable one, as where labels choose the classes
            apart += 1
            np.testing.assert_array_equal(arrays["label_maps"], by_label.read(record.id)["maps"])
            np.testing.assert_array_equal(arrays["label_standard"], by_label.read(record.id)["standard"])
        assert by_label.read(record.id)["predicted"].tolist() == [top]
    assert 0 < apart < len(SHAPES), "nothing was compared"


def test_where_no_label_is_known_the_prediction_counts(manifest: Manifest, tmp_path: Path) -> None:
    rows = [{**entry, "labels": []} for entry in manifest.table.to_pylist()]
    blind = from_rows(rows, manifest.classes, manifest.root, "labels")
    _, by_label = run(blind, tmp_path / "label", classes="label", max_classes=2)
    _, by_prediction = run(manifest, tmp_path / "prediction", classes="prediction", max_classes=2)
    for image_id in SHAPES:
        assert by_label.read(image_id)["classes"].tolist() == by_prediction.read(image_id)["classes"].tolist()
        assert not by_label.read(image_id)["known"].any()


def test_further_classes_need_a_probability_the_first_does_not(manifest: Manifest, tmp_path: Path) -> None:
    _, everything = run(manifest, tmp_path / "all", max_classes=4, min_probability=0.0)
    _, sure = run(manifest, tmp_path / "sure", max_classes=4, min_probability=0.26)
    _, one = run(manifest, tmp_path / "one", max_classes=4, min_probability=1.0)
    lengths = set()
    for image_id in SHAPES:
        arrays = everything.read(image_id)
        ranked = arrays["probabilities"].astype(np.float32)[arrays["classes"]]
        assert (np.diff(ranked) <= 0).all()
        kept = max(1, int((ranked >= 0.26).sum()))
        assert sure.read(image_id)["classes"].tolist() == arrays["classes"][:kept].tolist()
        assert one.read(image_id)["classes"].tolist() == arrays["classes"][:1].tolist()
        lengths.add(kept)
    assert lengths != {4}, "nothing was left out"


THREE = np.array([0.3, 0.05, 0.6], np.float32)  # of classes 0, 1, 2; the most probable first: 2, 0, 1
RANKED = np.array([2, 0, 1])


@pytest.mark.parametrize(
    ("thresholds", "changes", "present", "kept"),
    [
        (None, {}, None, [2, 0]),  # left to later stages
        (None, {"min_first_probability": 0.6}, None, [2, 0]),
        (None, {"min_first_probability": 0.7}, [], [2, 0]),  # none of these
        ([0.4, 0.5, 0.5], {}, [2], [2, 0]),
        ([0.25, 0.05, 0.7], {}, [0, 1], [2, 0, 1]),  # not the most probable, which misses its own
        ([0.25, 0.05, 0.5], {"max_classes": 2}, [2, 0], [2, 0]),
        ([0.9, 0.9, 0.9], {}, [2], [2, 0]),  # none reaches its own: the most probable
        ([0.9, 0.9, 0.9], {"min_first_probability": 0.7}, [], [2, 0]),
    ],
)
def test_which_classes_an_image_has(
    thresholds: list[float] | None, changes: dict[str, float], present: list[int] | None, kept: list[int]
) -> None:
    wanted = extract_settings(**{"max_classes": 3, "min_probability": 0.2, **changes})
    own = None if thresholds is None else np.array(thresholds, np.float32).astype(np.float64)
    found = present_arrays(RANKED, THREE, wanted, own)
    assert found.keys() == ({"present"} if present is not None else set())
    assert present is None or found["present"].tolist() == present
    assert RANKED[probable_classes(RANKED, THREE, wanted, own)].tolist() == kept


def test_present_classes_are_stored_where_no_label_is_known(manifest: Manifest, tmp_path: Path) -> None:
    classifier = make_tiny(classes=4)
    wanted = extract_settings(max_classes=4, min_probability=0.0, min_first_probability=1.0)
    assert set(SHAPES) == {record.id for record in manifest.select("val")}
    extract(manifest, classifier, tmp_path / "none", wanted)
    assert {len(arrays["present"]) for _, arrays in Store(tmp_path / "none").items()} == {0}
    _, known = run(manifest, tmp_path / "known", classifier, classes="label", min_first_probability=1.0)
    assert not any("present" in arrays for _, arrays in known.items())


def test_crops_say_the_classes_and_change_no_map(manifest: Manifest, tmp_path: Path) -> None:
    """From the images again: the square at each end and in the middle, beside the whole."""
    classifier, options = make_tiny(classes=4), {"max_classes": 4, "min_probability": 0.0, "sizes": [64]}
    _, plain = run(manifest, tmp_path / "none", classifier, **options)
    _, largest = run(manifest, tmp_path / "max", classifier, class_crops="max", **options)
    _, mean = run(manifest, tmp_path / "mean", classifier, class_crops="mean", **options)
    image = read_rgb(manifest.root / "wide_a.png")  # 40 x 64
    squares = [image[:, start : start + 40] for start in (0, 12, 24)]
    views = [
        resize_image(image, view_shape((40, 64), 64, "long_side", 16)),
        *(resize_image(square, (64, 64)) for square in squares),
    ]
    with torch.inference_mode():
        every = [torch.from_numpy(view).permute(2, 0, 1)[None] for view in views]
        whole = (classifier(every[0]) + classifier(every[0].flip(3))) / 2  # the whole image is mirrored, too
        logits = torch.stack([whole, *(classifier(square) for square in every[1:])])[:, 0]
    for store, expected in ((largest, logits.amax(dim=0)), (mean, logits.mean(dim=0))):
        found = store.read("wide_a")["probabilities"].astype(np.float32)
        np.testing.assert_allclose(found, classifier.probabilities(expected[None])[0].numpy(), atol=2e-3)
        with_crops, without = (np.argsort(one.read("wide_a")["classes"]) for one in (store, plain))
        maps, before = store.read("wide_a")["maps"][with_crops], plain.read("wide_a")["maps"][without]
        np.testing.assert_allclose(maps, before, atol=1e-3)
    assert not np.array_equal(plain.read("wide_a")["probabilities"], mean.read("wide_a")["probabilities"])


def test_a_map_that_is_no_number_names_its_image(manifest: Manifest, tmp_path: Path) -> None:
    classifier = make_tiny(classes=4)
    with torch.no_grad():
        classifier.head.weight[:, 0] = torch.nan
    ids = "|".join(SHAPES)
    with pytest.raises(MapError, match=f"^({ids}): expected finite values in a class activation map, got NaN"):
        run(manifest, tmp_path, classifier)
    assert not list(tmp_path.glob("val/*"))
