"""Pixels in and out: every kind of file that data sets hold, and every kind of broken one."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from support.helpers import color_image

from pipeline.core import images
from pipeline.core.errors import DataError
from pipeline.core.images import (
    MAX_PIXELS,
    decode_png,
    encode_jpeg,
    encode_png,
    has_one_color,
    largest_of_16_bits,
    read_mask,
    read_rgb,
    read_size,
    resize,
    resize_image,
)

SHAPE = (30, 44)  # never square


def smooth_image() -> NDArray[np.uint8]:
    """Every channel its own gradient: JPEG keeps it to a few levels, and a swapped channel or axis shows."""
    rows, columns = np.indices(SHAPE)
    return np.stack([rows * 8, columns * 5, 255 - rows * 3 - columns * 2], axis=2).astype(np.uint8)


def save(path: Path, pixels: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


# --- images --------------------------------------------------------------------------------------------------------


def test_a_png_is_read_exactly(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", smooth_image())), smooth_image())


KINDS: dict[str, dict[str, Any]] = {
    "a.jpg": {"quality": 95},
    "progressive.jpg": {"quality": 95, "progressive": True},
    "a.webp": {"quality": 95},
    "a.bmp": {},
    "a.tif": {},
    "a.ppm": {},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_format_gives_rgb_of_the_stored_shape(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, smooth_image(), **KINDS[name])
    pixels = read_rgb(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*SHAPE, 3)
    # JPEG keeps color at half resolution: a few levels; swapped channels would differ by a hundred
    assert np.abs(pixels.astype(int) - smooth_image()).mean() < 4
    assert read_size(path) == (SHAPE[1], SHAPE[0])


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    """ILSVRC has a PNG called .JPEG."""
    save(tmp_path / "a.png", smooth_image()).rename(tmp_path / "n02105855_2933.JPEG")
    np.testing.assert_array_equal(read_rgb(tmp_path / "n02105855_2933.JPEG"), smooth_image())


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_other_pngs_become_rgb(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        gray = smooth_image()[:, :, 0].astype(np.uint16) * 257
        path, expected = save(tmp_path / "a.png", gray), smooth_image()[:, :, [0, 0, 0]]
    else:
        image = Image.fromarray(smooth_image()).convert(mode)
        image.save(tmp_path / "a.png")
        path, expected = tmp_path / "a.png", np.asarray(image.convert("RGB"))
    pixels = read_rgb(path)
    assert pixels.shape == (*SHAPE, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_a_gray_jpeg_has_three_equal_channels(tmp_path: Path) -> None:
    pixels = read_rgb(save(tmp_path / "a.jpg", smooth_image(), "L", quality=95))
    assert (pixels[:, :, 0] == pixels[:, :, 1]).all()
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()
    assert np.ptp(pixels) > 50


def test_a_cmyk_jpeg_is_read_in_its_colors(tmp_path: Path) -> None:
    """ILSVRC has some 20.

    A reader that forgets that they are stored inverted shows the negative, off by a hundred levels.
    """
    pixels = read_rgb(save(tmp_path / "a.jpg", smooth_image(), "CMYK", quality=95))
    assert np.abs(pixels.astype(int) - smooth_image()).mean() < 5


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_exif_orientation_is_ignored(orientation: int, tmp_path: Path) -> None:
    """The challenge's masks were drawn on the pixels as they are stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = save(tmp_path / "turned.jpg", smooth_image(), quality=95, exif=exif)
    plain = save(tmp_path / "plain.jpg", smooth_image(), quality=95)
    assert Image.open(turned).getexif()[0x0112] == orientation
    assert read_size(turned) == read_size(plain) == (SHAPE[1], SHAPE[0])
    np.testing.assert_array_equal(read_rgb(turned), read_rgb(plain))


