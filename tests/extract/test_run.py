"""The stage `extract` on tiny images: what stands in the store, and what stops it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.extraction import SHAPES, run, written
from support.helpers import color_image, extract_settings, make_tiny, row, write_png

from pipeline.core.errors import DataError, MapError
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.reuse import KEPT_RUNS
from pipeline.extract.run import Extraction, extract, extract_together
from pipeline.models.backbones import Normalization


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
    assert "warning: all 10 maps are constant; likely the classifier has learned nothing" in capsys.readouterr().err


def test_an_image_that_is_gone_is_named(manifest: Manifest, tmp_path: Path) -> None:
    manifest = replace(manifest, root=shutil.copytree(manifest.root, tmp_path / "images"))
    (manifest.root / "tall.png").unlink()
    with pytest.raises(DataError, match=r"tall\.png: expected an image, found no file; likely "):
        run(manifest, tmp_path)


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


# --- several sets of maps in one pass ---------------------------------------------------------------------------------


def test_extractions_in_one_go_equal_extractions_one_by_one(manifest: Manifest, tmp_path: Path) -> None:
    heads = [make_tiny(classes=4, pooling="gap"), make_tiny(classes=4), make_tiny(classes=4)]
    torch.nn.init.normal_(heads[1].head.weight, std=0.5)
    changes = [{"negative_weights": "keep"}, {"negative_weights": "clamp"}, {"scale": "max"}]
    extractions = [
        Extraction(head, extract_settings(**change), tmp_path / f"together{n}")
        for n, (head, change) in enumerate(zip(heads, changes, strict=True))
    ]
    counts = extract_together(manifest, extractions, with_true=False)
    for n, one in enumerate(extractions):
        alone = extract(manifest, one.classifier, tmp_path / f"alone{n}", one.settings)
        assert counts[n] == alone
        assert written(one.out) == written(tmp_path / f"alone{n}")


def test_extractions_of_different_backbones_or_views_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    first, other = make_tiny(classes=4), make_tiny(classes=4)
    torch.nn.init.normal_(next(other.backbone.parameters()))
    pair = [
        Extraction(first, extract_settings(), tmp_path / "a"),
        Extraction(other, extract_settings(), tmp_path / "b"),
    ]
    with pytest.raises(MapError, match="expected the backbone and settings"):
        extract_together(manifest, pair, with_true=False)
    other = make_tiny(classes=4)
    other.design = replace(other.design, normalization=Normalization((0.1, 0.1, 0.1), (1.0, 1.0, 1.0)))
    pair[1] = Extraction(other, extract_settings(), tmp_path / "b")
    with pytest.raises(MapError, match="expected the backbone and settings"):
        extract_together(manifest, pair, with_true=False)
    pair[1] = Extraction(first, extract_settings(flip=not extract_settings().flip), tmp_path / "b")
    with pytest.raises(MapError, match="expected the backbone and settings"):
        extract_together(manifest, pair, with_true=False)


def test_only_what_an_earlier_pass_lacks_is_computed(manifest: Manifest, tmp_path: Path, monkeypatch) -> None:
    head = make_tiny(classes=4)
    heads = [Extraction(head, extract_settings(negative_weights=choice), tmp_path / choice) for choice in
             ("keep", "clamp")]  # fmt: skip
    first = extract_together(manifest, heads[:1], with_true=False)
    before = written(heads[0].out)
    shutil.rmtree(heads[0].out)  # as DVC does before a stage
    both = extract_together(manifest, heads, with_true=False)
    assert [counts.images_reused for counts in (*first, *both)] == [0, first[0].images, 0]
    assert written(heads[0].out) == before
    alone = extract(manifest, head, tmp_path / "alone", heads[1].settings)
    assert both[1] == alone
    assert written(heads[1].out) == written(tmp_path / "alone")
    monkeypatch.setattr("pipeline.extract.run.compute_views", lambda *_: pytest.fail("computed again"))
    again = extract_together(manifest, heads, with_true=False)
    assert [counts.images_reused for counts in again] == [counts.images for counts in both]


def test_level_maps_of_every_classifier_are_those_that_it_has_alone(manifest: Manifest, tmp_path: Path) -> None:
    settings = extract_settings(map="layercam", map_levels=["auto"])
    pair = [Extraction(make_tiny(classes=4), settings, tmp_path / f"{n}") for n in range(2)]
    extract_together(manifest, pair, with_true=False)
    extract(manifest, make_tiny(classes=4), tmp_path / "alone", settings)
    assert written(tmp_path / "0") == written(tmp_path / "1") == written(tmp_path / "alone")
