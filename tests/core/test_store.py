"""The store: what goes in comes out, by id and in any order; what is damaged or foreign is named."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from pipeline.core.errors import StoreError
from pipeline.core.files import sha256
from pipeline.core.store import (
    MOST_SHARDS,
    Shard,
    Store,
    divide,
    finish,
    join_shard,
    open_store,
    submitted,
    write_shard,
)

DTYPES = [np.float16, np.float32, np.float64, np.uint8, np.int32, np.int64, np.bool_]


def item(seed: int, count: int = 2) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "maps": rng.random((count, 3, 5)).astype(np.float16),
        "classes": rng.integers(0, 200, count).astype(np.int32),
    }


def make(folder: Path, shards: list[list[str]]) -> Store:
    """A store whose images are named in `shards`; their seeds count through."""
    seeds = {image_id: n for n, image_id in enumerate(name for shard in shards for name in shard)}
    written = [
        write_shard(folder, n, {image_id: item(seeds[image_id]) for image_id in ids}) for n, ids in enumerate(shards)
    ]
    finish(folder, written, {"classes": ["a", "ä"], "percentile": 98.0})
    return Store(folder)


def same(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> bool:
    return sorted(a) == sorted(b) and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def test_what_goes_in_comes_out_in_any_order(tmp_path: Path) -> None:
    store = make(tmp_path, [["a", "b"], ["c", "d", "e"]])
    assert store.ids == ("a", "b", "c", "d", "e")
    assert len(store) == 5
    assert store.about == {"classes": ["a", "ä"], "percentile": 98.0}
    for image_id in ("d", "a", "e", "c", "b", "a"):
        assert same(store.read(image_id), item("abcde".index(image_id)))
    assert [image_id for image_id, _ in store.items()] == list(store.ids)
    assert all(same(values, item("abcde".index(image_id))) for image_id, values in store.items())
    assert "c" in store
    assert "z" not in store
    store.verify()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_array_keeps_its_kind(dtype: type, tmp_path: Path) -> None:
    given_arrays = {
        "x": np.arange(12).reshape(3, 4).astype(dtype),
        "none": np.zeros((0, 4), dtype),
        "t": np.arange(6).astype(dtype)[::-2],
    }
    finish(tmp_path, [write_shard(tmp_path, 0, {"a": given_arrays})], {})
    assert same(Store(tmp_path).read("a"), given_arrays)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
        arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=4), elements=st.floats(width=32)),
        min_size=1,
        max_size=5,
    )
)
def test_any_name_is_an_image_id(tmp_path_factory: pytest.TempPathFactory, values: dict[str, NDArray[Any]]) -> None:
    folder = tmp_path_factory.mktemp("store")
    finish(folder, [write_shard(folder, 0, {image_id: {"x": array} for image_id, array in values.items()})], {})
    store = Store(folder)
    assert store.ids == tuple(values)
    for image_id, array in values.items():
        np.testing.assert_array_equal(store.read(image_id)["x"], array)
    shutil.rmtree(folder)


def test_ids_may_look_like_paths(tmp_path: Path) -> None:
    store = make(tmp_path, [["n01/n01_1", "n01", "n01/n01_1/x", "../up", "a.b"]])
    for n, image_id in enumerate(store.ids):
        assert same(store.read(image_id), item(n))
    assert {path.name for path in tmp_path.iterdir()} == {"index.json", "shard-00000.safetensors"}


def test_equal_content_is_equal_bytes_whatever_the_order_of_arrays_and_parts(tmp_path: Path) -> None:
    values = {"a": item(0), "b": item(1)}
    turned = {image_id: dict(reversed(list(arrays.items()))) for image_id, arrays in values.items()}
    for name, content, order in (("one", values, 1), ("two", turned, -1)):
        folder = tmp_path / name
        shards = [write_shard(folder, n, {image_id: content[image_id]}) for n, image_id in enumerate(content)]
        finish(folder, shards[::order], {"x": 1})  # workers end in any order
    for file in ("index.json", "shard-00000.safetensors", "shard-00001.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert Store(tmp_path / "two").ids == ("a", "b")


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    shards = [write_shard(tmp_path, n, {f"i{n}": item(n)}) for n in (10, 2, 1)]
    finish(tmp_path, shards, {})
    assert Store(tmp_path).ids == ("i1", "i2", "i10")


def test_parts_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    """DVC hashes the folder: a shard that a killed run left, or half of one, would be an output."""
    make(tmp_path, [["a"], ["b"], ["c"]])
    (tmp_path / ".shard-00001.safetensors.0123").touch()
    store = make(tmp_path, [["d"], ["e"]])
    assert {path.name for path in tmp_path.iterdir()} == {
        "index.json",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    }
    assert [image_id for image_id, _ in store.items()] == ["d", "e"]


@pytest.mark.parametrize("images", [0, 1, 255, 511, 512, 4096, 44271])
def test_parts_are_few_alike_and_hold_everything(images: int) -> None:
    ids = [f"ILSVRC2012_val_{n:08d}" for n in range(images)]
    shards = divide(ids, 256)
    assert sorted(image_id for shard in shards for image_id in shard) == ids
    assert all(shard == sorted(shard) for shard in shards)  # the order of the ids stays
    count = max([n for n in (1, 2, 4, MOST_SHARDS) if images >= 256 * n], default=1)
    assert len(shards) == (count if images else 0)
    mean = images / count
    assert all(abs(len(shard) - mean) < 6 * mean**0.5 for shard in shards)


@pytest.mark.parametrize("images", [32, 40, 64, 100])
def test_a_new_image_changes_one_part(images: int) -> None:
    ids = [f"image{n}" for n in range(images)]
    for new in ("a", "image31a", "zebra"):
        before, after = divide(ids, 16), divide(sorted([*ids, new]), 16)
        changed = [shard for shard in after if shard not in [sorted(old) for old in before]]
        assert len(changed) == 1
        assert new in changed[0]


def test_stores_of_the_splits_are_read_as_one(tmp_path: Path) -> None:
    make(tmp_path / "val", [["b"], ["a"]])
    make(tmp_path / "test", [["c"]])
    finish(tmp_path / "train", [], {"classes": ["a", "ä"], "percentile": 98.0})
    both, val = Store(tmp_path), Store(tmp_path / "val")
    assert (both.ids, val.ids, len(Store(tmp_path / "train"))) == (("b", "a", "c"), ("b", "a"), 0)
    for image_id in val.ids:
        np.testing.assert_equal(both.read(image_id), val.read(image_id))
    both.verify()


def test_stores_of_different_runs_are_not_read_as_one(tmp_path: Path) -> None:
    make(tmp_path / "val", [["a"]])
    finish(tmp_path / "test", [], {"classes": ["other"]})
    with pytest.raises(StoreError, match="expected the stores of the splits to be of one run, got several"):
        Store(tmp_path)


def test_the_students_predictions_are_submitted_where_there_are_some(tmp_path: Path) -> None:
    refined, student, empty = (tmp_path / name for name in ("refined", "student", "empty"))
    make(refined, [["a"]])
    make(student, [["a"]])
    make(empty, [])
    assert submitted(refined, student) == student
    assert submitted(refined, empty) == submitted(refined, None) == refined


def test_an_id_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = make(tmp_path, [["a", "b"]])
    with pytest.raises(StoreError, match="expected image id 'zebra', not among the 2 in the store"):
        store.read("zebra")


def test_an_id_in_two_places_is_refused(tmp_path: Path) -> None:
    shards = [
        write_shard(tmp_path, n, {name: item(0) for name in names})
        for n, names in enumerate((["a", "b"], ["b", "c"], ["a"]))
    ]
    with pytest.raises(StoreError, match=r"expected every image id once, got some twice: \['a', 'b'\]$"):
        finish(tmp_path, shards, {})
    assert not (tmp_path / "index.json").exists()


def test_finding_duplicates_among_many_ids_takes_no_time(tmp_path: Path) -> None:
    """Counting each id among all took minutes for a split of this size."""
    ids = tuple(f"ILSVRC2012_val_{n:08d}" for n in range(50_000))
    start = time.perf_counter()
    with pytest.raises(StoreError, match=r"ILSVRC2012_val_00000000', 'ILSVRC2012_val_00000001', .* 50000 in all"):
        finish(tmp_path, [Shard("shard-0", "0", ids), Shard("shard-1", "0", ids)], {})
    assert time.perf_counter() - start < 5  # 0.1 s as measured, against minutes


@pytest.mark.parametrize("where", ["header", "data"])
def test_one_flipped_bit_is_found(where: str, tmp_path: Path) -> None:
    store = make(tmp_path, [["a"], ["b"]])
    path = tmp_path / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[20 if where == "header" else -1] ^= 1
    path.write_bytes(data)
    message = (
        r"shard-00001\.safetensors: expected sha256 [0-9a-f]{12}…, got [0-9a-f]{12}; likely damaged, `dvc checkout`"
    )
    for read in (store.verify, lambda: store.read("b"), lambda: list(store.items())):
        with pytest.raises(StoreError, match=message):
            read()
    assert same(store.read("a"), item(0)), "the other shard is whole"


def test_a_shard_is_hashed_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing at every image would read a shard of 100 MB a thousand times."""
    hashed: list[Path] = []

    def record(path: Path) -> str:
        hashed.append(path)
        return sha256(path)

    monkeypatch.setattr("pipeline.core.store.sha256", record)
    ids = [f"i{n}" for n in range(3 * MOST_SHARDS)]  # one a shard, of the stores of three splits
    stores = [make(tmp_path / name, [[image_id] for image_id in ids]) for name in ("maps", "refined")]
    for _ in range(2):
        for image_id in ids:
            for store in stores:
                store.read(image_id)
    assert len(hashed) == len(set(hashed)) == 2 * len(ids)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "foreign"])