# --- broken files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95, 0.999])
def test_a_truncated_image_is_refused_not_filled_up_with_gray(name: str, share: float, tmp_path: Path) -> None:
    """OpenCV 4.10 returned the upper part and gray below; 4.11 and later return nothing."""
    path = save(tmp_path / name, color_image((90, 120, 30), 0, (200, 300)), **KINDS.get(name, {}))
    data = path.read_bytes()
    assert read_rgb(path).shape == (200, 300, 3)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(
        DataError, match=f"{name}: expected an image, got a file that cannot be .*; likely a truncated download"
    ):
        read_rgb(path)


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_of_a_truncated_image_the_message_is_all_that_is_said(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.img"
    Image.fromarray(smooth_image()).save(path, kind)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="expected an image, got a file that cannot be decoded"):
        read_rgb(path)
    assert capfd.readouterr().err == ""


def test_a_level_of_opencv_s_log_that_was_asked_for_stays() -> None:
    program = "import pipeline.core.images, cv2; print(cv2.utils.logging.getLogLevel())"
    environment = {**os.environ, "OPENCV_LOG_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == cv2.utils.logging.LOG_LEVEL_ERROR


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"<html>404</html>", bytes(5000)]
)
def test_what_is_no_image_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    for read in (read_rgb, read_size, read_mask):
        with pytest.raises(DataError, match=r"a\.jpg: expected an image, got a file that cannot be read as one"):
            read(tmp_path / "a.jpg")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for read in (read_rgb, read_size, read_mask):
        with pytest.raises(DataError, match=r"none\.jpg: expected an image, found no file"):
            read(tmp_path / "none.jpg")
        with pytest.raises(DataError, match=r"expected an image, got none that can be opened \(Is a directory\)"):
            read(tmp_path)


