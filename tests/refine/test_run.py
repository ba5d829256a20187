"""The stage `refine` on tiny images: predictions at the image's size, the same however many processes make them."""

import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cluster import network
from support.crf import refine_probabilities
from support.extraction import written
from support.helpers import color_image, refine_settings, row, write_png
from support.tasks import refine_and_die_once

from pipeline.core.errors import DataError, MapError, StoreError
from pipeline.core.images import decode_png, read_rgb, resize
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.parallel import ParallelSettings, use_workers
from pipeline.core.store import Arrays, Store, finish, write_shard
from pipeline.refine import run as module
from pipeline.refine.affinity import LocalAffinity
from pipeline.refine.outputs import Evidence, Prediction, make_label_map, predict_image
from pipeline.refine.run import check_output, refine, refine_image
from pipeline.refine.settings import RefineSettings

SHAPES = {"a": (20, 31), "b": (33, 18), "c": (20, 31)}
CLASSES = ["cat", "dog", "cow"]


def arrays(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "maps": rng.uniform(-0.2, 1.5, (2, 3, 4)).astype(np.float16),
        "classes": np.array([2, 0], np.int32),
        "standard": np.ones((2, 2), np.float32),
        "probabilities": np.array([0.3, 0.1, 0.6], np.float16),
    }


