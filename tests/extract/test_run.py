"""The stage `extract` on tiny images: what stands in the store, and what stops it."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.extraction import SHAPES, written
from support.helpers import CPU, color_image, extract_settings, make_tiny, row, squared_ramp, striped_ramp, write_png

from pipeline.core.errors import DataError, MapError
from pipeline.core.images import read_rgb, resize, resize_image
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.reuse import KEPT_RUNS
from pipeline.core.store import Store
from pipeline.extract import run as module
from pipeline.extract.network import predict
from pipeline.extract.plan import plan
from pipeline.extract.run import extract
from pipeline.models.classifier import Classifier
from pipeline.train.augment import plain_view


def run(
    manifest: Manifest, out: Path, classifier: Classifier | None = None, **changes: Any
) -> tuple[dict[str, Any], Store]:
    counts = asdict(extract(manifest, classifier or make_tiny(classes=4), out, extract_settings(**changes)))
    store = Store(out)
    store.verify()
    return counts, store


def test_every_image_of_the_splits_and_no_other(manifest: Manifest, tmp_path: Path) -> None:
    counts, store = run(manifest, tmp_path, max_classes=2)
    assert set(store.ids) == set(SHAPES)
    assert counts == {
        "images": 5, "images_reused": 0, "test_labels_ignored": 0, "maps": 10, "constant_maps": 0,
        "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    assert store.about == {
        "classes": ["a", "b", "c", "d"],
        "scale": "percentile",
        "percentile": 90.0,
        "loss": "single_label",
    }
    counts, store = run(manifest, tmp_path / "both", splits=["train", "val"])
    assert set(store.ids) == {*SHAPES, "t"}
    assert counts["images"] == counts["maps"] == 6


@pytest.mark.parametrize("scale", ["max", "percentile"])
def test_what_is_stored_is_the_map_on_the_scale_of_the_image(scale: str, manifest: Manifest, tmp_path: Path) -> None:
    """From the raw maps again, on the way of the method: resize to the image, then minimum and percentile."""
    changes = {"scale": scale, "percentile": 80.0, "sizes": [64, 96], "max_classes": 4}
    classifier = make_tiny(classes=4)
    _, store = run(manifest, tmp_path, classifier, **changes)
    settings = extract_settings(**changes)
    for job in plan(manifest, settings, 16):
        arrays, shape = store.read(job.id), SHAPES[job.id]
        image = read_rgb(job.file)
        scales = [torch.from_numpy(resize_image(image, look)).permute(2, 0, 1)[None] for look in job.view_shapes]
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


def test_the_network_sees_each_axis_resized_by_its_own_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrunk by area, enlarged bilinearly, whatever the other axis does; as training does, to the pixel."""
    stored, seen = striped_ramp(), []
    write_png(tmp_path / "a.png", stored)
    manifest = from_rows([row("a", "a.png", [0], "val", stored.shape[:2])], ["a"], tmp_path, "labels")
    unwatched = module.compute_views

    def watched(classifier: Classifier, scales: list[torch.Tensor], *rest: Any) -> Any:
        seen.extend(images[0].permute(1, 2, 0).numpy() for images in scales)
        return unwatched(classifier, scales, *rest)

    monkeypatch.setattr(module, "compute_views", watched)
    run(manifest, tmp_path / "out", make_tiny(classes=1), resize="square", sizes=[64, 32])
    assert [image.shape for image in seen] == [(64, 64, 3), (32, 32, 3)]
    for image in seen:
        np.testing.assert_allclose(image, squared_ramp(len(image)), rtol=0, atol=1)
        np.testing.assert_array_equal(image, plain_view(len(image))(stored, 0))


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


def test_batches_workers_and_parts_change_nothing(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain = run(manifest, tmp_path / "plain", batch_size=1)
    monkeypatch.setattr("pipeline.extract.plan.IMAGES_PER_SHARD", 2)
    _, other = run(manifest, tmp_path / "other", batch_size=3, workers=2)
    assert [len(shard.ids) for shard in other.shards] == [3, 2]
    assert set(other.ids) == set(plain.ids)
    for image_id, arrays in plain.items():
        for name, array in other.read(image_id).items():
            # half precision of values that agree to 1e-6: one step of 1/2048 where they round to either side
            np.testing.assert_allclose(
                array.astype(np.float64), arrays[name], rtol=1e-3, atol=1e-5, err_msg=f"{image_id} {name}"
            )


def test_twice_gives_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(manifest, tmp_path / name)
    files = written(tmp_path / "one")
    assert set(files) == {"train/index.json", "test/index.json", "val/index.json", "val/shard-00000.safetensors"}
    assert files == written(tmp_path / "two")


def test_known_labels_are_kept_and_nothing_else(manifest: Manifest, tmp_path: Path) -> None:
    _, store = run(manifest, tmp_path, classes="label", max_classes=3, min_probability=0.0)
    tall = store.read("tall")
    assert sorted(tall["classes"].tolist()) == [0, 2]
    first, second = tall["probabilities"][tall["classes"]]
    assert first >= second
    assert store.read("small")["classes"].tolist() == [1]
    assert all(arrays["known"].tolist() == [True] for _, arrays in store.items())
    _, store = run(manifest, tmp_path / "few", classes="label", max_classes=1)
    assert len(store.read("tall")["classes"]) == 1


def test_labels_of_test_images_choose_no_classes(
    manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**entry, "split": "test" if entry["split"] == "val" else "train"} for entry in manifest.table.to_pylist()]
    labelled = from_rows(rows, manifest.classes, manifest.root, "labels")
    blind = from_rows([{**entry, "labels": []} for entry in rows], manifest.classes, manifest.root, "labels")
    counts, store = run(labelled, tmp_path / "labelled", classes="label", splits=["test"])
    _, other = run(blind, tmp_path / "blind", classes="label", splits=["test"])
    assert counts["test_labels_ignored"] == 5
    assert "note: the labels of 5 test images are ignored" in capsys.readouterr().err
    for image_id in SHAPES:
        for name, array in other.read(image_id).items():
            np.testing.assert_array_equal(store.read(image_id)[name], array)


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


