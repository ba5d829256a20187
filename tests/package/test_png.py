"""The bytes of a prediction: what is no plain, whole PNG of one 8-bit channel, and what is one."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.faults import png
from support.submission import GOOD, SIZES, VALUES

from pipeline.core.images import MAX_PIXELS, encode_png
from pipeline.package.png import bytes_problem, chunk_problem, decode, header_problem

SIZE = SIZES["a"]


def _saved(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(VALUES["a"]).save(stream, "PNG", **options)
    return stream.getvalue()


def _interlaced() -> bytes:
    """Adam7 of a 1 x 1 image: one pass of one pixel."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)), (b"IDAT", zlib.compress(b"\0\7")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


@pytest.mark.parametrize(
    "data",
    [
        GOOD["a"],
        _saved(),
        _saved(optimize=True),
        _saved(compress_level=0),
        _saved(dpi=(72, 72)),
        cv2.imencode(".png", VALUES["a"], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes(),
        png((b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Software\0another")),
    ],
    ids=["ours", "Pillow", "optimized", "stored", "with a resolution", "OpenCV", "with gamma and text"],
)
def test_what_programs_write_is_right(data: bytes) -> None:
    assert header_problem(data, SIZE) is header_problem(data, None) is None
    assert bytes_problem(data, len(data)) is chunk_problem(data) is None
    assert decode(data).shape == (SIZE[1], SIZE[0])


def test_an_interlaced_png_is_one(tmp_path: object) -> None:
    data = _interlaced()
    assert header_problem(data, (1, 1)) is chunk_problem(data) is None
    assert decode(data).tolist() == [[7]]


def test_pixels_come_out_as_they_are() -> None:
    np.testing.assert_array_equal(decode(encode_png(VALUES["b"])), VALUES["b"])


@pytest.mark.parametrize(
    ("size", "right"), [((10_000, 10_000), True), ((10_001, 10_000), False), ((0, 4), False), ((2**31, 2), False)]
)
def test_without_a_known_size_the_number_of_pixels_is_bounded(size: tuple[int, int], right: bool) -> None:
    header = png()[:16] + struct.pack(">II", *size) + png()[24:33]
    assert (header_problem(header, None) is None) is right
    assert MAX_PIXELS == 10**8


def test_a_color_type_that_does_not_exist_is_named() -> None:
    header = png()[:25] + b"\x07" + png()[26:33]
    assert "got mode of color type 7, 6x4; likely a damaged header" in str(header_problem(header, SIZE))
    deep = png()[:24] + b"\x10\x02" + png()[26:33]
    assert "got mode RGB with 16 bits, 6x4; likely a colored copy" in str(header_problem(deep, SIZE))


def test_bytes_are_bounded_by_pixels() -> None:
    most = 2 * 7 * 4 + 65_536  # of 6 x 4
    assert bytes_problem(png(), most) is None
    assert str(most) in str(bytes_problem(png(), most + 1))


@settings(max_examples=200, deadline=None)
@given(keep=st.integers(0, len(GOOD["a"]) - 1))
def test_every_truncation_is_named(keep: int) -> None:
    data = GOOD["a"][:keep]
    assert header_problem(data, SIZE) or "likely a truncated copy" in str(chunk_problem(data))


@settings(max_examples=300, deadline=None)
@given(place=st.integers(8, len(GOOD["a"]) - 1), flip=st.integers(1, 255))
def test_every_changed_byte_behind_the_signature_is_named(place: int, flip: int) -> None:
    data = bytearray(GOOD["a"])
    data[place] ^= flip
    assert header_problem(bytes(data), SIZE) or chunk_problem(bytes(data))