@pytest.fixture
def made(tmp_path: Path) -> tuple[Manifest, Path]:
    """A manifest of three images with an edge, and a store of their maps."""
    rows = []
    for n, (image_id, shape) in enumerate(SHAPES.items()):
        image = color_image((200, 60, 30), n, shape)
        image[:, : shape[1] // 2] = (20, 90, 200)
        write_png(tmp_path / f"{image_id}.png", image)
        rows.append(row(image_id, f"{image_id}.png", [], "val", shape))
    maps = tmp_path / "maps"
    finish(
        maps, [write_shard(maps, 0, {image_id: arrays(n) for n, image_id in enumerate(SHAPES)})], {"classes": CLASSES}
    )
    return from_rows(rows, CLASSES, tmp_path, "labels"), maps


def run(made: tuple[Manifest, Path], name: str, **changes: Any) -> tuple[dict[str, Any], Store]:
    out = made[1].parent / name
    counts = asdict(refine(*made, out, refine_settings(**changes)))
    Store(out).verify()
    return counts, Store(out)


def test_images_whose_crf_is_bounded_are_counted(made: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 600)  # a and c have 620 pixels, b 594
    assert run(made, "bounded")[0]["crf_bounded"] == 2
    assert run(made, "off", crf={"enabled": False})[0]["crf_bounded"] == 0


def by_hand(image_id: str, root: Path, settings: RefineSettings) -> tuple[np.ndarray, np.ndarray]:
    stored, shape = arrays(list(SHAPES).index(image_id)), SHAPES[image_id]
    large = np.stack([resize(stored["maps"][p].astype(np.float32), shape) for p in range(2)])
    image = read_rgb(root / f"{image_id}.png")
    sharpen = (
        (lambda probabilities: refine_probabilities(image, probabilities, settings.crf))
        if settings.crf.enabled
        else None
    )
    prediction = predict_image(Evidence(large, stored["classes"], np.array([0.6, 0.3], np.float32)), settings, sharpen)
    return prediction.before, prediction.after


@pytest.mark.parametrize("output", ["score_map", "label_map_one_class", "label_map"])
@pytest.mark.parametrize("enabled", [True, False])
def test_predictions_are_decoded_maps_at_the_size_of_the_image(
    output: str, enabled: bool, made: tuple[Manifest, Path]
) -> None:
    changes = {"output": output, "min_probability": 0.25, "crf": {"enabled": enabled}}
    counts, store = run(made, "out", **changes)
    iterations = 10 if enabled else 0
    assert counts == {
        "images": 3, "images_reused": 0, "crf_iterations": iterations, "crf_bounded": 0, "output": output
    }  # fmt: skip
    assert store.about == {"output": output, "crf": enabled, "classes": CLASSES}
    assert set(store.ids) == set(SHAPES)
    different = 0
    for image_id, shape in SHAPES.items():
        before, after = (decode_png(store.read(image_id)[name], name) for name in ("before", "after"))
        assert before.shape == after.shape == shape
        for ours, expected in zip(
            (before, after), by_hand(image_id, made[0].root, refine_settings(**changes)), strict=True
        ):
            np.testing.assert_array_equal(ours, expected)
        different += not np.array_equal(before, after)
        if output != "score_map":
            assert set(np.unique(after)) <= ({0, 3} if output == "label_map_one_class" else {0, 1, 3})
    assert different == (3 if enabled else 0)


def test_the_map_of_the_true_class_is_refined_beside_the_other(made: tuple[Manifest, Path]) -> None:
    maps = made[1]
    _, plain = run(made, "plain")
    items = {image_id: dict(arrays(n)) for n, image_id in enumerate(SHAPES)}
    items["b"] |= {"label_maps": arrays(7)["maps"][:1], "label_standard": arrays(7)["standard"][:1]}
    finish(maps, [write_shard(maps, 0, items)], {"classes": CLASSES})
    _, beside = run(made, "beside")
    finish(
        maps,
        [write_shard(maps, 0, {**items, "b": {**items["b"], "maps": items["b"]["label_maps"]}})],
        {"classes": CLASSES},
    )
    _, of_label = run(made, "of_label")
    assert {image_id: len(predictions) for image_id, predictions in beside.items()} == {"a": 2, "b": 4, "c": 2}
    for name in ("before", "after"):
        for image_id in SHAPES:
            np.testing.assert_array_equal(beside.read(image_id)[name], plain.read(image_id)[name])
        np.testing.assert_array_equal(beside.read("b")[f"label_{name}"], of_label.read("b")[name])
        assert not np.array_equal(beside.read("b")[f"label_{name}"], beside.read("b")[name])


def test_known_classes_are_decoded_however_improbable(made: tuple[Manifest, Path]) -> None:
    _, unsure = run(made, "unsure", output="label_map", min_probability=0.9)
    known = {image_id: {**arrays(n), "known": np.array([True])} for n, image_id in enumerate(SHAPES)}
    finish(made[1], [write_shard(made[1], 0, known)], {"classes": CLASSES})
    _, sure = run(made, "sure", output="label_map", min_probability=0.9)
    assert all(1 not in decode_png(unsure.read(image_id)["before"], image_id) for image_id in SHAPES)
    assert all(1 in decode_png(sure.read(image_id)["before"], image_id) for image_id in SHAPES)


def test_how_certain_the_foreground_is_stands_beside_label_maps_of_known_classes(made: tuple[Manifest, Path]) -> None:
    """Without the CRF: 1 minus the share of the background among the scores of background and classes."""
    settings = {"output": "label_map", "crf": {"enabled": False}, "background": 0.45, "exponent": 1.0}
    _, guessed = run(made, "guessed", **settings)
    assert all(set(predictions) == {"before", "after"} for _, predictions in guessed.items())
    known = {image_id: {**arrays(n), "known": np.array([True])} for n, image_id in enumerate(SHAPES)}
    finish(made[1], [write_shard(made[1], 0, known)], {"classes": CLASSES})
    _, store = run(made, "known", **settings)
    for n, (image_id, shape) in enumerate(SHAPES.items()):
        foreground = decode_png(store.read(image_id)["foreground"], image_id)
        maps = np.stack([np.clip(resize(cam.astype(np.float32), shape), 0, 1) for cam in arrays(n)["maps"]])
        expected = 255 * (1 - 0.45 / (0.45 + maps.sum(axis=0)))
        np.testing.assert_allclose(foreground, expected, atol=0.51)


def with_known_classes(maps: Path) -> None:
    items = {image_id: {**arrays(n), "known": np.array([True])} for n, image_id in enumerate(SHAPES)}
    finish(maps, [write_shard(maps, 0, items)], {"classes": CLASSES})


def test_a_target_of_two_backgrounds_stands_beside_the_rest(made: tuple[Manifest, Path]) -> None:
    """Each of the three CRFs as if it were alone; the arrays that were there before keep their bytes."""
    chosen = {"output": "label_map", "exponent": 1.0}
    _, guessed = run(made, "guessed", **chosen, target_backgrounds=[0.3, 0.7])
    assert all(set(predictions) == {"before", "after"} for _, predictions in guessed.items())
    with_known_classes(made[1])
    _, plain = run(made, "plain", **chosen)
    _, store = run(made, "asked", **chosen, target_backgrounds=[0.3, 0.7])
    crf, ignored = refine_settings(**chosen).crf, 0
    for n, (image_id, shape) in enumerate(SHAPES.items()):
        stored = store.read(image_id)
        assert set(plain.read(image_id)) == {"before", "after", "foreground"} == set(stored) - {"target"}
        assert all(np.array_equal(values, stored[name]) for name, values in plain.read(image_id).items())
        image = read_rgb(made[0].root / f"{image_id}.png")
        large = np.stack([resize(cam.astype(np.float32), shape) for cam in arrays(n)["maps"]])
        given = Evidence(large, arrays(n)["classes"], np.ones(2, np.float32))
        loose, strict = (
            make_label_map(given, 1.0, background, 0.0, lambda p, i=image: refine_probabilities(i, p, crf)).after
            for background in (0.3, 0.7)
        )
        target = decode_png(stored["target"], image_id)
        np.testing.assert_array_equal(target, np.where(loose == strict, loose, 255))
        ignored += (target == 255).sum()
    assert ignored > 0


@pytest.mark.parametrize("output", ["score_map", "label_map"])
def test_averages_over_neighbors_come_before_the_crf(output: str, made: tuple[Manifest, Path]) -> None:
    """`before` is what the stage predicts without the CRF, `after` has both."""
    chosen = {"output": output, "min_probability": 0.25}
    _, plain = run(made, "plain", **chosen)
    affinity = {"iterations": 3, "dilations": [1, 4]}
    _, both = run(made, "both", **chosen, affinity=affinity, jobs=2)
    _, alone = run(made, "alone", **chosen, affinity=affinity, crf={"enabled": False})
    settings = refine_settings(**chosen)
    for n, (image_id, shape) in enumerate(SHAPES.items()):
        image = read_rgb(made[0].root / f"{image_id}.png")
        large = np.stack([resize(cam.astype(np.float32), shape) for cam in arrays(n)["maps"]])
        expected = predict_image(
            Evidence(large, arrays(n)["classes"], np.array([0.6, 0.3], np.float32)),
            settings,
            lambda p, i=image: refine_probabilities(i, p, settings.crf),
            lambda p, i=image: LocalAffinity(i, [1, 4]).average(p, 3),
        )
        for name in ("before", "after"):
            found = decode_png(both.read(image_id)[name], name)
            np.testing.assert_array_equal(found, getattr(expected, name))
            np.testing.assert_array_equal(decode_png(alone.read(image_id)[name], name), expected.before)
        assert not np.array_equal(expected.before, decode_png(plain.read(image_id)["before"], image_id))


@pytest.mark.parametrize("output", ["score_map", "label_map"])
def test_keys_that_are_off_change_no_byte(output: str, made: tuple[Manifest, Path]) -> None:
    with_known_classes(made[1])
    run(made, "one", output=output)
    off = {"background_exponent": 0, "target_backgrounds": [], "affinity": {"iterations": 0, "dilations": [7]}}
    run(made, "two", output=output, **off)
    assert written(made[1].parent / "one") == written(made[1].parent / "two")


def test_averages_over_neighbors_need_no_torch() -> None:
    """Every process of the stage would spend seconds on loading it."""
    code = (
        "import sys, numpy; from pipeline.refine.run import affinity_of; "
        "from pipeline.refine.settings import AffinitySettings; "
        "smooth = affinity_of(numpy.zeros((4, 6, 3), numpy.uint8), AffinitySettings(2, (1, 2))); "
        "smooth(numpy.ones((1, 4, 6), numpy.float32)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_processes_and_parts_change_nothing(made: tuple[Manifest, Path]) -> None:
    _, alone = run(made, "alone", shard_size=3)
    _, shared = run(made, "shared", shard_size=1, jobs=2)
    assert [shard.ids for shard in shared.shards] == [("a", "b"), ("c",)]
    assert alone.ids == shared.ids
    for image_id, predictions in alone.items():
        other = shared.read(image_id)
        assert all(np.array_equal(values, other[name]) for name, values in predictions.items())


def test_workers_elsewhere_get_paths_and_return_keys(made: tuple[Manifest, Path]) -> None:
    """No image, map or prediction is sent; the bytes are those of this process."""
    run(made, "alone", shard_size=1)
    with network() as cluster:
        counts, _ = run(made, "apart", shard_size=1)
    assert (cluster.tasks, cluster.sent) == (3, [])
    assert counts["images_reused"] == 0
    assert written(made[1].parent / "alone") == written(made[1].parent / "apart")


def test_other_workers_go_on_where_a_run_was_stopped(made: tuple[Manifest, Path]) -> None:
    run(made, "out")
    counts, _ = run(made, "out", parallel={"backend": "dask", "address": "tcp://head:8786"}, jobs=2)
    assert counts["images_reused"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_clusters_change_no_byte_also_if_a_worker_dies(
    backend: str, made: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend])
    run(made, "alone", shard_size=1)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Ray does not hand on where tests are imported from
    with use_workers(ParallelSettings(backend, ""), 2) as workers:
        run(made, "apart", shard_size=1)
        assert workers.about()["engine"] == backend
        assert 1 <= workers.about()["workers"] <= 2
        monkeypatch.setattr(module, "_refine_task", refine_and_die_once)
        shutil.rmtree(made[1].parent / "scratch")
        run(made, "killed", shard_size=1)
    assert (made[1].parent / "died").exists()
    expected = written(made[1].parent / "alone")
    assert written(made[1].parent / "apart") == expected
    assert written(made[1].parent / "killed") == expected


def test_twice_gives_the_same_bytes(made: tuple[Manifest, Path]) -> None:
    run(made, "one")
    run(made, "two")
    root = made[1].parent
    files = written(root / "one")
    assert sorted(files) == ["test/index.json", "train/index.json", "val/index.json", "val/shard-00000.safetensors"]
    assert files == written(root / "two")


def test_one_new_image_costs_one_crf(made: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    maps = made[1]
    all_but_last = {image_id: arrays(n) for n, image_id in enumerate(SHAPES) if image_id != "c"}
    finish(maps, [write_shard(maps, 0, all_but_last)], {"classes": CLASSES})
    run(made, "out")
    shutil.rmtree(maps.parent / "out")  # as DVC does before a stage runs again
    finish(
        maps, [write_shard(maps, 0, {image_id: arrays(n) for n, image_id in enumerate(SHAPES)})], {"classes": CLASSES}
    )
    refined: list[str] = []

    def record(stored: Arrays, file: Path, image_id: str, settings: RefineSettings) -> Prediction:
        refined.append(image_id)
        return refine_image(stored, file, image_id, settings)

    monkeypatch.setattr(module, "refine_image", record)
    counts, store = run(made, "out")
    assert refined == ["c"]
    assert counts["images_reused"] == 2
    _, alone = run(made, "alone")
    for image_id, predictions in alone.items():
        assert all(np.array_equal(values, store.read(image_id)[name]) for name, values in predictions.items())


def test_a_run_that_was_stopped_goes_on_where_it_was(
    made: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image by image, though two of them share a file of the store."""
    refined: list[str] = []

    def stopped_at_b(stored: Arrays, file: Path, image_id: str, settings: RefineSettings) -> Prediction:
        if image_id == "b" and "b" not in refined:
            refined.append(image_id)
            raise KeyboardInterrupt
        refined.append(image_id)
        return refine_image(stored, file, image_id, settings)

    monkeypatch.setattr(module, "refine_image", stopped_at_b)
    with pytest.raises(KeyboardInterrupt):
        run(made, "out", shard_size=1)
    assert refined == ["a", "b"]
    counts, store = run(made, "out", shard_size=1)
    assert refined == ["a", "b", "b", "c"]
    assert counts["images_reused"] == 1
    assert [shard.ids for shard in store.shards] == [("a", "b"), ("c",)]
    run(made, "alone", shard_size=1)
    root = made[1].parent
    assert written(root / "out") == written(root / "alone")
    kept = sorted(path.stem for path in (root / "scratch" / "out").glob("*.safetensors"))
    assert kept == sorted(shard.sha256[:32] for shard in store.shards), "the results of the tasks are removed"


@pytest.mark.parametrize("jobs", [1, 2])
def test_there_are_as_many_tasks_as_the_shard_size_says_though_few_files(
    jobs: int, made: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[list[str]] = []
    real = module._refine_all

    def record(works: list[dict[str, Path]], *given: Any) -> Any:
        tasks.extend(list(work) for work in works)
        return real(works, *given)

    monkeypatch.setattr(module, "_refine_all", record)
    run(made, "out", shard_size=1, jobs=jobs)
    assert tasks == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("jobs", [1, 16, 64])
def test_every_process_has_several_tasks_whatever_the_shards(jobs: int) -> None:
    for images in (1210, 44_000):
        size = module.task_size(images, refine_settings(jobs=jobs, shard_size=1024))
        tasks = -(-images // size)
        assert size <= module.TASK
        assert tasks >= module.TURNS * jobs
        busy = images / (size * jobs * -(-tasks // jobs))  # of all processes, until the last has ended
        assert busy > 0.85
    assert module.task_size(3, refine_settings(jobs=jobs)) == 1


def test_results_that_are_removed_while_the_stage_runs_are_missed(
    made: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._refine_all

    def removed(*given: Any) -> Any:
        done = real(*given)
        shutil.rmtree(made[1].parent / "scratch")
        return done

    monkeypatch.setattr(module, "_refine_all", removed)
    with pytest.raises(StoreError, match=r"scratch/out: expected all images that were made, missing=\['a', 'b'"):
        run(made, "out")


@pytest.mark.parametrize("change", ["image", "map", "settings"])
def test_what_could_come_out_differently_is_refined_again(change: str, made: tuple[Manifest, Path]) -> None:
    manifest, maps = made
    run(made, "out")
    items = {image_id: dict(arrays(n)) for n, image_id in enumerate(SHAPES)}
    if change == "image":
        write_png(manifest.root / "b.png", color_image((20, 200, 30), 5, SHAPES["b"]))
    if change == "map":
        items["b"]["maps"] = items["b"]["maps"] * np.float16(0.5)
    finish(maps, [write_shard(maps, 0, items)], {"classes": CLASSES})
    counts, _ = run(made, "out", **({"exponent": 0.31} if change == "settings" else {}))
    assert counts["images_reused"] == (0 if change == "settings" else 2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_image_that_is_gone_is_named(jobs: int, made: tuple[Manifest, Path]) -> None:
    (made[0].root / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: expected an image, found no file; likely "):
        run(made, "out", jobs=jobs)


def test_maps_of_another_run_are_refused(made: tuple[Manifest, Path]) -> None:
    manifest, maps = made
    fewer = from_rows(manifest.table.to_pylist()[:2], CLASSES, manifest.root, "labels")
    with pytest.raises(
        MapError, match="expected maps of images in the manifest, got others, such as 'c'; likely of another run"
    ):
        refine(fewer, maps, maps.parent / "out", refine_settings())


def test_more_classes_than_a_label_map_holds_are_refused(made: tuple[Manifest, Path]) -> None:
    """Class id 256 would be background again."""
    manifest, maps = made
    part = write_shard(maps, 0, {image_id: arrays(n) for n, image_id in enumerate(SHAPES)})
    for count in (254, 255):
        finish(maps, [part], {"classes": [f"c{k}" for k in range(count)]})
        refine(manifest, maps, maps.parent / "scores", refine_settings(output="score_map"))
        if count == 254:
            refine(manifest, maps, maps.parent / "out", refine_settings(output="label_map_one_class"))
    with pytest.raises(MapError, match=r"refine.output 'label_map_one_class': expected at most 254 classes, got 255"):
        refine(manifest, maps, maps.parent / "out", refine_settings(output="label_map_one_class"))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_map_that_is_no_number_names_its_image(enabled: bool, jobs: int, made: tuple[Manifest, Path]) -> None:
    manifest, maps = made
    broken = {image_id: dict(arrays(n)) for n, image_id in enumerate(SHAPES)}
    broken["b"]["maps"][0, 1, 2] = np.nan
    finish(maps, [write_shard(maps, 0, broken)], {"classes": CLASSES})
    with pytest.raises(MapError, match=r"^b: expected scores in \[0, 1\], got "):
        refine(manifest, maps, maps.parent / "out", refine_settings(crf={"enabled": enabled}, jobs=jobs))
    assert not list((maps.parent / "out").rglob("index.json"))


def test_a_decoder_of_the_other_track_is_refused() -> None:
    check_output("score_map", ("score_map",), "track3")
    message = (
        r"tracks.track1.refine.output: expected one of \['label_map_one_class', 'label_map'\], got 'score_map'; "
        "it belongs to the"
    )
    with pytest.raises(MapError, match=message):
        check_output("score_map", ("label_map_one_class", "label_map"), "track1")
