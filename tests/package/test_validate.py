"""What is refused of a submission, and why."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.submission import GOOD, SIZES, K, make_manifest

from pipeline.core.errors import SubmissionError
from pipeline.core.images import encode_png
from pipeline.core.manifest import write_manifest
from pipeline.core.tracks import TRACKS
from pipeline.package.validate import MOST_PROBLEMS, expected_sizes, main, validate


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
     "x.zip: expected names of the form <id>.png, got 1 others: ['c.jpg']; likely saved in…"),
    ("case", [("a.PNG", GOOD["a"]), ("b.png", GOOD["b"])],
     "x.zip: expected names of the form <id>.png, got 1 others: ['a.PNG']; likely the wrong case of the extension, "
     "which is .png in small letters"),
    ("missing", _members()[:1], "x.zip: expected 2 ids, got 1; missing=['b'], extra=[]; likely predicting…"),
    ("extra", [*_members(), ("c.png", GOOD["a"])],
     "x.zip: expected 2 ids, got 3; missing=[], extra=['c']; likely files of…"),
    ("other split", [("c.png", GOOD["a"])],
     "x.zip: expected 2 ids, got 1; missing=['a', 'b'], extra=['c']; likely the predictions for another split"),
    ("jpeg", _members(a=_jpeg()), WANTED + "a JPEG; likely saved in another format and renamed"),
    ("text", _members(a=b"hello"), WANTED + "a file that starts with b'hello'; likely another file"),
    ("empty", _members(a=b""), WANTED + "an empty file; likely no room…"),
    ("palette", _members(a=_png("P")), WANTED + "mode P, 6x4; likely a palette copy…"),
    ("rgb", _members(a=_png("RGB")), WANTED + "mode RGB, 6x4; likely a colored copy…"),
    ("rgba", _members(a=_png("RGBA")), WANTED + "mode RGBA, 6x4; likely a colored copy…"),
    ("la", _members(a=_png("LA")), WANTED + "mode LA, 6x4; likely saved with an alpha…"),
    ("16 bits", _members(a=_png("I;16")), WANTED + "mode L with 16 bits, 6x4; likely saved from a 16-bit array…"),
    ("1 bit", _members(a=_png("1")), WANTED + "mode 1, 6x4; likely a bool array, save it as uint8"),
    ("swapped", _members(a=_png("L", (4, 6))), WANTED + "mode L, 4x6; likely width and height swapped"),
    ("resized", _members(a=_png("L", (12, 8))),
     WANTED + "mode L, 12x8; likely not resized from the network's input to the size of the image"),
    ("above K", _members(a=encode_png(np.array([[0, 1, 2, 3, 4, 9]] * 4, np.uint8))),
     "a: expected values 0..3, got [4, 9] in 8 pixels; likely scores in place of…"),
    ("255", _members(a=encode_png(np.full((4, 6), 255, np.uint8))),
     "a: expected values 0..3, got [255] in 24 pixels; 255 marks ignored pixels, which only the truth may have"),
    ("truncated png", _members(a=GOOD["a"][:-15]),
     "a: expected a whole PNG, got one that ends inside of chunk IDAT; likely a truncated copy"),
    ("bomb", _members(a=GOOD["a"] + bytes(10_000_000)), "a: expected at most 65592 bytes for 6x4 pixels, got 100000…"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "message"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
def test_each_defect_is_named(members: list[tuple[str, bytes]], message: str, tmp_path: Path) -> None:
    first = _problems(_zip(tmp_path / "x.zip", members, zipfile.ZIP_DEFLATED))[0]
    assert first == message or (message.endswith("…") and first.startswith(message[:-1]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_doubled_id_is_named(tmp_path: Path) -> None:
    assert _problems(_zip(tmp_path / "x.zip", [*_members(), ("a.png", GOOD["a"])])) == [
        "x.zip: expected every id once, got 1 members a second time: ['a.png']; likely zipped twice into one file, "
        "delete it first"
    ]


def test_all_problems_come_at_once_also_inside_a_folder(tmp_path: Path) -> None:
    members = [("out/a.png", _png("RGB")), ("out/b.png", GOOD["b"]), ("out/c.png", b""), ("out/.DS_Store", b"")]
    lines = _problems(_zip(tmp_path / "x.zip", members))
    assert [line.split(":")[0] for line in lines] == ["x.zip", "x.zip", "x.zip", "a"]
    assert "flat zip" in lines[0]
    assert ".DS_Store" in lines[1]
    assert "missing=[], extra=['c']" in lines[2]


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


@pytest.mark.parametrize("keep", [10, 200, -10, -1])
def test_a_truncated_zip_is_refused(keep: int, tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", _members())
    path.write_bytes(path.read_bytes()[:keep])
    (line,) = _problems(path)
    assert line.startswith("x.zip: expected a whole zip, got one without its end (")


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path / "x.zip") == ["x.zip: expected a zip, found no file"]
    assert _problems(tmp_path)[0].endswith("expected a zip, found a folder; zip the files in it")


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
    assert _problems(path) == [
        "x.zip: expected members without a password, got 1 encrypted: ['a.png']; likely `zip -e`, or a password set in "
        "7-Zip"
    ]


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


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_member_that_is_larger_than_it_says_is_refused_and_not_unpacked(compression: int, tmp_path: Path) -> None:
    good = GOOD["a"]
    path = _zip(tmp_path / "x.zip", _members(a=good + bytes(50_000_000)), compression)
    data = bytearray(path.read_bytes())
    for start, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):  # CRC, compressed and unpacked bytes of a.png
        place = data.index(start) + offset
        struct.pack_into("<L", data, place, zlib.crc32(good))  # both as if the member ended with its PNG
        struct.pack_into("<L", data, place + 8, len(good))
    path.write_bytes(data)
    del data
    tracemalloc.start()
    lines = _problems(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [
        f"a: expected a PNG, got a member that cannot be read ({len(good)} bytes in the list of members, not so many "
        "in the member); likely damaged on the way"
    ]
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


def test_sizes_that_no_stage_has_read_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg())
    assert expected_sizes(make_manifest(tmp_path, {"a": (0, 0), "b": (5, 7)}), "test") == SIZES


# --- command line ----------------------------------------------------------------------------------------------------


def _check(tmp_path: Path, path: Path, split: str = "test", track: str = "track1") -> int:
    write_manifest(tmp_path / "manifest", make_manifest(tmp_path, SIZES))
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