def test_constant_maps_are_zeros_and_counted(
    manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(manifest, tmp_path / "sound")
    assert "warning" not in capsys.readouterr().err
    classifier = make_tiny(classes=4)
    with torch.no_grad():
        classifier.head.weight.copy_(-classifier.head.weight.abs())  # NWC leaves nothing of it
    counts, store = run(manifest, tmp_path, classifier, max_classes=2)
    assert counts["constant_maps"] == counts["maps"] == 10
    assert not any(arrays["maps"].any() for _, arrays in store.items())
    assert "warning: all 10 maps are constant; likely the classifier has learnt nothing" in capsys.readouterr().err


def test_a_map_that_is_no_number_names_its_image(manifest: Manifest, tmp_path: Path) -> None:
    classifier = make_tiny(classes=4)
    with torch.no_grad():
        classifier.head.weight[:, 0] = torch.nan
    ids = "|".join(SHAPES)
    with pytest.raises(MapError, match=f"^({ids}): expected finite values in a class activation map, got NaN"):
        run(manifest, tmp_path, classifier)
    assert not list(tmp_path.glob("val/*"))


def test_an_image_that_cannot_be_read_is_named(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    rows = [row("bad", str(tmp_path / "bad.png"), [0], "val", (40, 64))]
    with pytest.raises(DataError, match=r"bad\.png: expected an image"):
        run(from_rows(rows, ["a"], manifest.root, "labels"), tmp_path / "out")


# --- finished parts --------------------------------------------------------------------------------------------------


def _with_new_image(manifest: Manifest) -> Manifest:
    write_png(manifest.root / "new.png", color_image((90, 90, 90), 7, (48, 64)))  # no other manifest lists it
    rows = [*manifest.table.to_pylist(), row("new", "new.png", [], "test", (48, 64))]
    return from_rows(rows, manifest.classes, manifest.root, "labels")


def test_a_new_test_image_leaves_the_maps_of_val_as_they_are(manifest: Manifest, tmp_path: Path) -> None:
    first, _ = run(manifest, tmp_path / "maps", splits=["val", "test"])
    before = written(tmp_path / "maps" / "val")
    shutil.rmtree(tmp_path / "maps")  # as DVC does before a stage runs again
    second, store = run(_with_new_image(manifest), tmp_path / "maps", splits=["val", "test"])
    assert (first["images"], first["images_reused"]) == (5, 0)
    assert (second["images"], second["images_reused"]) == (6, 5)
    assert written(tmp_path / "maps" / "val") == before
    assert "new" in store


@pytest.mark.parametrize("change", ["image", "settings", "weights", "damage"])
def test_what_could_come_out_differently_is_made_again(change: str, manifest: Manifest, tmp_path: Path) -> None:
    manifest = replace(manifest, root=shutil.copytree(manifest.root, tmp_path / "images"))
    run(manifest, tmp_path / "maps")
    classifier, settings = make_tiny(classes=4), {}
    if change == "image":
        write_png(manifest.root / "small.png", color_image((9, 90, 200), 5, SHAPES["small"]))
    if change == "settings":
        settings["flip"] = not extract_settings().flip
    if change == "weights":
        torch.nn.init.normal_(classifier.head.weight, std=0.2)
    if change == "damage":
        (kept,) = (tmp_path / "scratch" / "maps").glob("*.safetensors")
        whole = kept.read_bytes()
        kept.unlink()  # it shares its bytes with the store
        kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again, _ = run(manifest, tmp_path / "maps", classifier, **settings)
    run(manifest, tmp_path / "elsewhere" / "maps", classifier, **settings)
    assert again["images_reused"] == 0
    assert written(tmp_path / "maps") == written(tmp_path / "elsewhere" / "maps")


def test_parts_of_the_last_runs_are_kept_and_no_others(manifest: Manifest, tmp_path: Path) -> None:
    """Settings are tried and taken back: what the first run made is there, unless it is long ago."""
    percentiles = (90.0, 80.0, 70.0, 60.0, 50.0)
    for percentile in percentiles:
        run(manifest, tmp_path / "maps", percentile=percentile)
    assert len(list((tmp_path / "scratch" / "maps").glob("*.safetensors"))) == len(percentiles) - 1 == KEPT_RUNS
    assert run(manifest, tmp_path / "maps", percentile=80.0)[0]["images_reused"] == 5
    assert run(manifest, tmp_path / "maps", percentile=90.0)[0]["images_reused"] == 0


def test_workers_are_no_reason_to_make_maps_again(manifest: Manifest, tmp_path: Path) -> None:
    run(manifest, tmp_path / "maps", workers=0)
    again, _ = run(manifest, tmp_path / "maps", workers=1)
    assert again["images_reused"] == 5