def test_a_damaged_part_is_named_with_the_way_back(damage: str, tmp_path: Path) -> None:
    store = make(tmp_path, [["a"], ["b"]])
    path = tmp_path / "shard-00001.safetensors"
    if damage == "gone":
        path.unlink()
    elif damage == "foreign":
        shutil.copy(tmp_path / "shard-00000.safetensors", path)
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    for read in (store.verify, lambda: store.read("b")):
        with pytest.raises(
            StoreError, match=r"shard-00001\.safetensors: expected .*likely damaged, `dvc checkout` brings"
        ):
            read()
    assert same(store.read("a"), item(0)), "the other shard is whole"


def test_a_store_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    """Open files are kept; not beyond the store that they belong to."""
    make(tmp_path, [["a"]]).read("a")
    finish(tmp_path, [write_shard(tmp_path, 0, {"a": item(7)})], {})
    assert same(Store(tmp_path).read("a"), item(7))


def test_a_process_opens_a_store_once_until_it_is_written_again(tmp_path: Path) -> None:
    make(tmp_path / "val", [["a"], ["b"]])
    first = open_store(tmp_path)
    assert open_store(tmp_path) is first
    assert first.ids == ("a", "b")
    make(tmp_path / "train", [["c"]])
    second = open_store(tmp_path)
    assert second.ids == ("c", "a", "b")
    make(tmp_path / "val", [["d"]])
    assert open_store(tmp_path).ids == ("c", "d")
    with pytest.raises(StoreError, match="expected a file, found none"):
        open_store(tmp_path / "nothing")


