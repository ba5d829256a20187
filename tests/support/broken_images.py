"""Broken and unusual image files, one function each: what cameras, scanners, downloads and disks leave behind.

Each is made anew; `CORPUS` names them all. `docs/make_bad_input.py` renders what happens to each.
"""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def picture(height: int = 24, width: int = 32) -> Pixels:
    """Smooth colors with noise, which every format can hold. Shape: (H, W, 3)"""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([40 + 5 * x, 50 + 6 * y, 128 + 2 * (x - y)], axis=2)
    noise = np.random.default_rng(0).integers(0, 9, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """The bytes of an image that Pillow writes."""
    stream = io.BytesIO()
    (image or Image.fromarray(picture())).save(stream, kind, **options)
    return stream.getvalue()


def png(pixels: NDArray[Any]) -> bytes:
    """The bytes of a PNG that OpenCV writes, 8 or 16 bits."""
    return bytes(cv2.imencode(".png", pixels)[1])


def tiff(pixels: NDArray[Any]) -> bytes:
    """The bytes of a TIFF that OpenCV writes, of any type."""
    return bytes(cv2.imencode(".tiff", pixels)[1])


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG whose header promises 3.6 billion pixels, and which has 0 bytes of them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
