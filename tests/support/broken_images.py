"""Broken and unusual image files: what cameras, scanners, downloads and disks leave behind.

`BROKEN` cannot be used, `UNUSUAL` can, and is counted under the rule beside it; `SHALLOW` can, if
not all images of 16 bits are so. Each file is made anew.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]


def picture(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Smooth colors with noise, which every format can hold. Shape: (H, W, 3)"""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([40 + 5 * x, 50 + 6 * y, 128 + 2 * (x - y)], axis=2)
    noise = np.random.default_rng(0).integers(0, 9, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """The bytes of the picture in a mode, as Pillow writes them."""
    stream = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def of_array(suffix: str, pixels: Pixels) -> bytes:
    """The bytes of an array of any type, RGB or gray, as OpenCV writes them."""
    return bytes(cv2.imencode(suffix, pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)[1])


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG whose header promises 3.6 billion pixels, and which has none of them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def inverted_cmyk() -> bytes:
    """A CMYK JPEG whose inks are stored inverted, as Adobe does and says in a marker (APP14)."""
    return encoded("JPEG", "CMYK", quality=95)


def turned() -> bytes:
    """A JPEG whose EXIF data ask to be turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def animated(kind: str) -> bytes:
    """Two pictures in one file."""
    return encoded(kind, save_all=True, append_images=[Image.fromarray(255 - picture())])


def cut(data: Callable[[], bytes], tenths: int) -> bytes:
    """The first tenths of a file."""
    whole = data()
    return whole[: len(whole) * tenths // 10]


@dataclass(frozen=True)
class File:
    """A file: what it is, its name, how it is made at a path, and the rule under which it is counted."""

    kind: str
    name: str
    make: Callable[[Path], object]
    rule: str = ""  # of `known_defects`


def written(kind: str, name: str, data: Callable[[], bytes], rule: str = "") -> File:
    """A file of bytes."""
    return File(kind, name, lambda path: path.write_bytes(data()), rule)


FORMATS: dict[str, Callable[[], bytes]] = {
    "JPEG": partial(encoded, "JPEG"),
    "progressive JPEG": partial(encoded, "JPEG", progressive=True),
    "PNG": partial(encoded, "PNG"),
    "WebP": partial(encoded, "WEBP"),
    "GIF": partial(encoded, "GIF"),
    "BMP": partial(encoded, "BMP"),
    "TIFF": partial(encoded, "TIFF"),
}
SUFFIX = {
    "JPEG": "jpg",
    "progressive JPEG": "jpg",
    "PNG": "png",
    "WebP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
}
TRUNCATED = tuple(
    written(f"{kind}, the first {tenths} tenths", f"odd.{SUFFIX.get(kind, kind.lower())}", partial(cut, data, tenths))
    for kind, data in FORMATS.items()
    for tenths in range(10)
)


def garbage() -> bytes:
    return np.random.default_rng(1).bytes(500)


def levels(scale: float, kind: type) -> Pixels:
    return (picture().astype(np.float64) * scale).astype(kind)


def gray_levels(scale: float, kind: type) -> Pixels:
    return levels(scale, kind)[:, :, 0]


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def dead_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.jpg")


BROKEN = (
    written("zero bytes", "odd.jpg", bytes),
    written("garbage", "odd.jpg", garbage),
    written("a JPEG of which half is there", "odd.jpg", partial(cut, FORMATS["JPEG"], 5)),
    written("a web page with the name of an image", "odd.jpg", lambda: b"\n<!DOCTYPE html><html>404</html>"),
    written("a Git LFS pointer", "odd.jpg", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    written("an XML file with the name of an image", "odd.jpg", lambda: b"<?xml version='1.0'?><annotation/>"),
    written("a decompression bomb", "odd.png", bomb),
    written("a gray TIFF in floating point", "odd.tif", lambda: of_array(".tiff", gray_levels(1 / 255, np.float32))),
    written("a color TIFF in floating point", "odd.tif", lambda: of_array(".tiff", levels(1 / 255, np.float32))),
    written("a TIFF of 32-bit integers", "odd.tif", lambda: encoded("TIFF", "I")),
    File("a folder with the name of an image", "odd.jpg", folder),
    File("a link that leads nowhere", "odd.jpg", dead_link),
    File("a link to itself", "odd.jpg", loop),
)
SHALLOW = (
    written("16 bits that hold 0..255", "odd.png", lambda: of_array(".png", levels(1, np.uint16))),
    written("16 bits that hold 12 bits", "odd.png", lambda: of_array(".png", levels(16, np.uint16))),
)
UNUSUAL = (
    written("a PNG named .jpg", "odd.jpg", FORMATS["PNG"], "other_format_than_name"),
    written("16 bits a channel", "odd.png", lambda: of_array(".png", levels(257, np.uint16))),
    written(
        "a gray image of 16 bits",
        "odd.png",
        lambda: of_array(".png", gray_levels(257, np.uint16)),
        "other_color_modes",
    ),
    written("a palette", "odd.png", partial(encoded, "PNG", "P"), "other_color_modes"),
    written("transparency", "odd.png", partial(encoded, "PNG", "RGBA"), "other_color_modes"),
    written("black and white, one bit", "odd.png", partial(encoded, "PNG", "1"), "grey_images"),
    written("a gray JPEG", "odd.jpg", partial(encoded, "JPEG", "L"), "grey_images"),
    written("CMYK, inverted as Adobe does", "odd.jpg", inverted_cmyk, "cmyk_images"),
    written("EXIF data that ask for a turn", "odd.jpg", turned, "exif_orientation"),
    written("an animated GIF", "odd.gif", partial(animated, "GIF"), "animated_images"),
    written("an animated PNG", "odd.png", partial(animated, "PNG"), "animated_images"),
    written("an animated WebP", "odd.webp", partial(animated, "WEBP"), "animated_images"),
    written("a TIFF of two pages", "odd.tif", partial(animated, "TIFF"), "animated_images"),
    written("one color", "odd.png", lambda: of_array(".png", np.full((9, 9, 3), 7, np.uint8)), "one_color_images"),
    written("one pixel", "odd.png", lambda: of_array(".png", picture(1, 1)), "one_color_images"),
    written("1 x 10,000 pixels", "odd.png", lambda: of_array(".png", picture(1, 10_000)), "long_sides"),
    written("10,000 x 1 pixels", "odd.png", lambda: of_array(".png", picture(10_000, 1)), "long_sides"),
    written("a name with spaces", "a b  c.png", FORMATS["PNG"]),
    written("a name with quotes", "a\"b'c.png", FORMATS["PNG"]),
    written("a name with a line break", "a\nb.png", FORMATS["PNG"]),
    written("a name that is written from right to left", "\u05ea\u05de\u05d5\u05e0\u05d4.png", FORMATS["PNG"]),
    written("a name with an accent of its own", "cafe\u0301.png", FORMATS["PNG"]),
)
