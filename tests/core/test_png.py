"""The decoder of simple PNG files: the values that were encoded, or nothing, and never other values than Pillow's."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.images import encode_png
from pipeline.core.png import SIGNATURE, checksum_fits, chunks, decode_plain

MOST = 10_000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def parts(rows: list[list[int]], header: tuple[int, ...] = (8, 0, 0, 0, 0)) -> tuple[bytes, bytes]:
    """Header and packed pixels by hand; each row begins with its filter."""
    size = struct.pack(">II", len(rows[0]) - 1, len(rows))
    return size + bytes(header), zlib.compress(b"".join(bytes(row) for row in rows))


def make(rows: list[list[int]], header: tuple[int, ...] = (8, 0, 0, 0, 0), between: bytes = b"") -> bytes:
    head, packed = parts(rows, header)
    return SIGNATURE + chunk(b"IHDR", head) + between + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def pillow(data: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(data)))


def test_none_keeps_a_row_and_sub_adds_up_from_the_left_modulo_256() -> None:
    data = make([[0, 7, 8, 9, 10], [1, 250, 5, 5, 1], [1, 1, 0, 0, 255]])
    found = decode_plain(data, MOST)
    assert found is not None
    assert found.tolist() == [[7, 8, 9, 10], [250, 255, 4, 5], [1, 1, 1, 0]]
    np.testing.assert_array_equal(found, pillow(data))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_what_was_encoded_comes_back(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    for filters in (cv2.IMWRITE_PNG_FILTER_SUB, cv2.IMWRITE_PNG_FILTER_NONE):
        data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_FILTER, filters])[1].tobytes()
        found = decode_plain(data, MOST)
        assert found is not None
        np.testing.assert_array_equal(found, pixels)


def test_a_palette_gives_the_stored_indices() -> None:
    data = make([[0, 0, 1, 2], [1, 2, 255, 255]], (8, 3, 0, 0, 0), chunk(b"PLTE", bytes(9)))
    found = decode_plain(data, MOST)
    assert found is not None
    assert found.tolist() == [[0, 1, 2], [2, 1, 0]]
    np.testing.assert_array_equal(found, pillow(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (make([[2, 1, 2]]), "the filter Up"),
        (make([[1, 1, 2], [4, 1, 2]]), "the filter Paeth in one row"),
        (make([[0, 1, 2]], (16, 0, 0, 0, 0)), "16 bits"),
        (make([[0, 1, 2]], (8, 2, 0, 0, 0)), "colors"),
        (make([[0, 1, 2]], (8, 0, 0, 0, 1)), "interlaced"),
        (make([[0, 1, 2]], between=chunk(b"tRNS", b"\0\0")), "a transparent value"),
        (make([[0, 1, 2]], between=chunk(b"IHDR", b"")), "a second header"),
        (make([[0, 1, 2]], (8, 3, 0, 0, 0), chunk(b"PLTE", bytes(1200))), "a palette of 400 colors"),
        (make([[0, 1, 2]])[:-12], "no end"),
        (make([[0, 1, 2]])[:-20], "cut off"),
        (make([[0, 1, 2]]).replace(b"IDAT", b"IDAt"), "a wrong checksum"),
        (make([[0] * (MOST + 2)]), "more pixels than allowed"),
        (b"", "nothing"),
        (b"GIF89a", "another format"),
    ],
)
def test_anything_else_is_left_to_a_library(data: bytes, why: str) -> None:
    assert decode_plain(data, MOST) is None, why


def test_pixels_in_several_chunks_are_joined() -> None:
    head, packed = parts([[1, 1, 2], [0, 3, 4]])
    two = chunk(b"IDAT", packed[:5]) + chunk(b"IDAT", packed[5:])
    found = decode_plain(SIGNATURE + chunk(b"IHDR", head) + two + chunk(b"IEND", b""), MOST)
    assert found is not None
    assert found.tolist() == [[1, 3], [3, 4]]


def test_chunks_in_an_order_that_pillow_refuses_are_left_to_it() -> None:
    head, packed = parts([[0, 1, 2]])
    first, rest, palette = chunk(b"IDAT", packed[:5]), chunk(b"IDAT", packed[5:]), chunk(b"PLTE", bytes(9))
    header, end = chunk(b"IHDR", head), chunk(b"IEND", b"")
    for order in (header + first + palette + rest + end, first + rest + header + end):
        data = SIGNATURE + order
        assert decode_plain(data, MOST) is None
        with pytest.raises(OSError, match=r"truncated|cannot"):
            pillow(data)


@pytest.mark.parametrize("rows", [[[0, 1]], [[0, 1, 2, 3]]])
def test_too_few_and_too_many_pixels_are_left_to_a_library(rows: list[list[int]]) -> None:
    data = make([[0, 1, 2]])
    packed = zlib.compress(bytes(rows[0]))
    start = data.index(b"IDAT") - 4
    assert decode_plain(data[:start] + chunk(b"IDAT", packed) + chunk(b"IEND", b""), MOST) is None


@given(st.data())
def test_a_damaged_file_never_gives_other_values(data: st.DataObject) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8) ** 2
    whole = encode_png(pixels)
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= data.draw(st.integers(1, 255))
    found = decode_plain(bytes(damaged), MOST)
    assert found is None or np.array_equal(found, pixels)


def test_chunks_are_told_with_their_place_and_checksum() -> None:
    data = make([[0, 1, 2]])
    found = list(chunks(data))
    assert [kind for kind, _, _ in found] == [b"IHDR", b"IDAT", b"IEND"]
    assert found[-1][2] == len(data)
    assert all(checksum_fits(data, *one) for one in found)
    assert [kind for kind, _, _ in chunks(data[:-4])] == [b"IHDR", b"IDAT", b"IEND"]
