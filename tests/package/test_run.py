"""Packaging: equal bytes for equal predictions, and nothing half-made under the final name."""

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.submission import GOOD, SIZES, make_manifest

from pipeline.core.errors import SubmissionError
from pipeline.core.images import decode_png, encode_png
from pipeline.core.manifest import from_rows
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import TRACKS
from pipeline.package.contents import Contents
from pipeline.package.run import package, write_zip
from pipeline.package.validate import expected_sizes, validate


def _refined(folder: Path, predictions: dict[str, bytes]) -> Store:
    parts = [write_shard(folder, number, {image_id: {"before": np.zeros(3, np.uint8), "after": np.frombuffer(data,
                                                                                                            np.uint8)}})
             for number, (image_id, data) in enumerate(predictions.items())]  # fmt: skip
    finish(folder, parts, {})
    return Store(folder)


def _package(tmp_path: Path, out: str = "track1.zip", track: str = "track1", **changed: bytes) -> dict[str, object]:
    refined = _refined(tmp_path / f"refined-{out}", GOOD | changed)
    return package(make_manifest(tmp_path, SIZES), refined, tmp_path / out, TRACKS[track], "test").counts


def test_package_holds_the_predictions_as_they_are(tmp_path: Path) -> None:
    ramp = np.arange(24, dtype=np.uint8).reshape(4, 6)
    counts = _package(tmp_path, track="track3", a=encode_png(ramp))
    with zipfile.ZipFile(tmp_path / "track1.zip") as archive:
        assert archive.namelist() == ["a.png", "b.png"]
        np.testing.assert_array_equal(decode_png(archive.read("a.png"), "a"), ramp)
    assert counts["images"] == 2
    assert counts["largest_value"] == 23
    assert counts["bytes"] == (tmp_path / "track1.zip").stat().st_size


def test_equal_predictions_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    first = _package(tmp_path, "one.zip")
    swapped = dict(reversed(list(GOOD.items())))
    refined = _refined(tmp_path / "swapped", swapped)
    manifest = make_manifest(tmp_path, dict(reversed(list(SIZES.items()))))
    second = package(manifest, refined, tmp_path / "two.zip", TRACKS["track1"], "test").counts
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert first == second


def test_members_are_sorted_stored_dated_and_readable_by_all(tmp_path: Path) -> None:
    sizes = dict.fromkeys(("b", "a", "a-1"), (6, 4))
    refined = _refined(tmp_path / "refined", dict.fromkeys(sizes, GOOD["a"]))
    package(make_manifest(tmp_path, sizes), refined, tmp_path / "x.zip", TRACKS["track1"], "test")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == ["a-1.png", "a.png", "b.png"]  # sorted by name, not by id
    for info in infos:
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.external_attr >> 16 == 0o100644
        assert (info.create_system, info.compress_type, info.flag_bits, info.extra) == (3, zipfile.ZIP_STORED, 0, b"")


def test_predictions_are_read_one_at_a_time_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {f"{number:02d}": (400, 300) for number in range(40)}
    png = encode_png(np.random.default_rng(0).integers(0, 255, (300, 400), np.uint8))  # noise: some 120 kB
    refined, read = _refined(tmp_path / "refined", dict.fromkeys(reversed(sizes), png)), []
    original: Callable[..., dict[str, np.ndarray]] = Store.read
    monkeypatch.setattr(Store, "read", lambda store, image_id: read.append(image_id) or original(store, image_id))
    tracemalloc.start()
    package(make_manifest(tmp_path, sizes), refined, tmp_path / "x.zip", TRACKS["track3"], "test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == sorted(sizes)
    whole = (tmp_path / "x.zip").stat().st_size
    assert whole > 40 * len(png)
    assert peak < whole / 2  # measured: a quarter, most of it the 8-byte copy of one prediction that is counted


def test_a_zip_that_would_be_refused_never_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "track1.zip").write_bytes(b"old")
    with pytest.raises(SubmissionError, match=r"^a: expected values 0\.\.3, got \[9\]"):
        _package(tmp_path, a=encode_png(np.full((4, 6), 9, np.uint8)))
    assert (tmp_path / "track1.zip").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["refined-track1.zip", "track1.zip"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_crash_while_writing_leaves_the_old_zip_and_nothing_else(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "track1.zip").write_bytes(b"old")
    original: Callable[..., dict[str, np.ndarray]] = Store.read

    def read(store: Store, image_id: str) -> dict[str, np.ndarray]:
        if image_id == "b":
            raise error("crash")
        return original(store, image_id)

    monkeypatch.setattr(Store, "read", read)
    with pytest.raises(error, match="crash"):
        _package(tmp_path)
    assert (tmp_path / "track1.zip").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["refined-track1.zip", "track1.zip"]


def test_a_prediction_that_is_missing_is_named(tmp_path: Path) -> None:
    refined = _refined(tmp_path / "refined", {"a": GOOD["a"]})
    message = r"^track1\.zip: expected predictions for the 2 images .* missing=\['b'\]; likely `extract\.splits`"
    with pytest.raises(SubmissionError, match=message):
        package(make_manifest(tmp_path, SIZES), refined, tmp_path / "track1.zip", TRACKS["track1"], "test")
    assert not (tmp_path / "track1.zip").exists()


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    refined = _refined(tmp_path / "refined", GOOD)
    with pytest.raises(SubmissionError, match=r"^split 'val': expected images to package, found none"):
        package(make_manifest(tmp_path, SIZES), refined, tmp_path / "track1.zip", TRACKS["track1"], "val")


def test_other_splits_stay_out(tmp_path: Path) -> None:
    parts = make_manifest(tmp_path, {"a": SIZES["a"]}), make_manifest(tmp_path, {"b": SIZES["b"]}, "val")
    manifest = from_rows([row for part in parts for row in part.table.to_pylist()], ["x", "y", "z"], tmp_path, "labels")
    counts = package(manifest, _refined(tmp_path / "refined", GOOD), tmp_path / "x.zip", TRACKS["track1"], "val").counts
    assert counts["images"] == 1
    assert zipfile.ZipFile(tmp_path / "x.zip").namelist() == ["b.png"]


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    rows = make_manifest(tmp_path, SIZES).table.to_pylist()
    manifest = from_rows([*rows, rows[0]], ["x"], tmp_path, "labels")
    with pytest.raises(SubmissionError, match="expected every image id once, got 3 images with 2 ids"):
        expected_sizes(manifest, "test")


@settings(max_examples=30, deadline=None)
@given(
    predictions=st.dictionaries(
        st.text("abcxyz019_-", min_size=1, max_size=6), st.binary(min_size=1, max_size=9), max_size=6
    )
)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, predictions: dict[str, bytes]) -> None:
    images = {name: np.frombuffer(data, np.uint8)[None] for name, data in predictions.items()}  # (1, n)
    path = tmp_path_factory.mktemp("property") / "x.zip"
    write_zip(path, ((f"{name}.png", encode_png(pixels)) for name, pixels in images.items()))
    contents = validate(path, {name: (pixels.size, 1) for name, pixels in images.items()}, 255)
    slow = Contents()
    for name, pixels in images.items():
        slow.add(pixels, name)
    assert contents.images == len(predictions)
    assert contents.values.tolist() == slow.values.tolist()
    for value in range(256):
        assert contents.values[value] == sum(data.count(value) for data in predictions.values())