def test_a_shard_is_joined_of_images_in_other_shards(tmp_path: Path) -> None:
    store = make(tmp_path, [["a", "b"], ["c"]])
    files = {image_id: tmp_path / f"shard-0000{n}.safetensors" for image_id, n in (("c", 1), ("a", 0))}
    assert join_shard(tmp_path / "joined", 0, files) == write_shard(
        tmp_path / "whole", 0, {image_id: store.read(image_id) for image_id in ("c", "a")}
    )
    message = r"joined/shard-00001\.safetensors: expected arrays of 1 images in shards, got KeyError\('z'\)"
    with pytest.raises(StoreError, match=message):
        join_shard(tmp_path / "joined", 1, {"z": tmp_path / "shard-00001.safetensors"})


def test_a_folder_without_index_is_no_store(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, {"a": item(0)})
    with pytest.raises(
        StoreError, match=r"index\.json: expected a file, found none; likely the stage that makes it has not run"
    ):
        Store(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, [], {"about": {}}, {"about": {}, "shards": [{"file": "x"}]}, {"about": {}, "shards": 3}]
)
def test_an_index_of_something_else_is_no_store(content: Any, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"index\.json: expected the index of a store, got "):
        Store(tmp_path)


def test_a_part_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    store = make(tmp_path, [["a"]])
    with pytest.raises(Exception, match=r"dtype|object|complex"):
        write_shard(tmp_path, 0, {"a": {"x": np.array([None, "text"])}})
    store.verify()
    assert same(store.read("a"), item(0))
    assert {path.name for path in tmp_path.iterdir()} == {"index.json", "shard-00000.safetensors"}


def test_reading_one_image_does_not_load_the_others(tmp_path: Path) -> None:
    """What is returned is the caller's own: writing into it changes neither the file nor the next reader's copy."""
    store = make(tmp_path, [["a", "b"]])
    first = store.read("a")
    first["maps"][:] = 9
    assert same(store.read("a"), item(0))
    store.verify()
