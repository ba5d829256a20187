"""A prediction as bytes: is it a PNG of one 8-bit channel, whole, and of the right size?

The header is checked first, then every chunk, and only then pixels are decoded: what is refused costs no memory.

Source: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", sections 5 (chunks) and 11.2.1 (IHDR)
"""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.images import MAX_PIXELS, stored_values
from pipeline.core.png import SIGNATURE, checksum_fits, chunks, decode_plain
from pipeline.package.signatures import describe_start

Size = tuple[int, int]  # (width, height)

SMALL_FILE = 1 << 16  # bytes that a PNG may hold beside its pixels

_HEADER = struct.Struct(">8sI4sIIBB")  # signature, length, IHDR, width, height, bit depth, color type
HEADER_BYTES = _HEADER.size
_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}  # color type of a PNG to mode
_COPY = "; likely a colored copy for viewing, save the values themselves"
_MODE_HINTS = {
    "P": "; likely a palette copy for viewing, save the values themselves",
    "RGB": _COPY,
    "RGBA": _COPY,
    "LA": "; likely saved with an alpha channel, save the values alone",
    "1": "; likely a bool array, save it as uint8",
    "L with 2 bits": "; likely an optimizer of PNG files, save the values with 8 bits",
    "L with 4 bits": "; likely an optimizer of PNG files, save the values with 8 bits",
    "L with 16 bits": "; likely saved from a 16-bit array, save it as uint8",
}
_DAMAGED = "; likely a damaged header"
_RESIZED = "; likely not resized from the network's input to the size of the image"
_MEANS_MORE = {  # chunks that make an 8-bit gray PNG something else
    b"acTL": "expected one still image, got an animated PNG; likely saved with a list of frames",
    b"tRNS": "expected values alone, got a PNG with a transparent value; likely saved by an image editor",
}


def header_problem(header: bytes, size: Size | None) -> str | None:
    """What is wrong with the first bytes of a prediction.

    Args:
        header: at least `HEADER_BYTES` bytes, if the file has so many
        size: (width, height) of the image; None: any size up to 100 million pixels is right
    """
    wanted = "expected a PNG of mode L, " + (
        f"{size[0]}x{size[1]} (width x height)" if size else f"1 to {MAX_PIXELS} pixels"
    )
    if not header.startswith(SIGNATURE):
        kind = describe_start(header)
        found = f"{kind.name}; {kind.cause}" if kind else f"a file that starts with {header[:8]!r}; likely another file"
        return f"{wanted}, got {found}"
    if len(header) < HEADER_BYTES:
        return f"{wanted}, got the first {len(header)} bytes of a PNG; likely a truncated copy"
    _, _, _, width, height, bits, color = _HEADER.unpack(header[:HEADER_BYTES])
    mode = _mode(bits, color)
    if mode == "L" and ((width, height) == size if size else 0 < width * height <= MAX_PIXELS):
        return None
    return f"{wanted}, got mode {mode}, {width}x{height}{_header_hint(mode, (width, height), size)}"


def _header_hint(mode: str, found: Size, size: Size | None) -> str:
    if mode != "L":
        return _MODE_HINTS.get(mode) or _MODE_HINTS.get(mode.partition(" ")[0], _DAMAGED)
    if size is None:
        return _DAMAGED
    return "; likely width and height swapped" if found == size[::-1] else _RESIZED


def _mode(bits: int, color: int) -> str:
    mode = _MODES.get(color, f"of color type {color}")
    if color == 3 or bits == 8:
        return mode
    return "1" if (bits, color) == (1, 0) else f"{mode} with {bits} bits"


def bytes_problem(header: bytes, unpacked: int) -> str | None:
    """What is wrong with the number of bytes that a prediction unpacks to.

    A PNG of mode L needs (width + 1) * height bytes if nothing is compressed. Twice that is no prediction but a bomb.
    """
    _, _, _, width, height, _, _ = _HEADER.unpack(header[:HEADER_BYTES])
    most = 2 * (width + 1) * height + SMALL_FILE
    if unpacked <= most:
        return None
    return (
        f"expected at most {most} bytes for {width}x{height} pixels, got {unpacked}; likely a zip bomb, or another "
        "file behind the PNG"
    )


def chunk_problem(data: bytes) -> str | None:
    """What is wrong with a PNG as a file: cut off, damaged, followed by other bytes, or more than one plain image.

    Args:
        data: all of it, of which `header_problem` finds nothing
    """
    kind, end = b"", 0
    for kind, start, end in chunks(data):
        if end > len(data):
            return f"expected a whole PNG, got one that ends inside of chunk {_show(kind)}; likely a truncated copy"
        if not checksum_fits(data, kind, start, end):
            return f"expected a whole PNG, got another checksum of chunk {_show(kind)}; likely damaged on the way"
        if kind in _MEANS_MORE:
            return _MEANS_MORE[kind]
    if kind != b"IEND":
        return f"expected a whole PNG, got one without its end ({len(data)} bytes); likely a truncated copy"
    if end < len(data):
        return (
            f"expected nothing behind the end of the PNG, got {len(data) - end} bytes; likely two files joined, or "
            "written over a longer file"
        )
    return None


def _show(kind: bytes) -> str:
    """The name of a chunk.

    >>> _show(b"IDAT"), _show(bytes([0, 255, 65, 66]))
    ('IDAT', '\\\\x00\\\\xffAB')
    """
    return repr(kind)[2:-1]


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a PNG of which nothing is wrong, with another decoder than the one that writes ours. Shape: (H, W)"""
    if (plain := decode_plain(data, MAX_PIXELS)) is not None:
        return plain
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return stored_values(image)
