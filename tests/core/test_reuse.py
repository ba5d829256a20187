"""Finished images are found again by what they were made of, whole or not at all, and go when no run needs them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import StoreError
from pipeline.core.files import sha256
from pipeline.core.reuse import KEPT_RUNS, Finished, arrays_digest, digest, finished_of
from pipeline.core.store import Arrays, write_shard


def arrays(value: int) -> Arrays:
    return {"maps": np.full((2, 3), value, np.float32)}


def keep(finished: Finished, store: Path, values: dict[str, int]) -> str:
    """Write a shard and keep it; each image is made of its value alone."""
    shard = write_shard(store, 0, {image_id: arrays(value) for image_id, value in values.items()})
    return finished.keep(finished.keys(values), shard, store)


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return finished_of(tmp_path / "maps", settings={"scale": "max"})


def test_an_image_is_found_by_what_it_is_made_of_whatever_its_neighbors(finished: Finished, tmp_path: Path) -> None:
    keep(finished, tmp_path / "maps", {"a": 1, "b": 2})
    found = finished.find(finished.keys({"b": 2, "c": 3, "a": 9}))
    assert found.keys() == {"b"}  # c is new, a is made of something else
    np.testing.assert_array_equal(found["b"]["maps"], arrays(2)["maps"])


def test_a_shard_is_there_if_all_its_images_are(finished: Finished, tmp_path: Path) -> None:
    keep(finished, tmp_path / "maps", {"a": 1, "b": 2})
    assert finished.has(finished.keys({"a": 1, "b": 2}))
    assert finished.has(finished.keys({"b": 2}))
    assert not finished.has(finished.keys({"a": 1, "b": 2, "c": 3}))
    assert not finished.has(finished.keys({"a": 1, "b": 9}))


def test_images_that_are_kept_are_joined_to_a_shard_and_kept_again(finished: Finished, tmp_path: Path) -> None:
    keep(finished, tmp_path / "maps", {"a": 1, "b": 2})
    keep(finished, tmp_path / "maps", {"c": 3})
    shard, name = finished.join(finished.keys({"c": 3, "a": 1}), 7, tmp_path / "maps")
    expected = write_shard(tmp_path / "other", 7, {"c": arrays(3), "a": arrays(1)})
    assert shard == expected
    assert sha256(tmp_path / "maps" / shard.file) == expected.sha256
    assert finished.has(finished.keys({"a": 1, "c": 3}))
    assert (finished.folder / f"{name}.safetensors").samefile(tmp_path / "maps" / shard.file)


def test_images_that_are_not_kept_are_named(finished: Finished, tmp_path: Path) -> None:
    keep(finished, tmp_path / "maps", {"a": 1})
    with pytest.raises(StoreError, match=r"scratch/maps: expected all images that were made, missing=\['b', 'c'\]"):
        finished.join(finished.keys({"a": 1, "c": 3, "b": 2}), 1, tmp_path / "maps")


def test_other_settings_find_nothing(finished: Finished, tmp_path: Path) -> None:
    keep(finished, tmp_path / "maps", {"a": 1})
    other = finished_of(tmp_path / "maps", settings={"scale": "percentile"})
    assert other.folder == finished.folder
    assert other.find(other.keys({"a": 1})) == {}


@pytest.mark.parametrize("damage", ["shard", "list", "no shard"])
def test_what_is_damaged_is_not_used(damage: str, finished: Finished, tmp_path: Path) -> None:
    name = keep(finished, tmp_path / "maps", {"a": 1})
    shard, listed = (finished.folder / f"{name}{suffix}" for suffix in (".safetensors", ".json"))
    if damage == "no shard":
        shard.unlink()
    else:
        file = shard if damage == "shard" else listed
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.unlink()  # it is a hard link to the store
        file.write_bytes(content)
    assert finished.find(finished.keys({"a": 1})) == {}


@pytest.mark.parametrize("damage", ["flipped byte", "half"])
def test_a_damaged_shard_is_replaced_when_it_is_made_again(damage: str, finished: Finished, tmp_path: Path) -> None:
    name = keep(finished, tmp_path / "maps", {"a": 1})
    kept = finished.folder / f"{name}.safetensors"
    whole = kept.read_bytes()
    kept.unlink()  # it is a hard link to the store
    kept.write_bytes(whole[: len(whole) // 2] if damage == "half" else whole[:-1] + bytes([whole[-1] ^ 1]))
    assert finished.find(finished.keys({"a": 1})) == {}
    assert keep(finished, tmp_path / "maps", {"a": 1}) == name
    assert finished.find(finished.keys({"a": 1})).keys() == {"a"}
    assert kept.samefile(tmp_path / "maps" / "shard-00000.safetensors")


def test_only_shards_with_wanted_images_are_hashed(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage looks once a task: hashing all that is kept would take longer than some tasks."""
    names = [keep(finished, tmp_path / "maps", {image_id: n}) for n, image_id in enumerate("abc")]
    hashed: list[str] = []

    def record(path: Path) -> str:
        hashed.append(path.stem)
        return sha256(path)

    monkeypatch.setattr("pipeline.core.reuse.sha256", record)
    for _ in range(2):
        assert finished.find(finished.keys({"b": 1, "d": 3})).keys() == {"b"}
    assert hashed == [names[1]]


def test_a_shard_that_is_kept_twice_lies_there_once(finished: Finished, tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "maps", 0, {"a": arrays(1)})
    names = {finished.keep(finished.keys({"a": 1}), shard, tmp_path / "maps") for _ in range(2)}
    assert {path.name for path in finished.folder.iterdir()} == {
        f"{name}{suffix}" for name in names for suffix in (".json", ".safetensors")
    }


def test_the_last_runs_are_kept(finished: Finished, tmp_path: Path) -> None:
    names = []
    for value in range(KEPT_RUNS + 2):
        names.append(keep(finished, tmp_path / "maps", {"a": value}))
        finished.end([names[-1]])
    there = {path.stem for path in finished.folder.glob("*.safetensors")}
    assert there == set(names[-KEPT_RUNS:])


def test_a_run_that_comes_again_counts_once_and_as_the_last(finished: Finished, tmp_path: Path) -> None:
    first = keep(finished, tmp_path / "maps", {"a": 0})
    for value in range(1, KEPT_RUNS + 1):
        finished.end([first])
        finished.end([keep(finished, tmp_path / "maps", {"a": value})])
    assert (finished.folder / f"{first}.safetensors").is_file()


def test_digests_tell_names_types_shapes_and_values_apart() -> None:
    given = {"x": np.zeros((2, 3), np.float32)}
    others = [
        {"y": np.zeros((2, 3), np.float32)},
        {"x": np.zeros((2, 3), np.int32)},
        {"x": np.zeros((3, 2), np.float32)},
        {"x": np.ones((2, 3), np.float32)},
    ]
    assert len({arrays_digest(one) for one in (given, *others)}) == 5
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
