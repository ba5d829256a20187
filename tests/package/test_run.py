"""Submissions: what is refused and why, equal bytes for equal predictions, and nothing half-made under the final
name."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import SubmissionError
from pipeline.core.images import decode_png, encode_png
from pipeline.core.manifest import Manifest, from_rows, write_manifest
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import TRACKS
from pipeline.package.run import MOST_PROBLEMS, Contents, expected_sizes, main, package, validate, write_zip

K = 3  # classes
SIZES = {"a": (6, 4), "b": (5, 7)}  # (width, height), never square
GOOD = {image_id: encode_png(np.full((height, width), 1, np.uint8)) for image_id, (width, height) in SIZES.items()}


def _png(mode: str, size: tuple[int, int] = SIZES["a"]) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    return stream.getvalue()


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("L", SIZES["a"]).save(stream, "JPEG")
    return stream.getvalue()


def _zip(path: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _members(**changed: bytes) -> list[tuple[str, bytes]]:
    return [(f"{image_id}.png", data) for image_id, data in (GOOD | changed).items()]


def _problems(path: Path, largest: int = K) -> list[str]:
    with pytest.raises(SubmissionError) as caught:
        validate(path, SIZES, largest)
    return str(caught.value).split("\n")


# --- validate --------------------------------------------------------------------------------------------------------


def test_a_good_zip_passes_and_is_counted(tmp_path: Path) -> None:
    predictions = {"a": np.zeros((4, 6), np.uint8), "b": np.array([[0, 2, 2, 2, 3]] * 7, np.uint8)}
    path = _zip(tmp_path / "a.zip", [(f"{name}.png", encode_png(pixels)) for name, pixels in predictions.items()])
    contents = validate(path, SIZES, K)
    assert contents.values[:4].tolist() == [24 + 7, 0, 21, 7]
    assert contents.summarize(TRACKS["track1"]) == {
        "images": 2, "images_without_foreground": 1, "constant_images": 1, "smallest_value": 0, "largest_value": 3,
        "classes_in_predictions": 2,
    }  # fmt: skip
    assert "classes_in_predictions" not in contents.summarize(TRACKS["track3"])


def test_deflated_predictions_pass_too(tmp_path: Path) -> None:
    assert validate(_zip(tmp_path / "a.zip", _members(), zipfile.ZIP_DEFLATED), SIZES, K).images == 2


WANTED = "a: expected a PNG of mode L, 6x4 (width x height), got "
MESSAGES = [  # defect, members, message or, before an …, its beginning
    ("folder", [("predictions/", b""), ("predictions/a.png", GOOD["a"]), ("predictions/b.png", GOOD["b"])],
     "x.zip: expected a flat zip, got 3 members in folders: ['predictions/', 'predictions/a.png', "
     "'predictions/b.png']; likely the folder was zipped instead of its files, use `zip -j`"),
    ("folder of windows", [("predictions\\a.png", GOOD["a"]), ("b.png", GOOD["b"])],
     "x.zip: expected a flat zip, got 1 members in…"),
    ("macos", [*_members(), ("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), ("._b.png", b"x")],
     "x.zip: expected predictions only, got 3 files of the operating system: ['__MACOSX/._a.png', '.DS_Store', "
     "'._b.png']; likely…"),
    ("extension", [*_members(), ("c.jpg", b"x")],
     "x.zip: expected names of the form <id>.png, got 1 others: ['c.jpg']"),
    ("case", [("a.PNG", GOOD["a"]), ("b.png", GOOD["b"])],
     "x.zip: expected names of the form <id>.png, got 1 others: ['a.PNG']"),
    ("missing", _members()[:1], "x.zip: expected 2 ids, got 1; missing=['b'], extra=[]"),
    ("extra", [*_members(), ("c.png", GOOD["a"])], "x.zip: expected 2 ids, got 3; missing=[], extra=['c']"),
    ("other split", [("c.png", GOOD["a"])],
     "x.zip: expected 2 ids, got 1; missing=['a', 'b'], extra=['c']; likely the predictions to another split"),
    ("jpeg", _members(a=_jpeg()), WANTED + "a JPEG"),
    ("text", _members(a=b"hello"), WANTED + "a file that starts with b'hello'"),
    ("empty", _members(a=b""), WANTED + "a file that starts with b''"),
    ("palette", _members(a=_png("P")), WANTED + "mode P, 6x4; likely a palette copy…"),
    ("rgb", _members(a=_png("RGB")), WANTED + "mode RGB, 6x4; likely a colored copy…"),
    ("rgba", _members(a=_png("RGBA")), WANTED + "mode RGBA, 6x4"),
    ("la", _members(a=_png("LA")), WANTED + "mode LA, 6x4"),
    ("16 bits", _members(a=_png("I;16")), WANTED + "mode L with 16 bits, 6x4; likely saved from a 16-bit array…"),
    ("1 bit", _members(a=_png("1")), WANTED + "mode 1, 6x4; likely a bool array, save it as uint8"),
    ("swapped", _members(a=_png("L", (4, 6))), WANTED + "mode L, 4x6; likely width and height swapped"),
    ("resized", _members(a=_png("L", (12, 8))), WANTED + "mode L, 12x8"),
    ("above K", _members(a=encode_png(np.array([[0, 1, 2, 3, 4, 9]] * 4, np.uint8))),
     "a: expected values 0..3, got [4, 9] in 8 pixels"),
    ("255", _members(a=encode_png(np.full((4, 6), 255, np.uint8))),
     "a: expected values 0..3, got [255] in 24 pixels; 255 marks ignored pixels, which only the truth may have"),
    ("truncated png", _members(a=GOOD["a"][:-15]), "a: expected a PNG, got a member that cannot be read…"),
    ("bomb", _members(a=GOOD["a"] + bytes(10_000_000)), "a: expected at most 65592 bytes for 6x4 pixels, got 100000…"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "message"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
def test_each_defect_is_named(members: list[tuple[str, bytes]], message: str, tmp_path: Path) -> None:
    first = _problems(_zip(tmp_path / "x.zip", members, zipfile.ZIP_DEFLATED))[0]
    assert first == message or (message.endswith("…") and first.startswith(message[:-1]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_doubled_id_is_named(tmp_path: Path) -> None:
    assert _problems(_zip(tmp_path / "x.zip", [*_members(), ("a.png", GOOD["a"])])) == [
        "x.zip: expected every id once, got 1 members a second time: ['a.png']"
    ]


def test_all_problems_come_at_once_also_inside_a_folder(tmp_path: Path) -> None:
    members = [("out/a.png", _png("RGB")), ("out/b.png", GOOD["b"]), ("out/c.png", b""), ("out/.DS_Store", b"")]
    lines = _problems(_zip(tmp_path / "x.zip", members))
    assert [line.split(":")[0] for line in lines] == ["x.zip", "x.zip", "x.zip", "a"]
    assert "flat zip" in lines[0]
    assert ".DS_Store" in lines[1]
    assert lines[2].endswith("missing=[], extra=['c']")


def test_many_problems_are_counted(tmp_path: Path) -> None:
    sizes = {f"{number:03d}": (6, 4) for number in range(MOST_PROBLEMS + 7)}
    path = _zip(tmp_path / "x.zip", [(f"{name}.png", _png("RGB")) for name in sizes])
    with pytest.raises(SubmissionError) as caught:
        validate(path, sizes, K)
    lines = str(caught.value).split("\n")
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[0].startswith("000: ")
    assert lines[-1] == "… 27 problems in all, the first 20 are shown"


def test_track3_takes_all_values_and_track1_the_last_class(tmp_path: Path) -> None:
    ramp = encode_png(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6))
    assert validate(_zip(tmp_path / "x.zip", _members(a=ramp)), SIZES, 255).values[230] == 1
    last = encode_png(np.full((4, 6), K, np.uint8))
    assert validate(_zip(tmp_path / "y.zip", _members(a=last)), SIZES, K).images == 2
    assert (
        validate(_zip(tmp_path / "z.zip", _members(a=encode_png(np.full((4, 6), 255, np.uint8)))), SIZES, 255).images
        == 2
    )


@pytest.mark.parametrize("keep", [0, 10, 200, -10])
def test_a_truncated_zip_is_refused(keep: int, tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", _members())
    path.write_bytes(path.read_bytes()[:keep])
    assert _problems(path)[0].startswith("x.zip: expected a zip, got a file that cannot be read as one (")


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path / "x.zip") == ["x.zip: expected a zip, found no file"]
    assert _problems(tmp_path)[0].endswith("expected a zip, found no file")


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", _members())
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 1  # in the first member, a.png: only its checksum tells
    path.write_bytes(data)
    assert _problems(path)[0].startswith("a: expected a PNG, got a member that cannot be read (Bad CRC-32")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", _members())
    data = bytearray(path.read_bytes())
    for start, offset in (
        (b"PK\x03\x04", 6),
        (b"PK\x01\x02", 8),
    ):  # flags in the local and in the central header of a.png
        data[data.index(start) + offset] |= 1
    path.write_bytes(data)
    assert _problems(path) == ["a: expected a readable member, got an encrypted one"]


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = GOOD["a"] + bytes(50_000_000)
    path = _zip(tmp_path / "x.zip", [*_members(a=bomb), ("c.png", bomb)], zipfile.ZIP_DEFLATED)
    del bomb
    tracemalloc.start()
    lines = _problems(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line[:2] for line in lines] == ["x.", "a:"]
    assert peak < 5_000_000


def test_a_bomb_inside_the_png_is_not_unpacked(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 6, 4, 8, 0, 0, 0, 0)  # says 6 x 4, holds 20 million pixels
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(20_000_000)))
        + chunk(b"IEND", b"")
    )
    path = _zip(tmp_path / "x.zip", _members(a=png))
    tracemalloc.start()
    validate(path, SIZES, K)  # what a decoder makes of it is 6 x 4 pixels
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), start=st.integers(0, 400))
def test_any_damage_is_a_submission_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: int
) -> None:
    path = _zip(tmp_path_factory.mktemp("damage") / "x.zip", _members(), zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + data + whole[start + len(data) :])
    with suppress(SubmissionError):
        assert validate(path, SIZES, K).images == 2


# --- package ---------------------------------------------------------------------------------------------------------


def _manifest(root: Path, sizes: dict[str, tuple[int, int]], split: str = "test") -> Manifest:
    rows = [{"id": image_id, "file": f"{image_id}.jpg", "width": width, "height": height, "labels": [], "split": split,
             "mask": None, "boxes": None, "bytes": 0} for image_id, (width, height) in sizes.items()]  # fmt: skip
    return from_rows(rows, ["x", "y", "z"], root, "labels")


def _refined(folder: Path, predictions: dict[str, bytes]) -> Store:
    parts = [write_shard(folder, number, {image_id: {"before": np.zeros(3, np.uint8), "after": np.frombuffer(data,
                                                                                                            np.uint8)}})
             for number, (image_id, data) in enumerate(predictions.items())]  # fmt: skip
    finish(folder, parts, {})
    return Store(folder)


def _package(tmp_path: Path, out: str = "track1.zip", track: str = "track1", **changed: bytes) -> dict[str, object]:
    refined = _refined(tmp_path / f"refined-{out}", GOOD | changed)
    return package(_manifest(tmp_path, SIZES), refined, tmp_path / out, TRACKS[track], "test")


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
    manifest = _manifest(tmp_path, dict(reversed(list(SIZES.items()))))
    second = package(manifest, refined, tmp_path / "two.zip", TRACKS["track1"], "test")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert first == second


def test_members_are_sorted_stored_dated_and_readable_by_all(tmp_path: Path) -> None:
    sizes = dict.fromkeys(("b", "a", "a-1"), (6, 4))
    refined = _refined(tmp_path / "refined", dict.fromkeys(sizes, GOOD["a"]))
    package(_manifest(tmp_path, sizes), refined, tmp_path / "x.zip", TRACKS["track1"], "test")
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
    package(_manifest(tmp_path, sizes), refined, tmp_path / "x.zip", TRACKS["track3"], "test")
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
    message = r"^track1\.zip: expected predictions to the 2 images .* missing=\['b'\]; likely `extract\.splits`"
    with pytest.raises(SubmissionError, match=message):
        package(_manifest(tmp_path, SIZES), refined, tmp_path / "track1.zip", TRACKS["track1"], "test")
    assert not (tmp_path / "track1.zip").exists()


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    refined = _refined(tmp_path / "refined", GOOD)
    with pytest.raises(SubmissionError, match=r"^split 'val': expected images to package, found none"):
        package(_manifest(tmp_path, SIZES), refined, tmp_path / "track1.zip", TRACKS["track1"], "val")


def test_other_splits_stay_out(tmp_path: Path) -> None:
    parts = _manifest(tmp_path, {"a": SIZES["a"]}), _manifest(tmp_path, {"b": SIZES["b"]}, "val")
    manifest = from_rows([row for part in parts for row in part.table.to_pylist()], ["x", "y", "z"], tmp_path, "labels")
    counts = package(manifest, _refined(tmp_path / "refined", GOOD), tmp_path / "x.zip", TRACKS["track1"], "val")
    assert counts["images"] == 1
    assert zipfile.ZipFile(tmp_path / "x.zip").namelist() == ["b.png"]


def test_sizes_that_no_stage_has_read_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg())
    assert expected_sizes(_manifest(tmp_path, {"a": (0, 0), "b": (5, 7)}), "test") == SIZES


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    rows = _manifest(tmp_path, SIZES).table.to_pylist()
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
    for pixels in images.values():
        slow.add(pixels)
    assert contents.images == len(predictions)
    assert contents.values.tolist() == slow.values.tolist()
    for value in range(256):
        assert contents.values[value] == sum(data.count(value) for data in predictions.values())


# --- command line ----------------------------------------------------------------------------------------------------


def _check(tmp_path: Path, path: Path, split: str = "test", track: str = "track1") -> int:
    write_manifest(tmp_path / "manifest", _manifest(tmp_path, SIZES))
    return main(["--track", track, "--manifest", str(tmp_path / "manifest"), "--split", split, str(path)])


def test_the_command_says_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(tmp_path, _zip(tmp_path / "x.zip", _members())) == 0
    assert capsys.readouterr().out == "ok: 2 images\n"


def test_the_command_prints_the_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _zip(tmp_path / "x.zip", _members(a=encode_png(np.full((4, 6), 255, np.uint8)))[:1])
    assert _check(tmp_path, path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["x.zip", "a"]
    assert _check(tmp_path, path, track="track3") == 1
    assert len(capsys.readouterr().out.splitlines()) == 1  # 255 is a score, the missing id stays


def test_the_command_explains_what_it_cannot_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(tmp_path, _zip(tmp_path / "x.zip", _members()), split="val") == 1
    assert "split 'val': expected images" in capsys.readouterr().out
    assert main(["--track", "track1", "--manifest", str(tmp_path / "no.parquet"), "--split", "test", "x.zip"]) == 1
    assert "likely the stage `preprocess` has not run" in capsys.readouterr().out