def bomb(width: int, height: int) -> bytes:
    """The header of a PNG of this size, with next to no data behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_001, 10_000), (65_000, 60_000)])
def test_a_file_that_unpacks_to_gigabytes_is_refused_by_its_header(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(*size))
    for read in (read_size, read_rgb, read_mask):
        with pytest.raises(DataError, match=f"bomb\\.png: expected at most {MAX_PIXELS} pixels, got "):
            read(tmp_path / "bomb.png")


@pytest.mark.parametrize("size", [(10_000, 10_000), (9_500, 10_000)])
@pytest.mark.filterwarnings("error")
def test_the_limit_is_ours_not_pillows(size: tuple[int, int], tmp_path: Path) -> None:
    """Pillow warns from 89 million pixels on."""
    (tmp_path / "large.png").write_bytes(bomb(*size))
    assert read_size(tmp_path / "large.png") == size


def test_the_size_is_read_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.jpg", smooth_image())
    path.write_bytes(path.read_bytes()[:700])  # the header, and some

    def forbidden(*arguments: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(images.cv2, "imdecode", forbidden)
    monkeypatch.setattr(Image.Image, "load", forbidden)
    assert read_size(path) == (SHAPE[1], SHAPE[0])


# --- masks -----------------------------------------------------------------------------------------------------------


def mask() -> NDArray[np.uint8]:
    values = np.zeros(SHAPE, np.uint8)
    values[3:9, 5:30], values[12:, 40:], values[20, 20] = 7, 200, 255
    return values


def test_a_gray_mask_is_read_as_it_is(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", mask())), mask())


def test_a_palette_mask_gives_indices_not_colors(tmp_path: Path) -> None:
    image = Image.fromarray(mask(), "L")
    image.putpalette([channel for n in range(256) for channel in (255 - n, n * 7 % 256, n * 13 % 256)])
    assert image.mode == "P"
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask())


def test_a_small_palette_is_packed_and_unpacked(tmp_path: Path) -> None:
    """PNG stores palettes of 2, 4 and 16 colors with several pixels in a byte."""
    small = (mask() == 7).astype(np.uint8) + 2 * (mask() == 200).astype(np.uint8)
    image = Image.fromarray(small, "L")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "m.png", bits=2)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), small)


def test_a_mask_of_one_bit_is_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(mask() > 0).save(tmp_path / "m.png")
    assert Image.open(tmp_path / "m.png").mode == "1"
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), np.where(mask() > 0, 255, 0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_a_colored_mask_is_refused(mode: str, tmp_path: Path) -> None:
    path = save(tmp_path / ("m.tif" if mode == "CMYK" else "m.png"), smooth_image(), mode)
    with pytest.raises(
        DataError, match=rf"expected a mask with one 8-bit channel \(mode L or P\), got mode {mode}; likely a colored"
    ):
        read_mask(path)


def test_a_mask_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", mask().astype(np.uint16) * 200)
    with pytest.raises(DataError, match="expected a mask with one 8-bit channel"):
        read_mask(path)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_a_truncated_mask_is_refused(share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80)).astype(np.uint8)
    path = save(tmp_path / "m.png", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"m\.png: expected a mask, got a file that cannot be decoded"):
        read_mask(path)


# --- out and in again ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.one_of(
            st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))
        ),
    )
)
def test_png_bytes_come_back_exactly(pixels: NDArray[np.uint8]) -> None:
    data = encode_png(pixels)
    np.testing.assert_array_equal(decode_png(data, "x"), pixels)
    np.testing.assert_array_equal(decode_png(np.frombuffer(data, np.uint8), "x"), pixels)
    image = Image.open(io.BytesIO(data))
    assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(image), pixels)  # another decoder sees the same, channels in order


def test_equal_pixels_give_equal_bytes_whatever_their_strides() -> None:
    pixels = smooth_image()
    assert encode_png(pixels) == encode_png(pixels.copy()) == encode_png(np.asfortranarray(pixels))
    assert encode_png(pixels[:, :, 0]) == encode_png(pixels[:, :, 0].copy())


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 4), np.float32),
        np.zeros((3, 4), np.uint16),
        np.zeros(4, np.uint8),
        np.zeros((1, 2, 3, 4), np.uint8),
    ],
)
def test_what_is_no_8_bit_image_is_not_encoded(pixels: NDArray[Any]) -> None:
    with pytest.raises(DataError, match=r"expected uint8 pixels of shape \(H, W\) or \(H, W, 3\), got "):
        encode_png(pixels)


@pytest.mark.parametrize("data", [b"", b"no png", encode_png(np.zeros((40, 30), np.uint8))[:30]])
def test_bytes_that_do_not_decode_are_named(data: bytes) -> None:
    with pytest.raises(DataError, match=f"a17: expected PNG bytes, got {len(data)} bytes that do not decode"):
        decode_png(data, "a17")


def test_a_jpeg_for_the_page_keeps_its_colors() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(encode_jpeg(smooth_image(), quality=95))))
    assert np.abs(pixels.astype(int) - smooth_image()).mean() < 4


# --- resize ----------------------------------------------------------------------------------------------------------


def test_resize_by_hand() -> None:
    values = np.array([[0.0, 4.0, 8.0], [4.0, 0.0, 4.0]], np.float32)
    doubled = resize(values, (2, 6))  # columns at -0.25, 0.25, 0.75, 1.25, 1.75, 2.25 of the old ones
    assert doubled.tolist() == [[0, 1, 3, 5, 7, 8], [4, 3, 1, 1, 3, 4]]
    assert resize(values, (2, 3)).tolist() == values.tolist()
    assert resize(values, (5, 7)).shape == (5, 7)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.floats(-100, 100, width=16)),
    st.integers(1, 40),
    st.integers(1, 50),
)
def test_a_resize_is_a_weighted_mean(values: NDArray[np.float32], height: int, width: int) -> None:
    resized = resize(values, (height, width))
    assert resized.shape == (height, width)
    slack = 1e-5 * np.abs(values).max()
    assert values.min() - slack <= resized.min() <= resized.max() <= values.max() + slack
    np.testing.assert_allclose(resize(3 * values - 7, (height, width)), 3 * resized - 7, atol=1e-3)


def averages(length: int, target: int) -> NDArray[np.float64]:
    """Shrinking by area, written from its meaning: each new pixel is the mean over its stretch of old ones."""
    matrix = np.zeros((target, length))
    for new in range(target):
        start, end = new * length / target, (new + 1) * length / target
        for old in range(length):
            matrix[new, old] = max(0.0, min(end, old + 1) - max(start, old)) / (end - start)
    return matrix


def blends(length: int, target: int) -> NDArray[np.float64]:
    """Enlarging bilinearly: each new pixel blends the two old ones whose centers are nearest, edges are repeated."""
    matrix = np.zeros((target, length))
    for new in range(target):
        place = min(max((new + 0.5) * length / target - 0.5, 0), length - 1)
        near = min(int(place), length - 2) if length > 1 else 0
        matrix[new, near] += 1 - (place - near)
        matrix[new, min(near + 1, length - 1)] += place - near
    return matrix


def slow_resize(image: NDArray[np.uint8], shape: tuple[int, int], averaged_from: float = 1) -> NDArray[np.float64]:
    rows, columns = (
        (averages if new < old and old / new >= averaged_from else blends)(old, new)
        for old, new in zip(image.shape[:2], shape, strict=True)
    )
    return np.einsum("ya,xb,abc->yxc", rows, columns, image.astype(np.float64))


@pytest.mark.parametrize(
    "shape",
    [
        (9, 14),
        (5, 7),
        (36, 56),
        (31, 20),
        (7, 56),
        (40, 9),
        (18, 28),
        (18, 9),
        (18, 60),
        (7, 28),
        (40, 28),
        (1, 1),
        (1, 90),
    ],
)
def test_an_image_is_averaged_where_it_shrinks_and_blended_where_it_grows(shape: tuple[int, int]) -> None:
    """18 rows, 28 columns; the axes are independent: one may shrink while the other grows."""
    image = np.random.default_rng(0).integers(0, 256, (18, 28, 3), np.uint8)
    resized = resize_image(image, shape)
    assert (resized.dtype, resized.shape) == (np.uint8, (*shape, 3))
    # rounded to whole levels, twice where the axes differ, by OpenCV to a level at times; the wrong rule is off by 30
    # on noise
    np.testing.assert_allclose(resized, slow_resize(image, shape), rtol=0, atol=2)


@pytest.mark.parametrize("shape", [(10, 15), (9, 27), (5, 20), (12, 14), (30, 20), (17, 40), (4, 6)])
def test_an_axis_that_shrinks_less_than_asked_is_blended(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (18, 28, 3), np.uint8)
    resized = resize_image(image, shape, averaged_from=2)
    np.testing.assert_allclose(resized, slow_resize(image, shape, 2), rtol=0, atol=2)
    is_same_rule = all(new >= old or 2 * new <= old for new, old in zip(shape, image.shape[:2], strict=True))
    assert np.array_equal(resized, resize_image(image, shape)) == is_same_rule


def test_resize_image_by_hand() -> None:
    image = np.repeat(np.array([[[0], [96]], [[40], [200]], [[80], [40]], [[200], [240]]], np.uint8), 3, axis=2)
    # rows in pairs: (20, 148), (140, 140); columns at -0.25, 0.25, 0.75, 1.25: 3/4 of the nearer, the edge repeated
    assert resize_image(image, (2, 4))[..., 0].tolist() == [[20, 52, 116, 148], [140, 140, 140, 140]]
    # columns averaged: 48, 120, 60, 220; rows at -0.25 to 3.25 of the old ones
    assert resize_image(image, (8, 1))[:, 0, 0].tolist() == [48, 66, 102, 105, 75, 100, 180, 220]


def test_an_image_of_the_right_shape_stays_as_it_is() -> None:
    image = smooth_image()
    np.testing.assert_array_equal(resize_image(image, image.shape[:2]), image)


def test_resize_takes_views_and_leaves_them_alone() -> None:
    values = np.random.default_rng(0).random((6, 8)).astype(np.float32)
    turned, before = values.T[::-1], values.copy()
    np.testing.assert_array_equal(resize(turned, (9, 11)), resize(turned.copy(), (9, 11)))
    np.testing.assert_array_equal(values, before)


# --- levels and other files -------------------------------------------------------------------------------------------


def deep(top: int, shape: tuple[int, ...] = (4, 5)) -> NDArray[np.uint16]:
    return np.linspace(0, top, int(np.prod(shape))).astype(np.uint16).reshape(shape)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_16_bits_are_read_by_their_upper_8_however_dark(suffix: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    for top in (65535, 4096, 4095, 255, 0):
        pixels = deep(top, shape)
        cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
        expected = (pixels >> 8).astype(np.uint8)
        found = read_rgb(path).astype(int)
        assert np.abs(found - (expected if pixels.ndim == 3 else expected[..., None])).max() <= 1  # the codecs round
        assert largest_of_16_bits(path) == top


def test_images_of_8_bits_have_no_level_of_16(tmp_path: Path) -> None:
    for suffix in (".png", ".tiff", ".bmp"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), np.full((4, 5), 255, np.uint8))
        assert largest_of_16_bits(tmp_path / f"a{suffix}") is None


def test_an_image_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: calls.append(flags) or decode(data, flags))
    for suffix, pixels in ((".png", deep(65535)), (".tiff", deep(65535)), (".webp", np.zeros((4, 5, 3), np.uint8))):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels)
        read_rgb(tmp_path / f"a{suffix}")
    assert len(calls) == 3


def test_opacity_does_not_count_as_a_level(tmp_path: Path) -> None:
    pixels = np.dstack([deep(255, (4, 5, 3)), np.full((4, 5), 65535, np.uint16)])
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert largest_of_16_bits(tmp_path / "a.png") == 255


def test_floating_point_has_no_white(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5))
    with pytest.raises(DataError, match="expected levels of 8 or 16 bits, got float32; it has no common white"):
        read_rgb(tmp_path / "a.tiff")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", r"\(an empty file\); likely a truncated download"),
        (b" \n<!DOCTYPE HTML><p>404", r"\(a web page\); likely the error page of a server"),
        (b"<HTML>", r"\(a web page\)"),
        (b"version https://git-lfs.github.com/spec/v1", r"\(a Git LFS pointer\); .* `git lfs pull`"),
        (b"\0" * 99, r"\(of no known format\); likely a truncated download"),
    ],
)
def test_what_lies_under_the_name_of_an_image_is_named(data: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    for read in (read_size, read_rgb, read_mask):
        with pytest.raises(DataError, match=f"a.jpg: expected an image, got a file that cannot be read as one {found}"):
            read(tmp_path / "a.jpg")


def test_links_and_paths_of_windows_have_their_own_cause(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for name, found in (
        ("loop.jpg", r"none that can be opened \(Too many levels of symbolic links\)"),
        ("dead.jpg", "a link that leads nowhere"),
        ("images\\\\a.jpg", "no file; likely a path of Windows: its parts are separated by /"),
    ):
        with pytest.raises(DataError, match=f"expected an image, (got|found) {found}"):
            read_size(tmp_path / name.replace("\\\\", "\\"))


@pytest.mark.parametrize(
    ("mode", "cause"),
    [("I;16", "saved with 16 or 32 bits"), ("I", "with 16 or 32 bits"), ("F", "as float"), ("LA", "transparency")],
)
def test_the_cause_of_a_mask_of_another_mode_follows_the_mode(mode: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode in ("F", "I") else "a.png")
    Image.new("L", (4, 3)).convert(mode).save(path)
    with pytest.raises(
        DataError, match=rf"expected a mask with one 8-bit channel .* got mode {mode}.*; likely .*{cause}"
    ):
        read_mask(path)


def test_one_color_is_every_pixel_equal_in_every_channel() -> None:
    pixels = np.full((4, 5, 3), (1, 2, 3), np.uint8)
    assert has_one_color(pixels)
    for place in np.ndindex(pixels.shape):
        other = pixels.copy()
        other[place] += 1
        assert not has_one_color(other)
    assert has_one_color(pixels[:1, :1])
