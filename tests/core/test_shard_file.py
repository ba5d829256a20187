"""Shards are read as the library reads them, a copy of one array at a time."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from safetensors.numpy import load, save, save_file

from pipeline.core.shard_file import DTYPES, ShardFile, join

KINDS = st.sampled_from(list(DTYPES.values()))
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NAMES = st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(["a", "b", "ä"]))


def write(path: Path, tensors: dict[str, NDArray[Any]]) -> Path:
    path.write_bytes(save(tensors))
    return path


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, arrays.arrays(KINDS, SHAPES), min_size=1, max_size=6))
def test_arrays_are_those_that_the_library_reads(
    tmp_path_factory: pytest.TempPathFactory, found: dict[tuple[str, str], NDArray[Any]]
) -> None:
    path = tmp_path_factory.mktemp("shard") / "x.safetensors"
    expected = load(save({f"{image_id}/{name}": array for (image_id, name), array in found.items()}))
    shard = ShardFile(write(path, expected))
    for image_id in {image_id for image_id, _ in found}:
        read = shard.read(image_id)
        assert list(read) == sorted(name for other, name in found if other == image_id)
        for name, array in read.items():
            assert (array.dtype, array.shape) == (expected[f"{image_id}/{name}"].dtype, found[image_id, name].shape)
            np.testing.assert_array_equal(array, expected[f"{image_id}/{name}"])
            assert array.flags.writeable


def test_metadata_is_no_image(tmp_path: Path) -> None:
    save_file({"a/x": np.ones(2)}, tmp_path / "x", metadata={"data_offsets": "0"})
    shard = ShardFile(tmp_path / "x")
    np.testing.assert_array_equal(shard.read("a")["x"], np.ones(2))
    with pytest.raises(KeyError):
        shard.read("__metadata__")


def test_what_was_opened_is_read_though_the_file_is_replaced_or_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"a/x": np.arange(3)})
    shard = ShardFile(path)
    write(tmp_path / "y", {"b/xyz": np.arange(9)}).replace(path)
    np.testing.assert_array_equal(shard.read("a")["x"], np.arange(3))
    path.unlink()
    np.testing.assert_array_equal(shard.read("a")["x"], np.arange(3))


def with_length(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off"),
        (b"\xff" * 40, "cut off"),
        (with_length(b'{"a/x":')[:-1], "cut off"),
        (with_length(b"{"), "Expecting property name"),
        (with_length(b"[1]"), "another format"),
        (with_length(b"3"), "another format"),
        (with_length(b'{"a/x":2}'), "another format"),
        (with_length(b'{"a/x":{"data_offsets":[0,1]}}'), "another format"),
    ],
)
def test_a_file_of_another_format_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        ShardFile(tmp_path / "x")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ShardFile(tmp_path / "x")


def test_a_file_that_ends_within_an_array_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"a/x": np.arange(3), "a/y": np.arange(3)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut off"):
        ShardFile(path).read("a")


def test_a_type_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"a/x": np.arange(3, dtype=np.uint16)})
    path.write_bytes(path.read_bytes().replace(b'"U16"', b'"B16"'))
    with pytest.raises(ValueError, match="type B16"):
        ShardFile(path).read("a")


def test_a_file_that_nobody_reads_any_more_is_closed(tmp_path: Path) -> None:
    shard = ShardFile(write(tmp_path / "x", {"a/x": np.arange(3)}))
    descriptor = shard._descriptor
    os.fstat(descriptor)
    del shard
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, arrays.arrays(KINDS, SHAPES), min_size=1, max_size=8))
def test_files_joined_are_the_bytes_that_the_library_makes_of_all_arrays(
    tmp_path_factory: pytest.TempPathFactory, found: dict[tuple[str, str], NDArray[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    files = {image_id: folder / str(n) for n, image_id in enumerate(dict.fromkeys(image_id for image_id, _ in found))}
    for image_id, file in files.items():
        own = {f"{other}/{name}": array for (other, name), array in found.items() if other == image_id}
        write(file, {**own, f"{image_id}-/left out": np.ones(3)})
    expected = save({f"{image_id}/{name}": array for (image_id, name), array in found.items()})
    assert b"".join(join(files, ShardFile)) == expected


def test_joining_takes_one_array_at_a_time(tmp_path: Path) -> None:
    files = {name: write(tmp_path / name, {f"{name}/x": np.zeros(3, np.uint8)}) for name in ("a", "b")}
    _, *arrays_of = join(files, ShardFile)
    assert [len(piece) for piece in arrays_of] == [3, 3]
    with pytest.raises(KeyError):
        next(join({"c": tmp_path / "a"}, ShardFile))
